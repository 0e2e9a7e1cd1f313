//! Guests without Xenstore, on hosts with and without xenstored.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::Duration;

use common::{Bench, NAME, TYPES, id};
use h2::config::{GuestType, Plane};
use h2::device::Detach;
use h2::{
    CreateError, DeviceClass, DeviceConfig, DeviceError, DeviceId, DeviceState, Error, ErrorKind,
    OpenError, Options, ShutdownReason, ShutdownRequest,
};
use h2_fake::{Backends, Frontends, Reaction};

/// Never reached: in the fake nothing takes time.
const LONG: Duration = Duration::from_secs(60);
/// Waited for in full by tests of what does not happen.
const SHORT: Duration = Duration::from_millis(20);

/// A host with both planes, whose guests have no Xenstore unless they say so.
fn both() -> Bench {
    let bench = Bench::noxs();
    bench.host.set_xenstored(true);
    bench
}

#[test]
fn a_guest_has_its_devices_in_its_page() {
    let bench = Bench::noxs();
    let hypervisor = bench.open();
    let guest = bench.guest(&hypervisor, NAME);
    assert_eq!(guest.plane().unwrap(), Plane::Noxs);
    let page: Vec<String> = bench
        .host
        .snapshot()
        .noxs()
        .map(|(name, _)| name.to_owned())
        .filter(|name| name.starts_with("slot"))
        .collect();
    let number = guest.id();
    assert_eq!(
        page,
        [
            format!("slot sysctl/{number}/0"),
            format!("slot vbd/{number}/51712"),
            format!("slot vif/{number}/0")
        ]
    );
    let dump = guest.noxs_dump().unwrap();
    let classes: Vec<&str> = dump.devices.iter().map(|device| device.class.as_str()).collect();
    assert_eq!(classes, ["sysctl", "vif", "vbd"], "sysctl comes first");
    let sysctl = dump.devices[0].backend.as_ref().unwrap();
    assert_eq!((sysctl.keys.get("name"), sysctl.keys.get("target")), (Some(NAME), Some("16384")));
    let disk = &dump.devices[2];
    assert_eq!(disk.backend.as_ref().unwrap().keys.get("mode"), Some("w"));
    assert!(disk.private.as_ref().unwrap().get("params").is_some());
    assert!(
        disk.backend.as_ref().unwrap().keys.get("params").is_none(),
        "the guest sees a path of the host"
    );
}

#[test]
fn nothing_asks_xenstored() {
    for bench in [Bench::noxs(), both()] {
        let hypervisor = bench.open();
        bench.host.clear_plan();
        for guest_type in TYPES {
            let guest = bench.start(&hypervisor, &bench.config(guest_type, NAME)).unwrap();
            bench.host.set_reaction(guest.id(), Reaction::Obey);
            assert_eq!(guest.name().unwrap().as_deref(), Some(NAME));
            assert_eq!(hypervisor.find(NAME).unwrap().id(), guest.id());
            guest.devices().unwrap();
            assert_eq!(
                guest.shutdown(ShutdownRequest::PowerOff, LONG).unwrap(),
                ShutdownReason::PowerOff
            );
            guest.destroy().unwrap();
        }
        let log = bench.host.log();
        let store = ["read", "write", "mkdir", "remove", "directory", "watch", "introduce"];
        assert!(!log.iter().any(|call| store.contains(&call.operation)), "{log:?}");
        assert_eq!(hypervisor.counters().xenstore_operations, 0);
        assert!(hypervisor.counters().noxs_operations > 0);
    }
}

#[test]
fn a_host_without_xenstored_has_its_lists() {
    let bench = Bench::noxs();
    let hypervisor = bench.open();
    let guest = bench.guest(&hypervisor, NAME);
    let foreign = bench.host.make_foreign_guest(Some("other"), [7; 16]).unwrap();
    let list = hypervisor.list().unwrap();
    let names: Vec<Option<&str>> = list.iter().map(|guest| guest.name.as_deref()).collect();
    assert_eq!(names, [Some("Domain-0"), Some(NAME), None]);
    assert_eq!(hypervisor.find(NAME).unwrap().id(), guest.id());
    guest.rename("renamed").unwrap();
    assert!(hypervisor.find(NAME).is_err());
    assert_eq!(hypervisor.find("renamed").unwrap().name().unwrap().as_deref(), Some("renamed"));
    assert!(matches!(hypervisor.find("nobody"), Err(Error::NoSuchDomain(_))));
    assert_eq!(hypervisor.find(&foreign.to_string()).unwrap().name().unwrap(), None);
    // A guest that wants Xenstore does not get it.
    let mut config = bench.config(GuestType::Pv, "third");
    config.plane = Some(Plane::Xenstore);
    let error = bench.start(&hypervisor, &config).map(|guest| guest.id()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoDaemon, "{error}");
}

#[test]
fn the_hosts_own_plane() {
    let plane = |bench: &Bench| {
        let mut config = bench.config(GuestType::Pv, NAME);
        config.plane = None;
        bench.start(&bench.open(), &config).unwrap().plane().unwrap()
    };
    assert_eq!(plane(&Bench::new()), Plane::Xenstore);
    assert_eq!(plane(&both()), Plane::Xenstore);
    assert_eq!(plane(&Bench::noxs()), Plane::Noxs);
}

#[test]
fn hosts_without_noxs_are_named() {
    for (kernel, hypervisor, word) in [
        (false, true, "/dev/xen/noxs_backend"),
        (true, false, "hypervisor"),
        (false, false, "/dev/xen/noxs_backend"),
    ] {
        let bench = both();
        let before = bench.picture();
        bench.host.set_noxs(kernel, hypervisor);
        let error = bench
            .start(&bench.open(), &bench.config(GuestType::Pv, NAME))
            .map(|guest| guest.id())
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoXen, "{error}");
        assert!(error.to_string().contains(word), "{error}");
        assert!(matches!(
            error,
            CreateError::Open(OpenError::NoNoxsKernel | OpenError::NoNoxsHypervisor { .. })
        ));
        before.assert_same(&bench.picture(), word);
    }
}

#[test]
fn devices_come_and_go() {
    let bench = Bench::noxs();
    let hypervisor = bench.open();
    let guest = bench.guest(&hypervisor, NAME);
    let before = bench.host.snapshot();
    let vif = DeviceConfig::Vif(h2::config::Vif::default());
    let attached = guest.attach(&vif).unwrap();
    assert_eq!(attached, DeviceId::vif(1));
    guest.wait_until_connected(attached, LONG).unwrap();
    let devices = guest.devices().unwrap();
    assert_eq!(
        devices.iter().map(h2::DeviceInfo::id).collect::<Vec<_>>(),
        [DeviceId::vif(0), DeviceId::vif(1), DeviceId { class: DeviceClass::Vbd, number: 51712 }]
    );
    assert_eq!(devices[1].backend_state, Some(DeviceState::Connected));
    assert_eq!(devices[1].hotplug_status.as_deref(), Some("connected"));
    assert_eq!(devices[2].access.as_deref(), Some("w"));
    assert_eq!(guest.config().unwrap().unwrap().vifs.len(), 2);

    // The same address twice.
    let mut again = h2::config::Vif::default();
    again.mac = devices[1].mac.as_ref().map(|mac| mac.parse().unwrap());
    let error = guest.attach(&DeviceConfig::Vif(again)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Input, "{error}");

    bench.host.set_frontends(Frontends::NeverClose);
    let error = guest.detach(attached, Detach::Ask(SHORT)).unwrap_err();
    assert!(matches!(error, Error::Device(DeviceError::NotReleased { .. })), "{error}");
    bench.host.set_frontends(Frontends::Connect);
    guest.detach(attached, Detach::Ask(LONG)).unwrap();
    assert!(matches!(
        guest.detach(attached, Detach::Force),
        Err(Error::Device(DeviceError::Missing { .. }))
    ));
    assert_eq!(guest.config().unwrap().unwrap().vifs.len(), 1);
    let connected =
        |name: &str| bench.host.snapshot().noxs().any(|(device, _)| device.contains(name));
    assert!(!connected(&format!("vif/{}/1", guest.id())));
    let names = |snapshot: &h2_fake::Snapshot| {
        snapshot.noxs().map(|(name, _)| name.to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&before), names(&bench.host.snapshot()));

    let disk = DeviceId { class: DeviceClass::Vbd, number: 51712 };
    guest.detach(disk, Detach::Force).unwrap();
    assert!(matches!(guest.device(disk), Err(Error::Device(DeviceError::Missing { .. }))));
}

/// A destroy that is not answered in time leaves a device that closes: the kernel does not take it
/// back, and neither does h2. It is the guest's until it is gone, and can be detached again.
#[test]
fn a_guest_that_does_not_let_go() {
    let bench = Bench::noxs();
    let hypervisor = bench.open();
    let guest = bench.guest(&hypervisor, NAME);
    let vif = DeviceId::vif(0);
    guest.wait_until_connected(vif, LONG).unwrap();
    let online = || {
        let dump = guest.noxs_dump().unwrap();
        let vif = dump.devices.iter().find(|device| device.class == "vif").unwrap();
        vif.private.as_ref().unwrap().get("online").map(str::to_owned)
    };
    let states = || {
        let vif = guest.device(vif).unwrap();
        (vif.backend_state.unwrap(), vif.frontend_state.unwrap())
    };
    assert_eq!(online().as_deref(), Some("1"));

    bench.host.set_frontends(Frontends::NeverClose);
    for _ in 0..2 {
        let error = guest.detach(vif, Detach::Ask(SHORT)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::GuestDidNotReact, "{error}");
        assert_eq!(states(), (DeviceState::Closing, DeviceState::Connected));
        assert_eq!(online().as_deref(), Some("0"));
        assert_eq!(guest.config().unwrap().unwrap().vifs.len(), 1, "it is the guest's");
    }
    // It is not what anybody can wait for any more.
    assert!(guest.wait_until_connected(vif, SHORT).is_err());
    // Other devices come and go meanwhile, and do not get its number.
    assert_eq!(
        guest.attach(&DeviceConfig::Vif(h2::config::Vif::default())).unwrap(),
        DeviceId::vif(1)
    );
    guest.detach(DeviceId::vif(1), Detach::Force).unwrap();

    // It lets go later, unasked; the next detach finds it closed and does not wait.
    bench.host.set_frontends(Frontends::Connect);
    assert!(guest.wait_until_connected(vif, SHORT).is_err());
    assert_eq!(states(), (DeviceState::Closed, DeviceState::Closed));
    guest.pause().unwrap();
    guest.detach(vif, Detach::Ask(SHORT)).unwrap();
    assert_eq!(guest.config().unwrap().unwrap().vifs.len(), 0);
    assert!(matches!(guest.device(vif), Err(Error::Device(DeviceError::Missing { .. }))));
}

#[test]
fn backends_that_fail() {
    let cases = [
        (Backends::Refuse("no bridge".to_owned()), ErrorKind::Failed, "no bridge"),
        (Backends::Close, ErrorKind::Failed, "no such thing"),
        (Backends::NoAgent, ErrorKind::NoDaemon, "xendevd"),
        (Backends::Silent, ErrorKind::NoDaemon, "xen-"),
    ];
    for (backends, kind, words) in cases {
        let bench = Bench::noxs();
        let guest = bench.guest(&bench.open(), "present");
        let before = bench.picture();
        bench.host.set_backends(backends);
        let options = Options::default().state_dir(bench.state()).device_limit(SHORT);
        let hypervisor = bench.host.open_with(&options).unwrap();
        let error = bench
            .start(&hypervisor, &bench.config(GuestType::Pv, NAME))
            .map(|guest| guest.id())
            .unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(words), "{error}");
        let present = hypervisor.domain(guest.id()).unwrap();
        let error = present.attach(&DeviceConfig::Vif(h2::config::Vif::default())).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        before.assert_same(&bench.picture(), words);
    }
}

#[test]
fn guests_that_are_asked_to_end() {
    let bench = Bench::noxs();
    let hypervisor = bench.open();
    let cases = [
        (ShutdownRequest::PowerOff, Reaction::Obey, ShutdownReason::PowerOff),
        (ShutdownRequest::Reboot, Reaction::Obey, ShutdownReason::Reboot),
        (ShutdownRequest::PowerOff, Reaction::Crash, ShutdownReason::Crash),
        (ShutdownRequest::PowerOff, Reaction::Vanish, ShutdownReason::Destroyed),
    ];
    for (request, reaction, expected) in cases {
        let guest = bench.guest(&hypervisor, NAME);
        bench.host.set_reaction(guest.id(), reaction);
        assert_eq!(guest.shutdown(request, LONG).unwrap(), expected, "{request:?} {reaction:?}");
        if reaction != Reaction::Vanish {
            guest.destroy().unwrap();
        }
    }
    // Somebody else has destroyed the last one, and knew nothing of its devices.
    hypervisor.list().unwrap();
    assert_eq!(bench.host.snapshot().noxs().count(), 0);
}

#[test]
fn guests_that_do_not_end() {
    let bench = Bench::noxs();
    let hypervisor = bench.open();
    let guest = bench.guest(&hypervisor, NAME);
    let request = || {
        let dump = guest.noxs_dump().unwrap();
        dump.devices[0].backend.as_ref().unwrap().keys.get("shutdown-request").map(str::to_owned)
    };
    for _ in 0..2 {
        let error = guest.shutdown(ShutdownRequest::PowerOff, SHORT).unwrap_err();
        assert!(matches!(error, Error::GuestDidNotReact { .. }), "{error}");
        assert_eq!(request(), None, "the request stands");
    }
    bench.host.set_reaction(guest.id(), Reaction::Refuse);
    let error = guest.shutdown(ShutdownRequest::PowerOff, LONG).unwrap_err();
    assert!(matches!(error, Error::GuestRefused { .. }), "{error}");
    bench.host.set_reaction(guest.id(), Reaction::Acknowledge);
    let error = guest.shutdown(ShutdownRequest::PowerOff, SHORT).unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    assert_eq!(request().as_deref(), Some("2"), "one that was taken stays");
}

#[test]
fn what_an_earlier_domain_left_goes() {
    let bench = Bench::noxs();
    let hypervisor = bench.open();
    let guest = bench.guest(&hypervisor, NAME);
    // Its domain goes, by another tool; the ids come around.
    let mut number = guest.id().get();
    bench.host.destroy_elsewhere(guest.id());
    assert!(bench.host.snapshot().noxs().count() > 0);
    bench.host.set_next_id(guest.id());
    let again = bench.guest(&hypervisor, "again");
    assert_eq!(again.id().get(), number);
    again.destroy().unwrap();
    assert_eq!(bench.host.snapshot().noxs().count(), 0);

    // A guest whose record is lost is known by its devices.
    let lost = bench.guest(&hypervisor, "lost");
    number = lost.id().get();
    std::fs::remove_file(bench.state().join(format!("guests/{number}.json"))).unwrap();
    lost.destroy().unwrap();
    assert_eq!(bench.host.snapshot().noxs().count(), 0);
}

#[test]
fn uuids_and_names_are_nobody_elses() {
    let bench = both();
    let hypervisor = bench.open();
    let guest = bench.guest(&hypervisor, NAME);
    let mut config = bench.config(GuestType::Pv, "second");
    config.uuid = Some(guest.info().unwrap().handle);
    let error = bench.start(&hypervisor, &config).map(|guest| guest.id()).unwrap_err();
    assert!(matches!(&error, CreateError::UuidInUse { name, .. } if name == NAME), "{error}");

    // Guests of both planes share the names.
    for (first, second) in [(Plane::Noxs, Plane::Xenstore), (Plane::Xenstore, Plane::Noxs)] {
        let with = |plane| {
            let mut config = bench.config(GuestType::Pv, "shared");
            config.plane = Some(plane);
            bench.start(&hypervisor, &config)
        };
        let guest = with(first).unwrap();
        assert!(matches!(with(second).map(|guest| guest.id()), Err(CreateError::NameInUse { .. })));
        guest.destroy().unwrap();
    }
}

#[test]
fn a_guest_keeps_its_plane_over_restarts() {
    let bench = both();
    let hypervisor = bench.open();
    let mut config = bench.config(GuestType::Pvh, NAME);
    config.on_reboot = h2::config::StopAction::Restart;
    let guest = bench.start(&hypervisor, &config).unwrap();
    bench.host.end_guest(guest.id(), 1);
    let ended = hypervisor.ended().unwrap().remove(0);
    ended.carry_out().unwrap();
    assert_eq!(hypervisor.find(NAME).unwrap().plane().unwrap(), Plane::Noxs);
}

/// The 100th guest costs what the first one does.
#[test]
fn a_create_does_not_grow_with_the_number_of_guests() {
    let bench = Bench::noxs();
    let hypervisor = bench.open();
    for guest_type in TYPES {
        let cost = |number: u32| {
            bench.host.clear_plan();
            bench
                .start(&hypervisor, &bench.config(guest_type, &format!("{guest_type:?}-{number}")))
                .unwrap();
            bench.host.calls()
        };
        // Whether the hypervisor has NoXS is asked once.
        cost(100);
        let first = cost(0);
        println!("{guest_type:?}: {first} calls");
        for number in 1..100 {
            assert_eq!(cost(number), first, "{guest_type:?} guest {number}");
        }
    }
    assert!(hypervisor.domain(id(1)).is_err());
}
