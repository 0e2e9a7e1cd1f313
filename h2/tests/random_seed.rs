//! The randomness that each guest gets, on both planes.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Bench, NAME};
use h2::Domain;
use h2::config::{GuestType, Plane, StopAction};
use h2::noxs_backend::{Backend, Class, Keys, Name, Which};

/// Where a guest with Xenstore finds it.
fn node(guest: &Domain) -> String {
    format!("/local/domain/{}/random-seed", guest.id())
}

/// What the guest reads.
fn seed(bench: &Bench, guest: &Domain) -> String {
    let seed = match bench.plane() {
        Plane::Xenstore => bench.host.guest_reads(guest.id(), &node(guest)).unwrap(),
        Plane::Noxs => {
            let name = Name::new(guest.id(), Class::SYSCTL, 0);
            let kernel = Backend::over(bench.host.node().unwrap());
            let page = kernel.read(name, Which::Backend).unwrap().unwrap();
            page.keys.get(Keys::RANDOM_SEED).unwrap().to_owned()
        }
    };
    let digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    assert!(seed.len() == 64 && seed.bytes().all(digit), "{seed}");
    seed
}

#[test]
fn each_life_of_each_guest_has_its_own() {
    for bench in Bench::planes() {
        let hypervisor = bench.open();
        let mut config = bench.config(GuestType::Pv, NAME);
        config.on_reboot = StopAction::Restart;
        let guest = bench.start(&hypervisor, &config).unwrap();
        let other = bench.guest(&hypervisor, "other");
        let first = seed(&bench, &guest);
        assert_ne!(first, seed(&bench, &other));
        guest.rename("renamed").unwrap();
        assert_eq!(first, seed(&bench, &guest));
        bench.host.end_guest(guest.id(), 1);
        hypervisor.ended().unwrap().remove(0).carry_out().unwrap();
        assert_ne!(first, seed(&bench, &hypervisor.find("renamed").unwrap()));
    }
}

#[test]
fn a_guest_reads_its_own_and_changes_none() {
    let bench = Bench::new();
    let hypervisor = bench.open();
    let guest = bench.guest(&hypervisor, NAME);
    let other = bench.guest(&hypervisor, "other");
    let node = node(&guest);
    assert_eq!(bench.host.guest_reads(other.id(), &node), Err(libc::EACCES));
    for who in [&guest, &other] {
        assert_eq!(bench.host.guest_writes(who.id(), &node, "0"), Err(libc::EACCES));
    }
    guest.destroy().unwrap();
    assert_eq!(bench.host.read_node(&node), None);
}

#[test]
fn it_is_shown_and_kept_nowhere() {
    for bench in Bench::planes() {
        let hypervisor = bench.open();
        let guest = bench.guest(&hypervisor, NAME);
        let seed = seed(&bench, &guest);
        let mut shown = vec![format!("{:?}", bench.picture().files)];
        shown.extend(bench.host.log().iter().map(ToString::to_string));
        shown.push(format!("{:?} {:?}", guest.info().unwrap(), guest.devices().unwrap()));
        if bench.plane() == Plane::Noxs {
            let dump = guest.noxs_dump().unwrap();
            let keys = &dump.devices[0].backend.as_ref().unwrap().keys;
            assert_eq!(keys.get(Keys::RANDOM_SEED), Some("(hidden)"));
            shown.push(serde_json::to_string(&dump).unwrap());
        }
        assert!(!shown.concat().contains(&seed));
    }
}
