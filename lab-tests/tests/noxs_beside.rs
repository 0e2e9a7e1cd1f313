//! Guests of both planes on one host: xenstored starts late, and each guest goes on with what it
//! has. Runs behind all other suites of its host.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use lab_tests::network::{daytime, ping};
use lab_tests::{Host, Lab, chaos, console, noxs, wait, xl};
use serde_json::json;

#[test]
fn both_planes_on_one_host() {
    let lab = Lab::new("noxs-beside");
    let cmdline = |address: &str| json!({"cmdline": format!("ip={address}/24")});
    let early = lab.create_with("daytime-pv", "early", &cmdline("10.77.0.51"), &[]);
    daytime("10.77.0.51");
    noxs::start_xenstored();
    daytime("10.77.0.51");

    // xl's own guests, and ours on either plane.
    for (base, name, plane, address) in [
        ("daytime-pv", "a", "noxs", "10.77.0.52"),
        ("daytime-pvh", "b", "noxs", "10.77.0.53"),
        ("daytime-pv", "c", "xenstore", "10.77.0.54"),
        ("daytime-pvh", "d", "xenstore", "10.77.0.55"),
    ] {
        let guest = lab.create_with(base, name, &cmdline(address), &["--plane", plane]);
        console::wait_for(&guest.name, "vif 0 ");
        daytime(address);
        let devices = noxs::devices_of(guest.domid).len();
        assert_eq!(devices, if plane == "noxs" { 2 } else { 0 }, "{:?}", noxs::list());
    }
    let by_xl = lab.xl_create("hello-pv", "xl");
    console::wait_for(&by_xl, "hello from");
    daytime("10.77.0.51");
    assert_eq!(chaos::list().len(), 7);
    // What xl destroys of ours on the other plane, xendevd cleans up behind.
    assert_eq!(chaos::json(&["shutdown", &lab.name("a")])["reason"], "poweroff");
    assert_eq!(chaos::json(&["shutdown", &lab.name("c")])["reason"], "poweroff");
    for name in ["early", "b", "d", "xl"] {
        chaos::chaos(&["destroy", &lab.name(name)]).ok();
    }
    assert_eq!(chaos::find(&early.name), None);
    wait::until("devices are left", || noxs::list().is_empty());
    assert_eq!(xl::list().len(), 1);
}

#[test]
fn the_patched_linux_is_a_xenstore_guest_too() {
    let lab = Lab::new("noxs-both-linux");
    noxs::start_xenstored();
    let host = Host::now().with_slack(64);
    for base in ["linux-pv", "linux-pvh"] {
        let guest = lab.create_with(base, base, &json!({}), &["--plane", "xenstore"]);
        console::wait_for(&guest.name, "GUEST-UP");
        ping("10.77.0.14");
        assert_eq!(noxs::devices_of(guest.domid), Vec::<String>::new());
        assert_eq!(chaos::json(&["shutdown", &guest.name])["reason"], "poweroff");
    }
    host.assert_unchanged("Linux guests on the other plane");
}

/// xl knows nothing of NoXS, and may destroy such a guest all the same.
#[test]
fn xl_destroys_a_guest_with_devices() {
    let lab = Lab::new("noxs-xl");
    noxs::start_xenstored();
    let warm = lab.create_with("daytime-pv", "warm", &json!({}), &["--plane", "noxs"]);
    chaos::chaos(&["destroy", &warm.name]).ok();
    let host = Host::now().with_slack(64);
    let guest = lab.create_with("daytime-pv", "a", &json!({}), &["--plane", "noxs"]);
    console::wait_for(&guest.name, "vif 0 ");
    xl::xl(&["destroy", &guest.domid.to_string()]).ok();
    wait::until("devices are left", || noxs::list().is_empty());
    // The next command forgets its records.
    assert_eq!(chaos::find(&guest.name), None);
    host.assert_unchanged("a guest that xl destroyed");
}
