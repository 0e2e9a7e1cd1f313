//! What a create costs in calls below the seam. They are counts, so they hold on any machine.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Bench, NAME, TYPES};
use h2::config::{GuestType, Vcpus};
use h2::{GuestConfig, Hypervisor};

/// Calls below the seam, and those among them that go to xenstored.
type Cost = (u64, u64);

fn cost(bench: &Bench, hypervisor: &Hypervisor, config: &GuestConfig) -> Cost {
    bench.host.clear_plan();
    let earlier = hypervisor.counters();
    bench.start(hypervisor, config).unwrap();
    (bench.host.calls(), hypervisor.counters().since(&earlier).xenstore_operations)
}

/// The 200th guest costs what the first one does, with as many of another toolstack's beside.
#[test]
fn a_create_does_not_grow_with_the_number_of_guests() {
    let bench = Bench::new();
    let hypervisor = bench.open();
    for guest_type in TYPES {
        let first =
            cost(&bench, &hypervisor, &bench.config(guest_type, &format!("{guest_type:?}-0")));
        for number in 1..200 {
            bench.host.make_foreign_guest(Some("other"), [7; 16]).unwrap();
            let config = bench.config(guest_type, &format!("{guest_type:?}-{number}"));
            assert_eq!(cost(&bench, &hypervisor, &config), first, "{guest_type:?} guest {number}");
        }
    }
    assert_eq!(hypervisor.list().unwrap().len(), 1 + 2 * (200 + 199));
}

/// The least guest: one vcpu, no pins, no shares, no ramdisk, no devices. A change of these numbers
/// is a change of what `chaos` costs, for the better or, with a reason, for the worse.
#[test]
fn what_the_least_guest_costs() {
    let bench = Bench::new();
    let hypervisor = bench.open();
    for (guest_type, at_most) in [(GuestType::Pv, (80, 66)), (GuestType::Pvh, (82, 66))] {
        let mut config = bench.config(guest_type, NAME);
        (config.vcpus, config.ramdisk, config.cpu_weight, config.cpu_cap) =
            (Vcpus::ONE, None, None, None);
        (config.vifs, config.vbds) = (Vec::new(), Vec::new());
        let (calls, store) = cost(&bench, &hypervisor, &config);
        println!("{guest_type:?}: {calls} calls, {store} of them to xenstored");
        assert!(
            calls <= at_most.0 && store <= at_most.1,
            "{guest_type:?}: {calls} calls, {store} to xenstored"
        );
        hypervisor.find(NAME).unwrap().destroy().unwrap();
    }
}
