//! Domains that exist: found, listed, renamed, asked to end, destroyed, while other tools do the
//! same.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs;

use common::{Bench, NAME, id};
use h2::config::GuestType;
use h2::id::MiB;
use h2::{CreateError, DomainState, Error, ErrorKind, SchedulerParams};
use h2_fake::Frontends;

#[test]
fn the_list_has_everybodys_domains() {
    let bench = Bench::new();
    let hypervisor = bench.open();
    let ours = bench.guest(&hypervisor, NAME);
    let theirs = bench.host.make_foreign_guest(Some("theirs"), [7; 16]).unwrap();
    let nameless = bench.host.make_foreign_guest(None, [8; 16]).unwrap();
    let list = hypervisor.list().unwrap();
    let names: Vec<_> = list.iter().map(|guest| (guest.info.id, guest.name.as_deref())).collect();
    assert_eq!(
        names,
        [
            (id(0), Some("Domain-0")),
            (ours.id(), Some(NAME)),
            (theirs, Some("theirs")),
            (nameless, None)
        ]
    );
}

#[test]
fn more_domains_than_one_hypercall_tells() {
    let bench = Bench::new();
    for _ in 0..1030 {
        bench.host.make_foreign_guest(None, [7; 16]).unwrap();
    }
    assert_eq!(bench.open().list().unwrap().len(), 1031);
}

#[test]
fn guests_are_found_by_id_and_name() {
    let bench = Bench::new();
    let hypervisor = bench.open();
    let ours = bench.guest(&hypervisor, NAME);
    let theirs = bench.host.make_foreign_guest(Some("theirs"), [7; 16]).unwrap();
    assert_eq!(hypervisor.find(NAME).unwrap().id(), ours.id());
    assert_eq!(hypervisor.find(&ours.id().to_string()).unwrap().id(), ours.id());
    assert_eq!(hypervisor.find(&format!("00{}", ours.id())).unwrap().id(), ours.id());
    assert_eq!(hypervisor.find("theirs").unwrap().id(), theirs);
    assert_eq!(hypervisor.find("Domain-0").unwrap().id(), id(0));
    for nobody in [
        "",
        "nobody",
        "we",
        "webs",
        "WEB",
        "..",
        "../guests/1.json",
        "/",
        "99",
        "99999999999999999999",
        "-1",
    ] {
        let error = hypervisor.find(nobody).map(|guest| guest.id()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{nobody:?}: {error}");
        if !nobody.bytes().all(|byte| byte.is_ascii_digit()) {
            assert_eq!(hypervisor.name_owner(nobody).unwrap(), None);
        }
    }
}

/// One of ours is found with requests about itself alone, however many guests there are.
#[test]
fn finding_one_of_ours_does_not_look_at_the_others() {
    let bench = Bench::new();
    let hypervisor = bench.open();
    let ours = bench.guest(&hypervisor, NAME);
    for _ in 0..50 {
        bench.host.make_foreign_guest(Some("other"), [7; 16]).unwrap();
    }
    bench.host.clear_plan();
    assert_eq!(hypervisor.find(NAME).unwrap().id(), ours.id());
    assert_eq!(bench.host.calls(), 2, "{:?}", bench.host.log());
}

#[test]
fn a_name_of_two_domains_is_ambiguous() {
    let bench = Bench::new();
    let hypervisor = bench.open();
    let ids = [1, 2].map(|byte| bench.host.make_foreign_guest(Some("twin"), [byte; 16]).unwrap());
    match hypervisor.find("twin").map(|guest| guest.id()).unwrap_err() {
        Error::AmbiguousName { name, ids: found } => {
            assert_eq!((name.as_str(), found), ("twin", ids.to_vec()))
        }
        error => panic!("{error:?}"),
    }
    assert_eq!(hypervisor.name_owner("twin").unwrap(), Some(ids[0]));
    bench.host.destroy_elsewhere(ids[0]);
    assert_eq!(hypervisor.find("twin").unwrap().id(), ids[1]);
}

/// Names that are paths to a file system, or nearly our own files.
#[test]
fn strange_names() {
    let bench = Bench::new();
    let before = bench.picture();
    let hypervisor = bench.open();
    let long = "n".repeat(64);
    let names = [
        ".",
        "..",
        "...",
        ".new",
        "@web",
        "lock",
        "1.json",
        "a b",
        "gr\u{fc}n",
        "it's",
        "*",
        "$HOME",
        &long,
    ];
    let guests = names.map(|name| bench.guest(&hypervisor, name));
    for (name, guest) in names.iter().zip(&guests) {
        assert_eq!(hypervisor.find(name).unwrap().id(), guest.id(), "{name:?}");
        assert_eq!(guest.config().unwrap().unwrap().name.as_str(), *name);
        let twice = bench
            .start(&hypervisor, &bench.config(GuestType::Pv, name))
            .map(|guest| guest.id())
            .unwrap_err();
        assert!(
            matches!(twice, CreateError::NameInUse { domain, .. } if domain == guest.id()),
            "{twice:?}"
        );
    }
    for guest in guests {
        guest.destroy().unwrap();
    }
    before.assert_same(&bench.picture(), "all destroyed");
}

#[test]
fn a_guest_that_another_tool_destroyed() {
    let bench = Bench::new();
    let before = bench.picture();
    let hypervisor = bench.open();
    let gone = bench.guest(&hypervisor, NAME);
    bench.host.destroy_elsewhere(gone.id());
    assert!(matches!(hypervisor.find(NAME).map(|guest| guest.id()), Err(Error::NoSuchDomain(_))));
    assert!(matches!(gone.info(), Err(Error::NoSuchDomain(_))));
    assert!(matches!(gone.config(), Err(Error::NoSuchDomain(_))));
    assert!(matches!(gone.destroy(), Err(Error::NoSuchDomain(_))));
    // Its name is free, although the index still has it.
    let again = bench.guest(&hypervisor, NAME);
    assert_eq!(hypervisor.find(NAME).unwrap().id(), again.id());
    // The list forgets the record of the first, and keeps the second's name.
    hypervisor.list().unwrap();
    assert_eq!(hypervisor.find(NAME).unwrap().id(), again.id());
    assert_eq!(fs::read_dir(bench.state().join("guests")).unwrap().count(), 1);
    again.destroy().unwrap();
    before.assert_same(&bench.picture(), "both destroyed");
}

/// Domain ids start anew when the host does, and the state directory may have survived it.
#[test]
fn a_record_of_an_earlier_domain_with_the_same_id() {
    let bench = Bench::new();
    let hypervisor = bench.open();
    let guest = bench.guest(&hypervisor, NAME);
    let record = bench.state().join(format!("guests/{}.json", guest.id()));
    let old = fs::read_to_string(&record).unwrap();
    let name = guest.id();
    guest.destroy().unwrap();
    let next = bench.host.make_foreign_guest(Some("theirs"), [9; 16]).unwrap();
    assert_ne!(next, name);
    fs::write(bench.state().join(format!("guests/{next}.json")), old).unwrap();
    std::os::unix::fs::symlink(
        format!("guest:{next}:00000000-0000-4000-8000-000000000001"),
        bench.state().join("names/@web"),
    )
    .unwrap();
    let theirs = hypervisor.domain(next).unwrap();
    assert_eq!(theirs.config().unwrap(), None);
    assert!(hypervisor.find(NAME).is_err());
    let ours = bench.guest(&hypervisor, NAME);
    assert_eq!(hypervisor.find(NAME).unwrap().id(), ours.id());
    theirs.destroy().unwrap();
    assert_eq!(hypervisor.find(NAME).unwrap().id(), ours.id());
}

/// `list` reads the domains, then somebody makes a guest, then `list` looks for records of guests
/// that are gone.
#[test]
fn the_list_does_not_forget_a_guest_that_was_made_meanwhile() {
    let bench = Bench::new();
    let hypervisor = bench.open();
    let (host, folder) = (bench.host.clone(), bench.folder().to_owned());
    bench.host.clear_plan();
    bench.host.meanwhile(1, move || {
        let other = host.open(&common::state_dir(&folder)).unwrap();
        common::start(&other, &common::config(&folder, GuestType::Pv, NAME)).unwrap();
    });
    hypervisor.list().unwrap();
    let guest = hypervisor.find(NAME).unwrap();
    assert!(guest.config().unwrap().is_some(), "the record of a living guest was removed");
    bench.host.clear_plan();
    hypervisor.find(NAME).unwrap();
    assert_eq!(bench.host.calls(), 2, "the name of a living guest was removed from the index");
}

#[test]
fn a_uuid_belongs_to_one_guest() {
    let bench = Bench::new();
    let hypervisor = bench.open();
    let first = bench.guest(&hypervisor, NAME);
    let before = bench.picture();
    let mut config = bench.config(GuestType::Pv, "copy");
    config.uuid = first.config().unwrap().unwrap().uuid;
    let error = bench.start(&hypervisor, &config).map(|guest| guest.id()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InUse, "{error}");
    before.assert_same(&bench.picture(), "refused");
}

#[test]
fn a_configuration_that_was_made_in_memory_is_checked() {
    let bench = Bench::new();
    let hypervisor = bench.open();
    let good = bench.config(GuestType::Pv, NAME);
    let mut bad = vec![good.clone(), good.clone(), good.clone()];
    bad[0].memory = MiB::new(0);
    bad[1].cpu_weight = Some(0);
    bad[2].maxmem = Some(MiB::new(1));
    for config in bad {
        let error = bench.start(&hypervisor, &config).map(|guest| guest.id()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Input, "{error}");
    }
}

#[test]
fn pauses_do_not_add_up() {
    let bench = Bench::new();
    let hypervisor = bench.open();
    let guest = bench.guest(&hypervisor, NAME);
    let pauses = || bench.host.guest(guest.id()).unwrap().pauses;
    // Of one that runs: no failure, no effect.
    guest.unpause().unwrap();
    assert_eq!(pauses(), 0);
    for _ in 0..300 {
        guest.pause().unwrap();
    }
    assert_eq!(guest.info().unwrap().state, DomainState::Paused);
    guest.unpause().unwrap();
    assert_eq!(pauses(), 0);
    let dom0 = hypervisor.domain(id(0)).unwrap();
    for refused in [dom0.pause(), dom0.unpause(), dom0.rename("zero"), dom0.destroy()] {
        assert!(matches!(refused, Err(Error::WrongState(_))), "{refused:?}");
    }
}

#[test]
fn paused_from_the_start() {
    let bench = Bench::new();
    let hypervisor = bench.open();
    let mut config = bench.config(GuestType::Pvh, NAME);
    config.paused = true;
    let guest = bench.start(&hypervisor, &config).unwrap();
    assert_eq!(guest.info().unwrap().state, DomainState::Paused);
    guest.unpause().unwrap();
    assert!(bench.host.guest(guest.id()).unwrap().runs());
}

#[test]
fn shares_pins_and_limits() {
    let bench = Bench::new();
    let hypervisor = bench.open();
    let guest = bench.guest(&hypervisor, NAME);
    assert_eq!(guest.scheduler_params().unwrap(), SchedulerParams { weight: 512, cap: 50 });
    assert_eq!(guest.affinity(0).unwrap(), [0]);
    assert_eq!(guest.affinity(1).unwrap(), [1, 2]);
    guest.set_affinity(1, &[3]).unwrap();
    assert_eq!(guest.affinity(1).unwrap(), [3]);
    for (vcpu, cpus) in [(2, &[0][..]), (0, &[]), (0, &[4])] {
        assert_eq!(
            guest.set_affinity(vcpu, cpus).unwrap_err().kind(),
            ErrorKind::Input,
            "{vcpu} {cpus:?}"
        );
    }
    guest.set_max_memory(MiB::new(8)).unwrap();
    assert_eq!(guest.info().unwrap().max_memory.get(), 8 << 10);
    assert!(guest.set_max_memory(MiB::new(0)).is_err());
}

/// Whatever fails while a guest is destroyed: it can be destroyed again, and then nothing is left.
#[test]
fn destroying_fails() {
    let bench = Bench::new();
    let before = bench.picture();
    for n in 1.. {
        // A watch that could not be taken back goes with its connection.
        let hypervisor = bench.open();
        let guest = bench.guest(&hypervisor, NAME);
        let number = guest.id();
        bench.host.clear_plan();
        bench.host.fail_nth(n, libc::EIO);
        let destroyed = guest.destroy();
        let done = bench.host.calls() < n;
        assert_eq!(destroyed.is_ok(), done, "call {n}: {destroyed:?}");
        bench.host.clear_plan();
        if done {
            before.assert_same(&bench.picture(), "destroyed");
            break;
        }
        drop(hypervisor);
        bench.open().domain(number).unwrap().destroy().unwrap();
        before.assert_same(&bench.picture(), format_args!("call {n}, then again"));
    }
}

/// Any guest can be destroyed, with all that its toolstack left in the store, or with nothing there
/// but a home.
#[test]
fn destroying_a_guest_of_another_toolstack() {
    let bench = Bench::new();
    let hypervisor = bench.open();
    bench.host.write_node("/local/domain/0/backend/vif/99/0/state", "4");
    let before = bench.picture();
    for whole in [false, true] {
        let theirs = bench.host.make_foreign_guest(Some("theirs"), [7; 16]).unwrap();
        if whole {
            // A handle that is not the UUID, and two devices with backends in other domains.
            let vm = "/vm/11111111-2222-3333-4444-555555555555";
            bench.host.write_node(&format!("/local/domain/{theirs}/vm"), vm);
            bench.host.write_node(&format!("{vm}/name"), "theirs");
            for device in 0..2 {
                let backend = format!("/local/domain/0/backend/vif/{theirs}/{device}");
                bench.host.write_node(&format!("{backend}/state"), "4");
                bench
                    .host
                    .write_node(&format!("/libxl/{theirs}/device/vif/{device}/backend"), &backend);
            }
        }
        assert_eq!(hypervisor.domain(theirs).unwrap().config().unwrap(), None);
        hypervisor.find("theirs").unwrap().destroy().unwrap();
        before.assert_same(&bench.picture(), format_args!("destroyed, whole: {whole}"));
    }
}

/// A guest must not be able to lead whoever destroys it to other guests' nodes.
#[test]
fn a_guest_cannot_name_what_is_removed_with_it() {
    let bench = Bench::new();
    bench.host.set_frontends(Frontends::Absent);
    let hypervisor = bench.open();
    let victim = bench.guest(&hypervisor, "victim");
    let before = bench.picture();
    let guest = bench.guest(&hypervisor, NAME);
    let home = format!("/local/domain/{}", guest.id());
    // All nodes that the guest may write, and what it may make below them.
    for node in ["data/device/console/0/backend", "device/suspend/event-channel/backend", "attr/vm"]
    {
        bench.host.write_node(&format!("{home}/{node}"), &format!("/local/domain/{}", victim.id()));
    }
    guest.destroy().unwrap();
    before.assert_same(&bench.picture(), "destroyed");
}
