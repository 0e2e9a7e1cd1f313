//! Guests that fail: real exceptions, stacks that are too small, with a report and without. Each is
//! a crash, whatever the type of the guest; and none is a reboot. And what two guests of one image
//! must not have alike.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::time::Duration;

use lab_tests::{Lab, chaos, console, noxs, wait, xl};
use serde_json::json;

/// Kept as they ended, however that was.
fn preserved(app: &str, cmdline: &str) -> serde_json::Value {
    json!({
        "kernel": format!("/guests/{app}"),
        "cmdline": cmdline,
        "on_crash": "preserve",
        "on_reboot": "preserve",
        "on_poweroff": "preserve",
    })
}

/// Waits until the guest has ended, and asks everybody how.
#[track_caller]
fn crashed(name: &str) {
    wait::until(&format!("{name} does not end"), || {
        let state = chaos::find(name).expect("the guest is preserved").state;
        !["running", "blocked"].contains(&state.as_str())
    });
    assert_eq!(chaos::find(name).unwrap().state, "crashed", "{name}");
    assert_eq!(chaos::info(name)["shutdown_reason"], "crash", "{name}");
    if noxs::xenstored_runs() {
        let row = xl::find(name).expect("xl lists it");
        assert!(row.state.contains('c'), "{row:?}");
    }
}

#[test]
fn an_exception_is_reported_and_is_a_crash() {
    let lab = Lab::new("fault");
    for kind in ["pv", "pvh"] {
        for (word, vector) in [("undefined", 6), ("null", 14), ("wild", 14)] {
            let changes = preserved("hello", word);
            let name =
                lab.create_with(&format!("hello-{kind}"), &format!("{kind}-{word}"), &changes, &[]);
            let line = console::wait_for(&name.name, "guest failed: ");
            let report = format!("guest failed: exception {vector}, error ");
            assert!(line.starts_with(&report), "{kind} {word}: {line}");
            let address = match word {
                "null" => "cr2 0x0",
                "wild" => "cr2 0x700000000000",
                _ => "cr2 ",
            };
            assert!(line.contains(address), "{kind} {word}: {line}");
            crashed(&name.name);
        }
    }
}

/// Below the stack nothing is mapped. A PVH guest has a stack for exceptions then; on PV there is
/// none for Xen to put the exception's frame on, and Xen says so in its own log.
#[test]
fn a_stack_that_is_too_small_is_a_crash() {
    let lab = Lab::new("overflow");
    for kind in ["pv", "pvh"] {
        for app in ["hello", "mute"] {
            let changes = preserved(app, "overflow");
            let guest =
                lab.create_with(&format!("hello-{kind}"), &format!("{kind}-{app}"), &changes, &[]);
            crashed(&guest.name);
            let text = console::text(&guest.name);
            match (kind, app) {
                ("pvh", "hello") => assert!(
                    text.contains("guest failed: stack overflow: exception 14, error 0x2,"),
                    "{text}"
                ),
                _ => assert!(!text.contains("guest failed"), "{text}"),
            }
            if kind == "pv" && noxs::xenstored_runs() {
                let log = xl::xl(&["dmesg"]).ok();
                let line = format!("Domain {} (vcpu#0) crashed", guest.domid);
                assert!(log.contains(&line), "{line} is not in Xen's log");
            }
        }
    }
}

/// The memory below a stack of one page is the guard's, not the next variable's: nothing else has
/// happened to this guest.
#[test]
fn a_silent_guest_crashes_and_does_not_reboot() {
    let lab = Lab::new("silent");
    for kind in ["pv", "pvh"] {
        for word in ["undefined", "null", "wild", "panic"] {
            let changes = preserved("mute", word);
            let guest =
                lab.create_with(&format!("noop-{kind}"), &format!("{kind}-{word}"), &changes, &[]);
            crashed(&guest.name);
        }
        let guest = lab.create_with(
            &format!("noop-{kind}"),
            &format!("{kind}-none"),
            &preserved("mute", ""),
            &[],
        );
        wait::until("the guest never blocks", || {
            chaos::find(&guest.name).is_some_and(|row| row.state == "blocked")
        });
    }
}

/// Their first DHCP messages, which dom0 hears: smoltcp draws the transaction's number, as it draws
/// the first sequence number of a connection.
#[test]
fn guests_of_one_image_draw_different_numbers() {
    let lab = Lab::new("random");
    let server = UdpSocket::bind("0.0.0.0:67").unwrap();
    server.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut paused = Vec::new();
    for (index, base) in
        ["daytime-pv", "daytime-pvh", "daytime-pv", "daytime-pvh"].iter().enumerate()
    {
        let mac = format!("00:16:3e:77:00:0{index}");
        let changes = json!({
            "cmdline": "ip=dhcp",
            "vifs": [{"bridge": "xenbr0", "mac": mac}],
        });
        paused.push(lab.create_with(base, &index.to_string(), &changes, &["--paused"]).name);
    }
    let names = paused.iter().map(String::as_str);
    chaos::chaos(&["unpause"].into_iter().chain(names).collect::<Vec<_>>()).ok();
    let (mut guests, mut numbers) = (BTreeSet::new(), BTreeSet::new());
    let mut message = [0; 1500];
    while guests.len() < paused.len() {
        let (length, _) = server.recv_from(&mut message).expect("no DHCP message of a guest");
        assert!(length > 240, "{length} bytes");
        let (number, hardware) = (&message[4..8], &message[28..34]);
        if hardware.starts_with(&[0, 0x16, 0x3e, 0x77, 0]) && guests.insert(hardware.to_vec()) {
            numbers.insert(u32::from_be_bytes(number.try_into().unwrap()));
        }
    }
    assert_eq!(numbers.len(), paused.len(), "{numbers:x?}");
}
