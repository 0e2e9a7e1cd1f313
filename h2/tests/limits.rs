//! What h2 does where something is full, or comes around.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::Duration;

use common::{Bench, NAME, id};
use h2::config::{Access, DiskType, GuestType, Vbd, Vif};
use h2::device::Detach;
use h2::noxs_backend::{Backend, Class, Name, Which};
use h2::{
    DeviceConfig, DeviceId, DomId, Error, ErrorKind, Hypervisor, ShutdownReason, ShutdownRequest,
};
use h2_fake::Reaction;

/// Never reached: in the fake nothing takes time.
const LONG: Duration = Duration::from_secs(60);

fn vif() -> DeviceConfig {
    DeviceConfig::Vif(Vif::default())
}

fn disk(bench: &Bench, vdev: &str) -> DeviceConfig {
    let target = bench.folder().join("disk");
    DeviceConfig::Vbd(Vbd::new(target, DiskType::File, vdev.parse().unwrap(), Access::Write))
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

#[test]
fn a_device_page_is_full() {
    let bench = Bench::noxs();
    let hypervisor = bench.open();
    let guest = bare(&bench, &hypervisor, NAME);
    // A configuration has 64 interfaces at most, and one slot is sysctl's.
    for _ in 0..64 {
        guest.attach(&vif()).unwrap();
    }
    let letters = || (b'a'..=b'z').map(char::from);
    let names = letters().map(String::from).chain(letters().map(|last| format!("a{last}")));
    let names = names.chain(letters().map(|last| format!("b{last}")));
    let mut names = names.map(|name| format!("xvd{name}"));
    for name in names.by_ref().take(61) {
        guest.attach(&disk(&bench, &name)).unwrap();
    }
    let full = bench.picture();
    let error = guest.attach(&disk(&bench, &names.next().unwrap())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Input, "{error}");
    assert!(error.to_string().contains("125 devices"), "{error}");
    full.assert_same(&bench.picture(), "one too many");
    // A slot that was used is used again, and its count goes on.
    guest.detach(DeviceId::vif(7), Detach::Force).unwrap();
    assert_eq!(guest.attach(&vif()).unwrap(), DeviceId::vif(7));
    let dump = guest.noxs_dump().unwrap();
    let again = dump.devices.iter().find(|device| device.class == "vif" && device.id == 7).unwrap();
    assert_eq!((again.slot, again.sequence), (Some(8), Some(3)));
    guest.destroy().unwrap();
}

#[test]
fn regions_of_keys_are_full() {
    let bench = Bench::noxs();
    let hypervisor = bench.open();
    let guest = bare(&bench, &hypervisor, NAME);
    let kernel = Backend::over(bench.host.node().unwrap());
    let sysctl = Name::new(guest.id(), Class::SYSCTL, 0);
    let long = "x".repeat(500);
    let keys = |private| {
        let which = if private { Which::Private } else { Which::Backend };
        kernel.read(sysctl, which).unwrap().unwrap().keys
    };
    // 1,464 bytes for the guest to see, 4,096 for the host.
    for (private, fit) in [(false, 2), (true, 8)] {
        for number in 0..fit {
            kernel.set_keys(sysctl, private, &[(format!("k{number}"), &long)]).unwrap();
        }
        let before = keys(private);
        // Nothing is changed, neither by what would have fitted.
        let more = [("a", ""), ("z", long.as_str())];
        let error = kernel.set_keys(sysctl, private, &more).unwrap_err();
        assert!(error.is(libc::ENOSPC), "{error}");
        assert_eq!(keys(private), before);
    }
    // A guest can still be asked to end: the longest request fits beside what h2 puts there.
    kernel.remove_keys(sysctl, false, &["k0", "k1"]).unwrap();
    bench.host.set_reaction(guest.id(), Reaction::Obey);
    let ended = guest.shutdown(ShutdownRequest::PowerOff, LONG).unwrap();
    assert_eq!(ended, ShutdownReason::PowerOff);
}
