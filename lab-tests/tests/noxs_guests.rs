//! Lives of guests on the NoXS plane, on a host without xenstored, as PV and as PVH.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use lab_tests::command::{LIMIT, run_within};
use lab_tests::{Host, Lab, chaos, console, noxs, wait};
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

#[test]
fn destroyed_at_any_moment() {
    without_xenstored();
    let lab = Lab::new("noxs-destroy");
    let host = Host::now();
    for base in ["hello-pv", "hello-pvh"] {
        let paused = lab.create_with(base, "paused", &json!({}), &["--paused"]);
        chaos::chaos(&["destroy", &paused.name]).ok();
        let started = lab.create(base, "started");
        chaos::chaos(&["destroy", &started.name]).ok();
        assert_eq!(noxs::list(), Vec::<String>::new());
    }
    host.assert_unchanged("guests destroyed");
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
        let changes = json!({"on_crash": "preserve"});
        let name = lab.create_with(&format!("hello-{kind}"), kind, &changes, &[]).name;
        console::wait_for(&name, "hello from");
        run_within(LIMIT, &["chaos", "console", &name], "crash\n").ok();
        wait::until("the guest does not crash", || chaos::find(&name).unwrap().state == "crashed");
        assert_eq!(chaos::info(&name)["shutdown_reason"], "crash");
        chaos::chaos(&["destroy", &name]).ok();
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
