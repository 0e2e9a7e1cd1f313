//! What becomes of guests that end by themselves: xendevd carries out what their configurations
//! want, with nobody logged in.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use h2::DomainState;
use lab_tests::device::{XVDA, disk, ports_of};
use lab_tests::shell::Shell;
use lab_tests::{
    Host, Lab, chaos, console, daemon, domain, echo, run, times, wait, xendevd, xenstore, xl,
};
use nix::sys::signal::{Signal, kill};
use serde_json::json;

/// Types a line into a guest's console.
#[track_caller]
fn type_line(name: &str, line: &str) {
    let tty = xl::find(name)
        .and_then(|row| xenstore::read(&format!("/local/domain/{}/console/tty", row.id)));
    std::fs::write(tty.unwrap_or_else(|| panic!("{name} has no terminal")), format!("{line}\n"))
        .unwrap();
}

/// Waits until the guest of this name has a domain other than `old` that runs.
#[track_caller]
fn wait_for_next_life(name: &str, old: u16) -> u16 {
    domain::wait_for(name, "does not come back", |id, state| {
        id != old && state != DomainState::Paused
    })
}

#[track_caller]
fn backend_node(class: &str, domain: u16, id: u32, node: &str) -> Option<String> {
    xenstore::read(&format!("/local/domain/0/backend/{class}/{domain}/{id}/{node}"))
}

#[test]
fn reboots_in_a_row() {
    let lives = times(5, 10);
    let lab = Lab::new("reboots");
    let host = Host::now();
    let changes = json!({
        "vifs": [{"bridge": "xenbr0"}],
        "vbds": [disk(lab.image("image", 16), "file", "w")],
    });
    let guest = lab.create_with("hello-pv", "a", &changes, &[]);
    let mac = backend_node("vif", guest.domid, 0, "mac");
    let (mut domain, uuid) = (guest.domid, guest.uuid);
    for life in 1..=lives {
        console::wait_for_nth(&guest.name, "hello from", life);
        type_line(&guest.name, "reboot");
        domain = wait_for_next_life(&guest.name, domain);
        assert_eq!(
            backend_node("vif", domain, 0, "hotplug-status").as_deref(),
            Some("connected"),
            "life {life}"
        );
        assert_eq!(
            backend_node("vbd", domain, XVDA, "hotplug-status").as_deref(),
            Some("connected"),
            "life {life}"
        );
        assert_eq!(backend_node("vif", domain, 0, "mac"), mac, "life {life}");
        assert_eq!(ports_of("xenbr0").len(), 1, "life {life}");
    }
    console::wait_for_nth(&guest.name, "hello from", lives + 1);
    assert_eq!(chaos::find(&guest.name).map(|row| row.uuid), uuid);
    type_line(&guest.name, "exit");
    domain::wait_until_gone(&guest.name);
    host.assert_unchanged(&format!("a guest that rebooted itself {lives} times"));
}

#[test]
fn a_rebooted_guest_has_its_network_again() {
    let lab = Lab::new("reboot-net");
    let address = "10.77.0.41";
    let guest = lab.create_with(
        "linux-pv",
        "a",
        &json!({"cmdline": format!("console=hvc0 net={address}/24")}),
        &[],
    );
    console::wait_for(&guest.name, "GUEST-UP");
    echo::through(address, 1_000_000);
    Shell::open(&guest.name).send("reboot");
    wait_for_next_life(&guest.name, guest.domid);
    console::wait_for_nth(&guest.name, "GUEST-UP", 2);
    echo::through(address, 1_000_000);
}

#[test]
fn a_crash_loop_is_slowed_down_and_reported() {
    let lab = Lab::new("crashes");
    let host = Host::now();
    let changes = json!({"cmdline": "crash", "on_crash": "restart"});
    let guest = lab.create_with("hello-pv", "a", &changes, &[]);
    // The first end costs no pause, those behind it one, two and four seconds.
    let restart = wait::wait_until("no pause is as long as four seconds", || {
        let status = xendevd::status();
        let mut restarts = status["restarts"].as_array().unwrap().iter();
        restarts.find(|restart| restart["in_a_row"].as_u64() >= Some(4)).cloned()
    });
    assert_eq!(restart["guest"], guest.name.as_str());
    assert_eq!(restart["reason"], "crash");
    let lives = console::text(&guest.name).matches("hello from").count();
    assert_eq!(restart["in_a_row"], lives);
    let journal = run(&["journalctl", "--no-pager", "--unit", "xendevd"]).ok();
    let of_guest = journal.lines().filter(|line| line.contains(&format!(" {} ", guest.name)));
    let ends: Vec<&str> = of_guest.filter_map(|line| Some(line.split_once("crash; ")?.1)).collect();
    let slowed = [(1, 2), (2, 3), (4, 4)].map(|(pause, ends)| {
        format!("it is started again in {pause} s: {ends} quick ends in a row")
    });
    assert_eq!(ends[..4], [&["it is started again".to_owned()], &slowed[..]].concat(), "{journal}");
    // The administrator ends it, and with that what was to come.
    chaos::chaos(&["destroy", &guest.name]).ok();
    wait::until("xendevd goes on", || xendevd::status()["restarts"].as_array().unwrap().is_empty());
    assert_eq!(xl::find(&guest.name), None);
    host.assert_unchanged("a crash loop that was ended");
}

#[test]
fn every_action_for_every_end() {
    let lab = Lab::new("actions");
    for (line, key, reason, state) in [
        ("exit", "on_poweroff", "poweroff", 's'),
        ("reboot", "on_reboot", "reboot", 's'),
        ("crash", "on_crash", "crash", 'c'),
    ] {
        for action in ["destroy", "restart", "preserve"] {
            let name = format!("{line}-{action}");
            let mut changes =
                json!({"on_poweroff": "preserve", "on_reboot": "preserve", "on_crash": "preserve"});
            changes[key] = action.into();
            let guest = lab.create_with("hello-pvh", &name, &changes, &[]);
            console::wait_for(&guest.name, "hello from");
            type_line(&guest.name, line);
            match action {
                "destroy" => domain::wait_until_gone(&guest.name),
                "restart" => _ = wait_for_next_life(&guest.name, guest.domid),
                _ => {
                    let ended = |_, state| matches!(state, DomainState::Shutdown(_));
                    let id = domain::wait_for(&guest.name, "does not end", ended);
                    assert_eq!(id, guest.domid);
                    assert_eq!(chaos::info(&guest.name)["shutdown_reason"], reason, "{name}");
                    let row = xl::find(&guest.name).unwrap();
                    assert!(row.state.contains(state), "{name}: {row:?}");
                }
            }
            if let Some(row) = xl::find(&guest.name) {
                assert_eq!(row.id != guest.domid, action == "restart", "{name}");
                chaos::chaos(&["destroy", &guest.name]).ok();
            }
        }
    }
}

/// The same for a guest that says nothing; xl asks it.
#[test]
fn every_action_for_a_silent_guest() {
    let lab = Lab::new("silent");
    let host = Host::now();
    for (request, key) in [("shutdown", "on_poweroff"), ("reboot", "on_reboot")] {
        for action in ["destroy", "restart", "preserve"] {
            let mut changes = json!({"on_poweroff": "preserve", "on_reboot": "preserve"});
            changes[key] = action.into();
            let name = format!("{request}-{action}");
            let guest = lab.create_with("noop-pvh", &name, &changes, &[]);
            xl::xl(&[request, &guest.name]).ok();
            match action {
                "destroy" => wait::until(&format!("{name} is still there"), || {
                    xl::find(&guest.name).is_none()
                }),
                "restart" => _ = wait_for_next_life(&guest.name, guest.domid),
                _ => wait::until(&format!("{name} does not end"), || {
                    let row = xl::find(&guest.name);
                    row.is_some_and(|row| row.id == guest.domid && row.state.contains('s'))
                }),
            }
            if action != "destroy" {
                chaos::chaos(&["destroy", &guest.name]).ok();
            }
        }
    }
    host.assert_unchanged("guests that xl asked to end");
}

/// The daemon is killed while it starts a guest again: the next one finds what was begun.
#[test]
fn a_killed_daemon_loses_no_guest() {
    let lab = Lab::new("killed");
    let host = Host::now();
    let changes = json!({"vifs": [{"bridge": "xenbr0"}]});
    let guest = lab.create_with("hello-pv", "a", &changes, &[]);
    let mut domain = guest.domid;
    let lives = times(4, 8);
    for life in 1..=lives {
        console::wait_for_nth(&guest.name, "hello from", life);
        type_line(&guest.name, "reboot");
        std::thread::sleep(Duration::from_millis(200 / lives as u64 * (life as u64 - 1)));
        kill(daemon::xendevd().pid, Signal::SIGKILL).unwrap();
        // systemd starts it again.
        domain = wait_for_next_life(&guest.name, domain);
        assert_eq!(
            xl::list().iter().filter(|row| row.name == guest.name).count(),
            1,
            "life {life}"
        );
    }
    console::wait_for_nth(&guest.name, "hello from", lives + 1);
    wait::until("xendevd does not come back", || run(&["xendevd", "status"]).status.success());
    chaos::chaos(&["destroy", &guest.name]).ok();
    run(&["systemctl", "reset-failed", "xendevd"]).ok();
    host.assert_unchanged(&format!("a daemon that was killed {lives} times"));
}
