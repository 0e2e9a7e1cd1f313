//! What the kernel's node and the hypervisor's page do with requests that are wrong, and with one
//! that nobody answers: `nx` asks, our toolstack has made the guests.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use lab_tests::device::XVDA;
use lab_tests::{Host, Lab, chaos, console, noxs};
use serde_json::json;

#[test]
fn wrong_requests_are_refused() {
    let lab = Lab::new("noxs-wrong");
    let host = Host::now();
    let guest = lab.create_with("hello-pv", "a", &json!({}), &["--paused"]);
    let domain = guest.domid.to_string();
    for (words, reason) in [
        // There is one already.
        (vec!["add", &domain, "sysctl", "0"], "exists"),
        (vec!["add", &domain, "VIF", "0"], "Invalid argument"),
        (vec!["add", "32000", "vif", "0"], ""),
        (vec!["add", "0", "vif", "0"], "Invalid argument"),
        (vec!["read", &domain, "vif", "7"], "No such"),
        (vec!["set", &domain, "vif", "7", "a=b"], "No such"),
    ] {
        let output = noxs::nx(&words);
        assert!(!output.status.success() && output.stderr.contains(reason), "{}", output.report());
        assert_eq!(noxs::devices_of(guest.domid).len(), 1, "{:?}", noxs::list());
    }
    chaos::chaos(&["destroy", &guest.name]).ok();
    host.assert_unchanged("wrong requests");
}

/// A device whose backend nobody serves is waited for no longer than asked.
#[test]
fn a_device_that_does_not_close_is_forced() {
    let lab = Lab::new("noxs-forced");
    let host = Host::now();
    // noop has no drivers: its end of a device never says anything.
    let guest = lab.create("noop-pv", "a");
    let domain = guest.domid.to_string();
    let disk = XVDA.to_string();
    noxs::nx(&["add", &domain, "vbd", &disk, "a=b", "script=s", "--", "secret=c"]).ok();
    let keys = noxs::keys(guest.domid, "vbd", XVDA);
    assert!(
        keys.contains(&"backend a = b".to_owned())
            && keys.contains(&"private secret = c".to_owned()),
        "{keys:?}"
    );
    // What is the host's alone stays out of the page, whoever puts it there.
    assert!(keys.contains(&"private script = s".to_owned()), "{keys:?}");
    assert!(!keys.iter().any(|line| line.starts_with("backend script")), "{keys:?}");
    noxs::nx(&["set", &domain, "vbd", &disk, "a=d"]).ok();
    assert_eq!(noxs::key(guest.domid, "vbd", XVDA, "backend a").as_deref(), Some("d"));
    noxs::nx(&["del", &domain, "vbd", &disk, "force", "500"]).ok();
    chaos::chaos(&["destroy", &guest.name]).ok();
    host.assert_unchanged("a device of nobody's");
}

/// The page has 126 slots; what does not fit is refused, and all that fits is removed with the
/// guest.
#[test]
fn as_many_devices_as_a_page_has() {
    let lab = Lab::new("noxs-many");
    // Xen keeps a few pages of its own heap. A page for each device would show.
    let host = Host::now().with_slack(64);
    let guest = lab.create("hello-pv", "a");
    console::wait_for(&guest.name, "hello from");
    let domain = guest.domid.to_string();
    let mut added = 1;
    for id in 0..200 {
        let id = (XVDA + 16 * id).to_string();
        if !noxs::nx(&["add", &domain, "vbd", &id, "mode=w", "device-type=disk"]).status.success() {
            break;
        }
        added += 1;
    }
    assert_eq!(added, 126);
    // The guest has looked at all of them, and is well.
    assert_eq!(chaos::json(&["shutdown", &guest.name])["reason"], "poweroff");
    host.assert_unchanged("a guest with many devices");
}
