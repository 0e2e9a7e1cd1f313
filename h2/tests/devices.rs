//! Devices of guests: made with them, attached, detached, refused, and gone with them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs;
use std::time::{Duration, Instant};

use common::{Bench, NAME};
use h2::config::{Access, DiskType, GuestType, Vbd, Vif};
use h2::device::Detach;
use h2::{
    CreateError, DeviceClass, DeviceConfig, DeviceError, DeviceId, DeviceInfo, DeviceState, Domain,
    Error, ErrorKind, Hypervisor, Options,
};
use h2_fake::{Backends, Fault, Frontends, When};

const PATIENCE: Detach = Detach::Ask(Duration::from_millis(30));

/// A hypervisor that does not wait long for backends.
fn hasty(bench: &Bench) -> Hypervisor {
    let options =
        Options::default().state_dir(bench.state()).device_limit(Duration::from_millis(30));
    bench.host.open_with(&options).unwrap()
}

fn disk(bench: &Bench, vdev: &str) -> DeviceConfig {
    let target = bench.folder().join("disk");
    DeviceConfig::Vbd(Vbd::new(target, DiskType::File, vdev.parse().unwrap(), Access::Write))
}

fn interface(mac: &str) -> DeviceConfig {
    let mut vif = Vif::default();
    vif.mac = Some(mac.parse().unwrap());
    DeviceConfig::Vif(vif)
}

/// A guest without devices.
fn bare(bench: &Bench, hypervisor: &Hypervisor) -> Domain {
    let mut config = bench.config(GuestType::Pv, NAME);
    (config.vifs, config.vbds) = (Vec::new(), Vec::new());
    bench.start(hypervisor, &config).unwrap()
}

fn named(guest: &Domain) -> Vec<String> {
    guest.devices().unwrap().iter().map(|device| device.id().to_string()).collect()
}

/// The devices that the guest would have after a reboot: (MAC addresses, disks).
fn recorded(guest: &Domain) -> (Vec<String>, Vec<String>) {
    let config = guest.config().unwrap().unwrap();
    let macs = config.vifs.iter().map(|vif| vif.mac.unwrap().to_string()).collect();
    (macs, config.vbds.iter().map(|vbd| vbd.vdev.to_string()).collect())
}

fn device_error(error: Error) -> DeviceError {
    match error {
        Error::Device(error) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_guest_starts_with_its_devices_ready() {
    let bench = Bench::new();
    let before = bench.picture();
    let hypervisor = bench.open();
    let guest = bench.guest(&hypervisor, NAME);
    let devices = guest.devices().unwrap();
    let [vif, vbd] = devices.as_slice() else { panic!("{devices:?}") };
    let DeviceInfo { class, number, name, backend_state, hotplug_status, mac, ip, .. } =
        vif.clone();
    assert_eq!((class, number, name), (DeviceClass::Vif, 0, Some(format!("vif{}.0", guest.id()))));
    assert_eq!(
        (backend_state, hotplug_status.as_deref()),
        (Some(DeviceState::InitWait), Some("connected"))
    );
    assert_eq!((mac, ip.as_deref()), (Some(recorded(&guest).0.remove(0)), Some("10.77.0.9")));
    assert_eq!(
        (vbd.class, vbd.number, vbd.name.as_deref()),
        (DeviceClass::Vbd, 51712, Some("xvda"))
    );
    assert_eq!(
        (vbd.target.as_deref(), vbd.access.as_deref()),
        (bench.folder().join("disk").to_str(), Some("w"))
    );
    for device in &devices {
        guest.wait_until_connected(device.id(), Duration::from_secs(5)).unwrap();
        assert_eq!(guest.device(device.id()).unwrap().frontend_state, Some(DeviceState::Connected));
    }
    guest.destroy().unwrap();
    before.assert_same(&bench.picture(), "destroyed");
}

/// Which device of which guest, and the agent's own words.
#[test]
fn the_hotplug_agent_refuses() {
    let bench = Bench::new();
    let before = bench.picture();
    let hypervisor = bench.open();
    bench.host.set_backends(Backends::Refuse("/srv/a.img is in use by domain 7".to_owned()));
    let error = bench
        .start(&hypervisor, &bench.config(GuestType::Pv, NAME))
        .map(|guest| guest.id())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Failed);
    let text = error.to_string();
    assert!(
        text.starts_with("vif 0 of domain ") && text.ends_with("/srv/a.img is in use by domain 7"),
        "{text}"
    );
    bench.host.set_backends(Backends::Ready);
    before.assert_same(&bench.picture(), "refused");
}

#[test]
fn a_backend_closes() {
    let bench = Bench::new();
    let before = bench.picture();
    bench.host.set_backends(Backends::Close);
    let error = bench
        .start(&bench.open(), &bench.config(GuestType::Pv, NAME))
        .map(|guest| guest.id())
        .unwrap_err();
    assert!(matches!(error, CreateError::Device(DeviceError::Closed { .. })), "{error:?}");
    bench.host.set_backends(Backends::Ready);
    before.assert_same(&bench.picture(), "closed");
}

/// Nobody answers: an error that says whom to look for, within the bound, and nothing stays.
#[test]
fn nobody_answers() {
    let bench = Bench::new();
    let before = bench.picture();
    for (backends, hint) in [
        (Backends::NoAgent, "systemctl status xendevd"),
        (Backends::Silent, "modprobe xen-netback"),
    ] {
        bench.host.set_backends(backends.clone());
        let start = Instant::now();
        let error = bench
            .start(&hasty(&bench), &bench.config(GuestType::Pv, NAME))
            .map(|guest| guest.id())
            .unwrap_err();
        // Two seconds for backends that do not close, either; the rest is for a busy machine.
        assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
        assert_eq!(error.kind(), ErrorKind::NoDaemon);
        assert!(error.to_string().contains(hint), "{error}");
        bench.host.set_backends(Backends::Ready);
        before.assert_same(&bench.picture(), format_args!("{backends:?}"));
    }
}

/// A backend that never closes does not keep its guest.
#[test]
fn destroying_before_a_silent_backend() {
    let bench = Bench::new();
    let before = bench.picture();
    let guest = bench.guest(&bench.open(), NAME);
    bench.host.set_backends(Backends::Silent);
    let start = Instant::now();
    guest.destroy().unwrap();
    assert!((2..8).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    bench.host.set_backends(Backends::Ready);
    before.assert_same(&bench.picture(), "destroyed");
}

#[test]
fn attached_and_detached() {
    let bench = Bench::new();
    let hypervisor = bench.open();
    let guest = bare(&bench, &hypervisor);
    let before = bench.picture();
    let macs: Vec<String> = (1..=3).map(|number| format!("00:16:3e:00:00:0{number}")).collect();
    for (number, mac) in (0..).zip(&macs) {
        assert_eq!(guest.attach(&interface(mac)).unwrap(), DeviceId::vif(number));
    }
    let xvdb = guest.attach(&disk(&bench, "xvdb")).unwrap();
    assert_eq!(named(&guest), ["vif 0", "vif 1", "vif 2", "vbd xvdb"]);
    assert_eq!(recorded(&guest), (macs.clone(), vec!["xvdb".to_owned()]));

    // The number that becomes free is the next one to be used; the record is about addresses, not
    // numbers.
    guest.detach(DeviceId::vif(1), PATIENCE).unwrap();
    assert_eq!(recorded(&guest).0, [macs[0].clone(), macs[2].clone()]);
    let generated = DeviceConfig::Vif(Vif::default());
    assert_eq!(guest.attach(&generated).unwrap(), DeviceId::vif(1));
    let mac = guest.device(DeviceId::vif(1)).unwrap().mac.unwrap();
    assert_eq!(recorded(&guest).0, [macs[0].clone(), macs[2].clone(), mac]);

    for device in [DeviceId::vif(0), DeviceId::vif(1), DeviceId::vif(2), xvdb] {
        guest.detach(device, PATIENCE).unwrap();
    }
    assert_eq!(named(&guest), [""; 0]);
    before.assert_same(&bench.picture(), "all detached");
}

#[test]
fn what_cannot_be_attached() {
    let bench = Bench::new();
    let hypervisor = hasty(&bench);
    let guest = bare(&bench, &hypervisor);
    guest.attach(&disk(&bench, "xvda")).unwrap();
    guest.attach(&interface("00:16:3e:00:00:01")).unwrap();
    for device in guest.devices().unwrap() {
        guest.wait_until_connected(device.id(), Duration::from_secs(5)).unwrap();
    }
    let before = bench.picture();
    let refused = |device: &DeviceConfig, kind: ErrorKind, part: &str| {
        let error = guest.attach(device).unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(error.to_string().contains(part), "{error}");
        before.assert_same(&bench.picture(), error);
    };
    refused(&disk(&bench, "xvda"), ErrorKind::InUse, "already has vbd xvda");
    // The same disk under another name.
    refused(&disk(&bench, "d0p0"), ErrorKind::InUse, "xvda");
    refused(&interface("00:16:3e:00:00:01"), ErrorKind::Input, "vif 0");
    let mut bridged = Vif::default();
    bridged.bridge = Some("lightvm-none".parse().unwrap());
    refused(&DeviceConfig::Vif(bridged), ErrorKind::Input, "no bridge lightvm-none");
    let mut driven = Vif::default();
    driven.backend = common::id(77);
    refused(&DeviceConfig::Vif(driven), ErrorKind::Input, "domain 77");
    let missing = Vbd::new("/nonexistent", DiskType::File, "xvdb".parse().unwrap(), Access::Read);
    refused(&DeviceConfig::Vbd(missing), ErrorKind::Input, "/nonexistent");

    bench.host.set_backends(Backends::Refuse("no".to_owned()));
    refused(&disk(&bench, "xvdb"), ErrorKind::Failed, "vbd xvdb");
    bench.host.set_backends(Backends::NoAgent);
    refused(&disk(&bench, "xvdb"), ErrorKind::NoDaemon, "xendevd");
    bench.host.set_backends(Backends::Ready);

    bench.host.end_guest(guest.id(), 0);
    let error = guest.attach(&disk(&bench, "xvdc")).unwrap_err();
    assert!(matches!(error, Error::WrongState(_)), "{error:?}");
    assert!(matches!(
        device_error(guest.detach(DeviceId::vif(5), PATIENCE).unwrap_err()),
        DeviceError::Missing { .. }
    ));
}

/// What a create needs on the host is looked at before anything is made.
#[test]
fn what_a_guest_cannot_be_created_with() {
    let bench = Bench::new();
    let before = bench.picture();
    let hypervisor = bench.open();
    fs::remove_file(bench.folder().join("disk")).unwrap();
    bench.host.clear_plan();
    let config = bench.config(GuestType::Pv, NAME);
    let checked = hypervisor.check(&config).unwrap_err();
    let created = bench.start(&hypervisor, &config).map(|guest| guest.id()).unwrap_err();
    for error in [checked, created] {
        assert_eq!(error.kind(), ErrorKind::Input);
        assert!(error.to_string().starts_with("vbd xvda: "), "{error}");
    }
    assert!(bench.host.log().iter().all(|call| call.operation != "create_domain"));
    before.assert_same(&bench.picture(), "no disk");
}

#[test]
fn a_guest_that_does_not_let_go() {
    let bench = Bench::new();
    let hypervisor = bench.open();
    let guest = bare(&bench, &hypervisor);
    let before = bench.picture();
    bench.host.set_frontends(Frontends::NeverClose);
    let device = guest.attach(&disk(&bench, "xvda")).unwrap();
    guest.wait_until_connected(device, Duration::from_secs(5)).unwrap();
    let error = device_error(guest.detach(device, PATIENCE).unwrap_err());
    assert_eq!(error.kind(), ErrorKind::GuestDidNotReact);
    // It is still the guest's, also after a reboot.
    assert_eq!(
        (named(&guest), recorded(&guest).1),
        (vec!["vbd xvda".to_owned()], vec!["xvda".to_owned()])
    );
    guest.detach(device, Detach::Force).unwrap();
    before.assert_same(&bench.picture(), "forced");
}

/// A guest without a driver for its device cannot let go of it, and nobody waits for it.
#[test]
fn a_guest_that_never_took_its_device() {
    let bench = Bench::new();
    let hypervisor = bench.open();
    let guest = bare(&bench, &hypervisor);
    bench.host.set_frontends(Frontends::Absent);
    let before = bench.picture();
    let device = guest.attach(&DeviceConfig::Vif(Vif::default())).unwrap();
    let error = guest.wait_until_connected(device, Duration::from_millis(20)).unwrap_err();
    assert!(matches!(device_error(error), DeviceError::NotConnected { .. }));
    guest.detach(device, Detach::Ask(Duration::from_secs(1000))).unwrap();
    before.assert_same(&bench.picture(), "detached");
}

#[test]
fn devices_of_another_toolstacks_guest() {
    let bench = Bench::new();
    let hypervisor = bench.open();
    let theirs =
        hypervisor.domain(bench.host.make_foreign_guest(Some("theirs"), [7; 16]).unwrap()).unwrap();
    bench.host.write_node(&format!("/libxl/{}/type", theirs.id()), "pv");
    let before = bench.picture();
    let vif = theirs.attach(&DeviceConfig::Vif(Vif::default())).unwrap();
    let vbd = theirs.attach(&disk(&bench, "xvda")).unwrap();
    assert_eq!(named(&theirs), ["vif 0", "vbd xvda"]);
    theirs.wait_until_connected(vbd, Duration::from_secs(5)).unwrap();
    theirs.detach(vif, PATIENCE).unwrap();
    theirs.detach(vbd, PATIENCE).unwrap();
    // The first device of a guest makes folders that go with the guest.
    for folder in
        [format!("/libxl/{}/device", theirs.id()), format!("/local/domain/{}/device", theirs.id())]
    {
        assert_eq!(bench.host.read_node(&folder).as_deref(), Some(""), "{folder}");
        bench.host.store().remove(&folder).unwrap();
    }
    let now = bench.picture();
    before.assert_same(&now, "detached");
}

/// What a guest writes into its own end leads nowhere.
#[test]
fn a_guest_that_lies_about_its_devices() {
    let bench = Bench::new();
    let hypervisor = bench.open();
    let victim = bench.guest(&hypervisor, "victim");
    bench.host.set_frontends(Frontends::Absent);
    let before = bench.picture();
    let guest = bench.guest(&hypervisor, NAME);
    let home = format!("/local/domain/{}/device", guest.id());
    let lies = |node: &str, value: &str| {
        bench.host.guest_writes(guest.id(), &format!("{home}/{node}"), value).unwrap();
    };
    for (end, lie) in [("vif/0", "vif"), ("vbd/51712", "vbd")] {
        let number = end.rsplit('/').next().unwrap();
        let theirs = format!("/local/domain/0/backend/{lie}/{}/{number}", victim.id());
        lies(&format!("{end}/backend"), &theirs);
        lies(&format!("{end}/backend-id"), &victim.id().to_string());
        assert_eq!(bench.host.guest_writes(guest.id(), &theirs, ""), Err(libc::EACCES));
    }
    lies("vif/0/more/backend", &format!("/local/domain/{}", victim.id()));
    guest.detach(DeviceId::vif(0), Detach::Force).unwrap();
    guest.destroy().unwrap();
    before.assert_same(&bench.picture(), "destroyed");
}

/// Each call of an attach fails: the guest is as before. Each call of a detach fails: it can be
/// done again.
#[test]
fn each_call_of_an_attach_fails() {
    let bench = Bench::new();
    let hypervisor = bench.open();
    let guest = bare(&bench, &hypervisor);
    let before = bench.picture();
    'devices: for device in [interface("00:16:3e:00:00:01"), disk(&bench, "xvda")] {
        for n in 1.. {
            for when in [When::Before, When::After] {
                bench.host.clear_plan();
                bench.host.at(n, Fault::Fail(when, libc::EIO));
                let result = guest.attach(&device);
                let done = bench.host.calls() < n;
                bench.host.clear_plan();
                if done {
                    guest.detach(result.unwrap(), Detach::Force).unwrap();
                    before.assert_same(&bench.picture(), "attached and detached");
                    continue 'devices;
                }
                let error = result.expect_err(&format!("{when:?} call {n}"));
                before.assert_same(&bench.picture(), format_args!("{when:?} call {n}: {error}"));
            }
        }
    }
    for n in 1.. {
        let device = guest.attach(&disk(&bench, "xvda")).unwrap();
        // A watch that could not be taken back goes with its connection.
        let again = bench.open().domain(guest.id()).unwrap();
        bench.host.clear_plan();
        bench.host.fail_nth(n, libc::EIO);
        let result = again.detach(device, Detach::Force);
        drop(again);
        let done = bench.host.calls() < n;
        assert_eq!(result.is_ok(), done, "call {n}: {result:?}");
        bench.host.clear_plan();
        if !done {
            guest.detach(device, Detach::Force).unwrap();
        }
        before.assert_same(&bench.picture(), format_args!("call {n} of a detach"));
        if done {
            break;
        }
    }
}

#[test]
fn many_attached_and_detached() {
    let bench = Bench::new();
    let hypervisor = bench.open();
    let guest = bare(&bench, &hypervisor);
    let before = bench.picture();
    let cost = || {
        bench.host.clear_plan();
        let device = guest.attach(&DeviceConfig::Vif(Vif::default())).unwrap();
        assert_eq!(device, DeviceId::vif(0));
        guest.detach(device, PATIENCE).unwrap();
        bench.host.calls()
    };
    let first = cost();
    for number in 1..100 {
        assert_eq!(cost(), first, "attach {number}");
    }
    before.assert_same(&bench.picture(), "100 of them");
}
