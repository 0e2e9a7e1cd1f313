//! Guests whose Xenstore does not answer: for longer than they have patience.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::thread::sleep;
use std::time::Duration;

use h2::{DomId, Hypervisor};
use lab_tests::cpu_time::{self, BOUND, WHILE, idle};
use lab_tests::network::{BRIDGE, ping, up};
use lab_tests::{Lab, chaos, console, daemon, run, wait};
use serde_json::json;

/// What a guest asks an xenstored that does not answer it asks in vain, for as long as it has
/// patience. It neither turns round meanwhile nor is it deaf for good.
#[test]
fn a_store_that_does_not_answer() {
    /// Longer than the guests' patience.
    const STOPPED: Duration = Duration::from_secs(40);
    let lab = Lab::new("idle-store");
    for (base, [first, second]) in [
        ("daytime-pv", ["10.77.0.67", "10.77.0.68"]),
        ("daytime-pvh", ["10.77.0.69", "10.77.0.70"]),
    ] {
        let changes = json!({"cmdline": format!("ip={first}/24 ip1={second}/24"), "memory": 16});
        let guest = lab.create_with(base, base, &changes, &[]);
        up(&guest.name, 0, first);
        let hypervisor = Hypervisor::open().unwrap();
        let domain = hypervisor.domain(DomId::new(guest.domid).unwrap()).unwrap();
        domain.pause().unwrap();
        // Something to ask about, as soon as it runs.
        chaos::chaos(&["device", "attach", &guest.name, "vif", "--bridge", BRIDGE]).ok();
        let stopped = daemon::xenstored().stop();
        let before = cpu_time::witnessed(guest.domid);
        domain.unpause().unwrap();
        sleep(STOPPED);
        ping(first);
        let used = cpu_time::witnessed(guest.domid) - before;
        println!("{base}: {used:?} while the store does not answer");
        assert!(used < 20 * BOUND, "{base}: {used:?} of {STOPPED:?}");
        let before = cpu_time::witnessed(guest.domid);
        sleep(WHILE);
        let used = cpu_time::witnessed(guest.domid) - before;
        assert!(used < BOUND, "{base}: {used:?} of {WHILE:?} while the store does not answer");
        drop(stopped);
        console::wait_for(&guest.name, "vif 1 00:");
        ping(second);
        idle(std::slice::from_ref(&guest), "a store that answers again");
        wait::until("the guest does not answer its toolstack", || {
            run(&["chaos", "shutdown", &guest.name]).status.success()
        });
    }
}
