//! Lives of guests on the NoXS plane, on a host without xenstored, as PV and as PVH.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use h2::{BootImage, DeviceId, GuestConfig, Hypervisor};
use lab_tests::command::{LIMIT, run_within};
use lab_tests::terminal::{ESCAPE, Terminal};
use lab_tests::{Host, Lab, chaos, console, noxs, run, wait};
use serde_json::json;

/// What this suite is about; the last suite of its host starts one.
#[track_caller]
fn without_xenstored() {
    assert!(
        noxs::host() && !noxs::xenstored_runs(),
        "this suite needs a host for NoXS without xenstored"
    );
}

#[test]
fn guests_live_and_end() {
    without_xenstored();
    let lab = Lab::new("noxs-life");
    let host = Host::now();
    for base in ["noop-pv", "noop-pvh", "hello-pv", "hello-pvh"] {
        let created = lab.create(base, base);
        let domain = created.domid;
        // Its only device is the one that it is shut down by.
        assert_eq!(noxs::devices_of(domain).len(), 1, "{:?}", noxs::list());
        assert!(noxs::devices_of(domain)[0].starts_with(&format!("{domain} sysctl 0:")));
        assert_eq!(chaos::find(&created.name).unwrap().domid, domain);
        if base.starts_with("hello") {
            console::wait_for(&created.name, "hello from");
        }
        let ended = chaos::json(&["shutdown", &created.name]);
        let expected =
            json!({"domid": domain, "name": created.name, "reason": "poweroff", "destroyed": true});
        assert_eq!(ended, expected);
        assert_eq!(chaos::find(&created.name), None);
        assert_eq!(noxs::devices_of(domain), Vec::<String>::new());
    }
    host.assert_unchanged("guests shut down");
}

#[test]
fn requests_are_acknowledged() {
    without_xenstored();
    let lab = Lab::new("noxs-ack");
    for base in ["hello-pv", "hello-pvh"] {
        let changes = json!({"on_poweroff": "preserve"});
        let created = lab.create_with(base, base, &changes, &[]);
        console::wait_for(&created.name, "hello from");
        assert_eq!(
            noxs::key(created.domid, "sysctl", 0, "frontend shutdown-ack")
                .as_deref()
                .unwrap_or("0"),
            "0"
        );
        assert_eq!(chaos::json(&["shutdown", &created.name])["destroyed"], false);
        assert_eq!(noxs::key(created.domid, "sysctl", 0, "backend shutdown-request").unwrap(), "1");
        assert_eq!(noxs::key(created.domid, "sysctl", 0, "frontend shutdown-ack").unwrap(), "1");
        chaos::chaos(&["destroy", &created.name]).ok();
    }
}

#[test]
fn linux_reboots_and_shuts_down() {
    without_xenstored();
    let lab = Lab::new("noxs-linux");
    let host = Host::now();
    for base in ["linux-pv", "linux-pvh"] {
        let created = lab.create(base, base);
        console::wait_for(&created.name, "GUEST-UP");
        let rebooted = chaos::json(&["reboot", &created.name]);
        assert_eq!(rebooted["old_domid"], created.domid);
        assert_eq!(noxs::devices_of(created.domid), Vec::<String>::new());
        console::wait_for_nth(&created.name, "GUEST-UP", 2);
        let line = console::wait_for_nth(&created.name, "GUEST-UP", 2);
        assert!(line.contains(if base == "linux-pv" { " PV" } else { " PVH" }), "{line}");
        assert_eq!(chaos::json(&["shutdown", &created.name])["reason"], "poweroff");
    }
    host.assert_unchanged("Linux guests");
}

/// On the way from its start to a connected interface, and before.
#[test]
fn destroyed_at_any_moment() {
    const LIMIT: Duration = Duration::from_secs(60);
    /// In microseconds, and how many of them have to be before it is connected. One of our own
    /// guests often is before its unpausing has returned, so that the way itself is Linux's to
    /// show.
    const SHORT: (&[u64], u32) = (&[0, 250, 500, 1000, 4000, 16_000, 64_000, 512_000], 0);
    const LONG: (&[u64], u32) = (&[0, 40_000, 80_000, 120_000, 160_000, 240_000, 480_000], 3);
    without_xenstored();
    let lab = Lab::new("noxs-destroy");
    let hypervisor = Hypervisor::open().unwrap();
    for (base, (moments, at_least)) in
        [("daytime-pv", SHORT), ("daytime-pvh", SHORT), ("linux-pv", LONG), ("linux-pvh", LONG)]
    {
        let config = GuestConfig::from_file(lab.config(base, base, &json!({}))).unwrap();
        let image = BootImage::open(&config).unwrap();
        let make = || hypervisor.create(&config).unwrap().boot_paused(&image).unwrap();
        let connect_and_destroy = || {
            let domain = make();
            domain.unpause().unwrap();
            domain.wait_until_connected(DeviceId::vif(0), LIMIT).unwrap();
            domain.destroy().unwrap();
        };
        // The first one makes what the host keeps.
        connect_and_destroy();
        let host = Host::now();
        let paused = lab.create_with(base, "paused", &json!({}), &["--paused"]);
        chaos::chaos(&["destroy", &paused.name]).ok();
        // Asked within this process, for a command takes longer than the whole way, and of a guest
        // that stands still meanwhile.
        let (mut early, mut late) = (0, 0);
        for moment in moments {
            let domain = make();
            domain.unpause().unwrap();
            sleep(Duration::from_micros(*moment));
            domain.pause().unwrap();
            match domain.wait_until_connected(DeviceId::vif(0), Duration::ZERO) {
                Ok(()) => late += 1,
                Err(_) => early += 1,
            }
            domain.destroy().unwrap();
            assert_eq!(noxs::list(), Vec::<String>::new(), "destroyed after {moment} us");
        }
        connect_and_destroy();
        eprintln!("{base}: {early} destroyed before they were connected, {late} after");
        assert!(early >= at_least, "all moments are alike");
        host.assert_unchanged("guests destroyed");
    }
}

#[test]
fn a_guest_that_ends_by_itself_is_removed() {
    without_xenstored();
    let lab = Lab::new("noxs-exit");
    let host = Host::now();
    for base in ["hello-pv", "hello-pvh"] {
        let name = lab.create_with(base, base, &json!({"cmdline": "exit"}), &[]).name;
        wait::until("xendevd does not remove it", || chaos::find(&name).is_none());
    }
    host.assert_unchanged("guests that ended");
}

#[test]
fn the_console_is_a_terminal() {
    without_xenstored();
    let lab = Lab::new("noxs-console");
    for kind in ["pv", "pvh"] {
        let name = lab.create(&format!("hello-{kind}"), kind).name;
        for round in ["first", "second"] {
            let mut terminal = Terminal::start(&["chaos", "console", &name]);
            terminal.expect(&format!("hello from {name}"));
            // Each key is the guest's at once, the one that rubs out, too; but for Ctrl-], which
            // leaves before a line is complete.
            terminal.send(format!("{round}!").as_bytes());
            terminal.expect(&format!("{round}!"));
            terminal.send(b"\x7f\r");
            terminal.expect(&format!("you said: {round}\r\n"));
            terminal.send(ESCAPE);
            assert!(terminal.wait().success());
        }
        assert_eq!(chaos::find(&name).unwrap().state, "blocked", "the guest runs on");
        chaos::chaos(&["destroy", &name]).ok();
    }
}

#[test]
fn a_console_without_a_terminal() {
    without_xenstored();
    let lab = Lab::new("noxs-pipe");
    for kind in ["pv", "pvh"] {
        let changes = json!({"on_crash": "preserve"});
        let name = lab.create_with(&format!("hello-{kind}"), kind, &changes, &[]).name;
        console::wait_for(&name, "hello from");
        run_within(LIMIT, &["chaos", "console", &name], "crash\n").ok();
        wait::until("the guest does not crash", || chaos::find(&name).unwrap().state == "crashed");
        assert_eq!(chaos::info(&name)["shutdown_reason"], "crash");
        chaos::chaos(&["destroy", &name]).ok();
    }
}

/// Starts the host's xendevd again, also behind a failure.
struct WithoutXendevd;

impl WithoutXendevd {
    #[track_caller]
    fn stop() -> Self {
        run(&["systemctl", "stop", "xendevd"]).ok();
        Self
    }
}

impl Drop for WithoutXendevd {
    fn drop(&mut self) {
        let _ = Command::new("systemctl").args(["start", "xendevd"]).status();
    }
}

/// Nobody takes what a guest prints, or answers for its console, and it lives and ends as any
/// other; what it has printed until then is there as soon as the daemon is.
#[test]
fn a_console_without_its_daemon() {
    without_xenstored();
    let lab = Lab::new("noxs-unheard");
    for base in ["hello-pv", "hello-pvh"] {
        let stopped = WithoutXendevd::stop();
        let ended = lab.create(base, "ended").name;
        assert_eq!(chaos::json(&["shutdown", &ended])["reason"], "poweroff");
        let name = lab.create(base, "a").name;
        wait::until("the guest never blocks", || chaos::find(&name).unwrap().state == "blocked");
        let message = run_within(LIMIT, &["chaos", "console", &name], "").fails(8);
        assert!(message.contains("xendevd"), "{message}");
        assert_eq!(console::text(&name), "");
        drop(stopped);
        console::wait_for(&name, &format!("hello from {name}"));
        assert_eq!(chaos::json(&["shutdown", &name])["reason"], "poweroff");
    }
}

#[test]
fn a_xenstore_guest_is_refused_with_the_reason() {
    without_xenstored();
    let lab = Lab::new("noxs-plane");
    let host = Host::now();
    let config = lab.config("noop-pv", "a", &json!({}));
    let output = chaos::chaos(&["create", &config, "--plane", "xenstore"]);
    output.fails_with_a_message();
    assert!(output.stderr.to_lowercase().contains("xenstore"), "{}", output.report());
    host.assert_unchanged("a guest that cannot be");
}
