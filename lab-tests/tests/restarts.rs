//! What becomes of guests that end by themselves: xendevd carries out what their configurations
//! want, with nobody logged in.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs::File;
use std::time::Duration;

use lab_tests::shell::Shell;
use lab_tests::{Host, Lab, chaos, console, daemon, echo, run, wait, xenstore, xl};
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
    wait::wait_until(&format!("{name} does not come back"), || {
        xl::find(name).filter(|row| row.id != old && !row.state.contains('p')).map(|row| row.id)
    })
}

#[track_caller]
fn backend_node(class: &str, domain: u16, id: u32, node: &str) -> Option<String> {
    xenstore::read(&format!("/local/domain/0/backend/{class}/{domain}/{id}/{node}"))
}

/// The number of xvda.
const XVDA: u32 = 51712;

#[test]
fn ten_reboots_in_a_row() {
    let lab = Lab::new("reboots");
    let host = Host::now();
    let image = lab.path("image");
    File::create(&image).unwrap().set_len(16 << 20).unwrap();
    let changes = json!({
        "vifs": [{"bridge": "xenbr0"}],
        "vbds": [{"target": image, "type": "file", "vdev": "xvda", "access": "w"}],
    });
    let guest = lab.create_with("hello-pv", "a", &changes, &[]);
    let mac = backend_node("vif", guest.domid, 0, "mac");
    let (mut domain, uuid) = (guest.domid, guest.uuid);
    for life in 1..=10 {
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
        let ports = std::fs::read_dir("/sys/class/net/xenbr0/brif").unwrap().count();
        assert_eq!(ports, 1, "life {life}");
    }
    console::wait_for_nth(&guest.name, "hello from", 11);
    assert_eq!(chaos::find(&guest.name).map(|row| row.uuid), uuid);
    type_line(&guest.name, "exit");
    wait::until("the guest that powered off is still there", || xl::find(&guest.name).is_none());
    host.assert_unchanged("a guest that rebooted itself ten times");
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
    // Without a brake there would be dozens of lives in this time.
    std::thread::sleep(Duration::from_secs(12));
    let lives = console::text(&guest.name).matches("hello from").count();
    assert!((2..=6).contains(&lives), "{lives} lives");
    let status = run(&["xendevd", "status"]).ok();
    assert!(status.contains(&guest.name), "{status}");
    let journal = run(&["journalctl", "--no-pager", "--unit", "xendevd"]).ok();
    assert!(
        journal.lines().any(|line| line.contains(&guest.name) && line.contains("crash")),
        "{journal}"
    );
    // The administrator ends it, in whatever phase it is.
    chaos::chaos(&["destroy", &guest.name]).ok();
    std::thread::sleep(Duration::from_secs(3));
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
                "destroy" => wait::until(&format!("{name} is still there"), || {
                    xl::find(&guest.name).is_none()
                }),
                "restart" => _ = wait_for_next_life(&guest.name, guest.domid),
                _ => {
                    wait::until(&format!("{name} does not end"), || {
                        let row = xl::find(&guest.name);
                        row.is_some_and(|row| row.id == guest.domid && row.state.contains(state))
                    });
                    assert_eq!(chaos::info(&guest.name)["shutdown_reason"], reason, "{name}");
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
    for life in 1..=8 {
        console::wait_for_nth(&guest.name, "hello from", life);
        type_line(&guest.name, "reboot");
        std::thread::sleep(Duration::from_millis(25 * (life as u64 - 1)));
        kill(daemon::xendevd().pid, Signal::SIGKILL).unwrap();
        // systemd starts it again.
        domain = wait_for_next_life(&guest.name, domain);
        assert_eq!(
            xl::list().iter().filter(|row| row.name == guest.name).count(),
            1,
            "life {life}"
        );
    }
    console::wait_for_nth(&guest.name, "hello from", 9);
    wait::until("xendevd does not come back", || run(&["xendevd", "status"]).status.success());
    chaos::chaos(&["destroy", &guest.name]).ok();
    run(&["systemctl", "reset-failed", "xendevd"]).ok();
    host.assert_unchanged("a daemon that was killed eight times");
}
