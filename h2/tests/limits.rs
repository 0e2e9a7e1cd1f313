//! What h2 does where something is full, or comes around.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::Duration;

use common::{Bench, NAME, id};
use h2::config::{GuestType, Vif};
use h2::{DeviceConfig, DomId, Error, Hypervisor, ShutdownReason, ShutdownRequest};
use h2_fake::Reaction;

/// Never reached: in the fake nothing takes time.
const LONG: Duration = Duration::from_secs(60);

fn vif() -> DeviceConfig {
    DeviceConfig::Vif(Vif::default())
}

/// A guest without devices.
fn bare(bench: &Bench, hypervisor: &Hypervisor, name: &str) -> h2::Domain {
    let mut config = bench.config(GuestType::Pv, name);
    (config.vifs, config.vbds) = (Vec::new(), Vec::new());
    bench.start(hypervisor, &config).unwrap()
}

#[test]
fn domain_ids_come_around() {
    for bench in Bench::planes() {
        let hypervisor = bench.open();
        bench.host.set_next_id(id(1));
        let lives = bare(&bench, &hypervisor, "lives");
        // Its record stays for whoever gets its id.
        let destroyed = bare(&bench, &hypervisor, "destroyed");
        bench.host.destroy_elsewhere(destroyed.id());
        bench.host.set_next_id(DomId::MAX);
        let last = bare(&bench, &hypervisor, "last");
        let again = bare(&bench, &hypervisor, "again");
        assert_eq!((lives.id(), last.id()), (id(1), DomId::MAX));
        assert_eq!(again.id(), destroyed.id());
        for (name, domain) in [("lives", &lives), ("last", &last), ("again", &again)] {
            assert_eq!(hypervisor.find(name).unwrap().id(), domain.id());
            assert_eq!(domain.name().unwrap().as_deref(), Some(name));
            assert_eq!(domain.config().unwrap().unwrap().name.as_str(), name);
        }
        assert!(hypervisor.find("destroyed").is_err());
        assert_eq!(hypervisor.list().unwrap().len(), 4);
    }
}

/// A guest that has as many nodes as xenstored lets it have keeps nobody else from anything.
#[test]
fn a_guest_with_all_its_nodes() {
    let bench = Bench::new();
    let hypervisor = bench.open();
    let before = bench.picture();
    let guest = bare(&bench, &hypervisor, NAME);
    let node = |number: u32| format!("/local/domain/{}/data/{number}", guest.id());
    let full = (0..).find_map(|number| {
        bench.host.guest_writes(guest.id(), &node(number), &"x".repeat(1900)).err()
    });
    assert_eq!(full, Some(libc::ENOSPC));
    let device = guest.attach(&vif()).unwrap();
    guest.wait_until_connected(device, LONG).unwrap();
    bench.host.set_reaction(guest.id(), Reaction::Obey);
    let ended = guest.shutdown(ShutdownRequest::PowerOff, LONG).unwrap();
    assert_eq!(ended, ShutdownReason::PowerOff);
    guest.destroy().unwrap();
    before.assert_same(&bench.picture(), "full of nodes");
}

/// Beyond a guest's memory xenstored lets nobody write what the guest owns: then it cannot be asked
/// and gets nothing more, and is destroyed like any other.
#[test]
fn a_guest_with_all_its_memory() {
    let bench = Bench::new();
    let hypervisor = bench.open();
    let before = bench.picture();
    let guest = bare(&bench, &hypervisor, NAME);
    bench.host.guest_hoards(guest.id());
    let hoards = bench.picture();
    let error = guest.attach(&vif()).unwrap_err();
    assert!(matches!(&error, Error::Store(error) if error.path.contains("device/vif")), "{error}");
    hoards.assert_same(&bench.picture(), "an attach was refused");
    let error = guest.request(ShutdownRequest::PowerOff).unwrap_err();
    let node = format!("/local/domain/{}/control/shutdown", guest.id());
    assert!(matches!(&error, Error::Store(error) if error.path == node), "{error}");
    guest.destroy().unwrap();
    before.assert_same(&bench.picture(), "full of memory");
}
