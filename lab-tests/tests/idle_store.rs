//! Guests whose Xenstore does not answer: for longer than they have patience.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::thread::sleep;
use std::time::Duration;

use h2::{DomId, Hypervisor};
use lab_tests::cpu_time::{asleep, idle};
use lab_tests::network::{BRIDGE, ping, up};
use lab_tests::{Lab, chaos, console, daemon};
use serde_json::json;

/// Longer than a guest's patience with xenstored, which is half a minute.
const STOPPED: Duration = Duration::from_secs(40);

/// What a guest asks an xenstored that does not answer it asks in vain, for as long as it has
/// patience. It neither turns round meanwhile nor is it deaf for good.
#[test]
fn a_store_that_does_not_answer() {
    let lab = Lab::new("idle-store");
    let guests = [
        ("daytime-pv", ["10.77.0.67", "10.77.0.68"]),
        ("daytime-pvh", ["10.77.0.69", "10.77.0.70"]),
    ];
    let (guests, addresses): (Vec<_>, Vec<_>) = guests
        .map(|(base, addresses)| {
            let [first, second] = addresses;
            let cmdline = format!("ip={first}/24 ip1={second}/24");
            let changes = json!({"cmdline": cmdline, "memory": 16});
            let guest = lab.create_with(base, base, &changes, &[]);
            up(&guest.name, 0, first);
            (guest, addresses)
        })
        .into_iter()
        .unzip();
    for guest in &guests {
        chaos::chaos(&["pause", &guest.name]).ok();
        // Something to ask about, as soon as it runs.
        chaos::chaos(&["device", "attach", &guest.name, "vif", "--bridge", BRIDGE]).ok();
    }
    let hypervisor = Hypervisor::open().unwrap();
    let stopped = daemon::xenstored().stop();
    for guest in &guests {
        hypervisor.domain(DomId::new(guest.domid).unwrap()).unwrap().unpause().unwrap();
    }
    sleep(STOPPED);
    for [first, _] in &addresses {
        // It has given up, and serves again.
        ping(first);
    }
    asleep(&guests, "a store that does not answer");
    drop(stopped);
    for (guest, [_, second]) in guests.iter().zip(&addresses) {
        console::wait_for(&guest.name, "vif 1 00:");
        ping(second);
    }
    idle(&guests, "a store that answers again");
    for guest in &guests {
        assert_eq!(chaos::json(&["shutdown", &guest.name])["reason"], "poweroff");
    }
}
