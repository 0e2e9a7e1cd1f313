//! A guest's name: given, taken, changed by us and by other tools, while others do the same.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::rc::Rc;

use common::{Bench, NAME};
use h2::config::GuestType;
use h2::{Error, ErrorKind};
use h2_fake::FakeHost;
use nix::fcntl::{Flock, FlockArg};

#[test]
fn renaming() {
    let bench = Bench::new();
    let before = bench.picture();
    let hypervisor = bench.open();
    let guest = bench.guest(&hypervisor, NAME);
    guest.rename("mail").unwrap();
    assert_eq!(guest.name().unwrap().as_deref(), Some("mail"));
    assert_eq!(guest.config().unwrap().unwrap().name.as_str(), "mail");
    assert_eq!(hypervisor.find("mail").unwrap().id(), guest.id());
    assert!(hypervisor.find(NAME).is_err());
    let vm = bench.host.read_node(&format!("/local/domain/{}/vm", guest.id())).unwrap();
    assert_eq!(bench.host.read_node(&format!("{vm}/name")).as_deref(), Some("mail"));
    // To its own name, to another's, to what is no name.
    guest.rename("mail").unwrap();
    let other = bench.guest(&hypervisor, NAME);
    assert!(
        matches!(guest.rename(NAME), Err(Error::NameInUse { domain, .. }) if domain == other.id())
    );
    for bad in ["", "17", "a/b", "-x", "Domain-0"] {
        assert_eq!(guest.rename(bad).unwrap_err().kind(), ErrorKind::Input, "{bad:?}");
    }
    bench.host.make_foreign_guest(Some("theirs"), [7; 16]).unwrap();
    assert!(matches!(guest.rename("theirs"), Err(Error::NameInUse { .. })));
    assert_eq!(hypervisor.find("mail").unwrap().id(), guest.id());
    let theirs = hypervisor.find("theirs").unwrap();
    theirs.rename("ours").unwrap();
    assert_eq!(hypervisor.find("ours").unwrap().id(), theirs.id());
    for guest in [guest, other, theirs] {
        guest.destroy().unwrap();
    }
    before.assert_same(&bench.picture(), "all destroyed");
}

#[test]
fn renamed_by_another_tool() {
    let bench = Bench::new();
    let before = bench.picture();
    let hypervisor = bench.open();
    let first = bench.guest(&hypervisor, NAME);
    bench.host.write_node(&format!("/local/domain/{}/name", first.id()), "mail");
    assert!(hypervisor.find(NAME).is_err());
    assert_eq!(hypervisor.find("mail").unwrap().id(), first.id());
    // The old name is free for another guest, and stays that one's when the first goes.
    let second = bench.guest(&hypervisor, NAME);
    first.destroy().unwrap();
    assert_eq!(hypervisor.find(NAME).unwrap().id(), second.id());
    second.destroy().unwrap();
    before.assert_same(&bench.picture(), "both destroyed");
}

/// Whatever fails in a rename, the guest has one of the two names, and the other is free.
#[test]
fn renaming_fails() {
    let bench = Bench::new();
    let before = bench.picture();
    let hypervisor = bench.open();
    for n in 1.. {
        let guest = bench.guest(&hypervisor, NAME);
        bench.host.clear_plan();
        bench.host.fail_nth(n, libc::EIO);
        let renamed = guest.rename("mail");
        let done = bench.host.calls() < n;
        assert_eq!(renamed.is_ok(), done, "call {n}: {renamed:?}");
        bench.host.clear_plan();
        let name = guest.name().unwrap().unwrap();
        assert_eq!(hypervisor.find(&name).unwrap().id(), guest.id());
        let free = if name == NAME { "mail" } else { NAME };
        let other = bench.guest(&hypervisor, free);
        assert_eq!(hypervisor.find(free).unwrap().id(), other.id(), "call {n}");
        guest.destroy().unwrap();
        other.destroy().unwrap();
        before.assert_same(&bench.picture(), format_args!("call {n}"));
        if done {
            break;
        }
    }
}

/// While a guest is being built nobody else gets its name, not even between its steps.
#[test]
fn renaming_to_a_name_that_is_being_built() {
    let bench = Bench::new();
    let hypervisor = bench.open();
    let mail = bench.guest(&hypervisor, "mail");
    bench.host.clear_plan();
    let calls = {
        let guest = bench.guest(&hypervisor, NAME);
        let calls = bench.host.calls();
        guest.destroy().unwrap();
        calls
    };
    for n in 2..=calls {
        let (host, state, number) = (bench.host.clone(), bench.state(), mail.id());
        bench.host.clear_plan();
        bench.host.meanwhile(n, move || {
            let renamed = host.open(&state).unwrap().domain(number).unwrap().rename(NAME);
            assert!(renamed.is_err(), "call {n}: two guests have one name");
        });
        let guest = bench.guest(&hypervisor, NAME);
        assert_eq!(hypervisor.find(NAME).unwrap().id(), guest.id());
        guest.destroy().unwrap();
    }
}

/// Two processes want one name at the same time: one of them gets it.
#[test]
fn two_renames_to_one_name() {
    name_taken_during_a_rename(|host, folder| {
        let hypervisor = host.open(&common::state_dir(folder)).unwrap();
        let _ = hypervisor.find("mail").unwrap().rename("wanted");
    });
}

#[test]
fn a_create_during_a_rename() {
    name_taken_during_a_rename(|host, folder| {
        let hypervisor = host.open(&common::state_dir(folder)).unwrap();
        let _ = common::start(&hypervisor, &common::config(folder, GuestType::Pv, "wanted"));
    });
}

/// Renames a guest to "wanted", while another process does this at each of the calls.
fn name_taken_during_a_rename(other: fn(&FakeHost, &Path)) {
    let interfered = Rc::new(Cell::new(0));
    for n in 1.. {
        let bench = Bench::new();
        let hypervisor = bench.open();
        bench.guest(&hypervisor, "mail");
        let guest = bench.guest(&hypervisor, NAME);
        let (host, folder) = (bench.host.clone(), bench.folder().to_owned());
        let happened = Rc::new(Cell::new(false));
        let happens = Rc::clone(&happened);
        let interferes = Rc::clone(&interfered);
        bench.host.clear_plan();
        bench.host.meanwhile(n, move || {
            happens.set(true);
            // While names change hands the other process waits; here it would wait for itself.
            let lock = fs::File::open(common::state_dir(&folder).join("lock")).unwrap();
            if let Ok(lock) = Flock::lock(lock, FlockArg::LockExclusiveNonblock) {
                drop(lock);
                interferes.set(interferes.get() + 1);
                other(&host, &folder);
            }
        });
        let renamed = guest.rename("wanted");
        let list = hypervisor.list().unwrap();
        let owners = list.iter().filter(|guest| guest.name.as_deref() == Some("wanted")).count();
        assert_eq!(owners, 1, "call {n}: {renamed:?}");
        assert_eq!(
            hypervisor.find("wanted").unwrap().id() == guest.id(),
            renamed.is_ok(),
            "call {n}"
        );
        if !happened.get() {
            break;
        }
    }
    assert!(interfered.get() > 0, "a rename never lets another process in");
}
