//! What the kernel's node tells, and who waits for it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::os::fd::AsFd;
use std::time::Duration;

use common::{Bench, NAME};
use h2::config::Vif;
use h2::noxs_backend::{Backend, Class, Name};
use h2::{DeviceConfig, DeviceId, DeviceState, DomId, Domain, ShutdownReason, ShutdownRequest};
use h2_fake::{Frontends, NoxsEvents, Reaction};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Never reached unless a waiter does not hear of what it waits for.
const LONG: Duration = Duration::from_secs(20);
/// Waited for in full where nothing is told.
const SHORT: Duration = Duration::from_millis(30);

fn node(bench: &Bench) -> Backend {
    Backend::over(bench.host.node().unwrap())
}

fn vif(guest: &Domain) -> Name {
    Name::new(guest.id(), Class::VIF, 0)
}

fn readable(backend: &Backend) -> bool {
    poll(&mut [PollFd::new(backend.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO).unwrap() > 0
}

#[test]
fn each_file_has_its_own_events() {
    let bench = Bench::noxs();
    let hypervisor = bench.open();
    let guest = bench.guest(&hypervisor, NAME);
    let [all, domain, device, other, none] = [(); 5].map(|()| node(&bench));
    all.watch_all().unwrap();
    domain.watch_domain(guest.id()).unwrap();
    device.watch_device(vif(&guest)).unwrap();
    other.watch_domain(DomId::new(99).unwrap()).unwrap();
    let missing = device.watch_device(Name::new(guest.id(), Class::VIF, 9)).unwrap_err();
    assert!(missing.is(libc::ENOENT), "{missing}");
    // A watch does not fire by itself.
    assert!(![&all, &domain, &device, &other].into_iter().any(readable));

    // Two changes before anybody reads are one event.
    for value in ["1", "2"] {
        none.set_keys(vif(&guest), true, &[("x", value)]).unwrap();
    }
    for waiter in [&all, &domain, &device] {
        assert!(readable(waiter) && waiter.wait(LONG).unwrap());
        let events = waiter.events().unwrap();
        assert_eq!(events.len(), 1, "{events:?}");
        let event = events[0];
        assert!(event.name == vif(&guest) && event.backend && !event.frontend && !event.gone);
        assert!(!readable(waiter) && waiter.events().unwrap().is_empty());
    }
    assert!(!readable(&other) && !readable(&none));

    // Keys that are not there are not removed, and nothing is told; what goes is told as gone.
    none.remove_keys(vif(&guest), true, &["nothing"]).unwrap();
    assert!(!readable(&all));
    none.destroy(vif(&guest), Duration::ZERO, true).unwrap();
    assert!([&all, &domain, &device].into_iter().all(|file| file.events().unwrap()[0].gone));
}

#[test]
fn ends_of_domains_are_told_to_who_asked() {
    let bench = Bench::noxs();
    let hypervisor = bench.open();
    let guest = bench.guest(&hypervisor, NAME);
    let [ends, all] = [(); 2].map(|()| node(&bench));
    assert!(ends.watch_ends().unwrap());
    all.watch_all().unwrap();
    bench.host.end_guest(guest.id(), 0);
    assert!(!readable(&all));
    let news = ends.news().unwrap();
    assert!(news.domain_ended && news.devices.is_empty());
    bench.host.destroy_elsewhere(guest.id());
    assert!(ends.news().unwrap().domain_ended);
}

/// What one waiter has read the other one still gets.
#[test]
fn two_wait_for_the_same_device() {
    let bench = Bench::noxs();
    let hypervisor = bench.open();
    bench.host.set_frontends(Frontends::Absent);
    let guest = bench.guest(&hypervisor, NAME);
    let other = node(&bench);
    other.watch_domain(guest.id()).unwrap();
    bench.host.set_frontends(Frontends::Connect);
    guest.wait_until_connected(DeviceId::vif(0), LONG).unwrap();
    let events = other.events().unwrap();
    let event = events.iter().find(|event| event.name == vif(&guest)).unwrap();
    assert!(event.frontend && event.backend_state == DeviceState::Connected);
}

/// The device gets ready between the look at it and the watch: nothing tells it any more.
#[test]
fn what_came_before_the_watch_is_not_waited_for() {
    let bench = Bench::noxs();
    let hypervisor = bench.open();
    bench.host.set_frontends(Frontends::Absent);
    let guest = bench.guest(&hypervisor, NAME);
    bench.host.set_frontends(Frontends::Connect);
    bench.host.clear_plan();
    assert!(guest.wait_until_connected(DeviceId::vif(0), SHORT).is_ok());
    let opened = bench.host.log().iter().position(|call| call.operation == "noxs_open").unwrap();

    bench.host.set_frontends(Frontends::Absent);
    let again = bench.guest(&hypervisor, "again");
    bench.host.set_frontends(Frontends::Connect);
    bench.host.clear_plan();
    let host = bench.host.clone();
    bench.host.meanwhile(u64::try_from(opened).unwrap() + 1, move || {
        // Another waiter lets the guest run.
        let other = Backend::over(host.node().unwrap());
        other.watch_all().unwrap();
        while other.wait(Duration::from_micros(1)).unwrap() {
            other.news().unwrap();
        }
    });
    let timeouts = bench.host.noxs_timeouts();
    again.wait_until_connected(DeviceId::vif(0), SHORT).unwrap();
    assert_eq!(bench.host.noxs_timeouts(), timeouts);
}

#[test]
fn late_events_are_waited_for() {
    let bench = Bench::noxs();
    let hypervisor = bench.open();
    bench.host.set_noxs_events(NoxsEvents::Late);
    let guest = bench.guest(&hypervisor, NAME);
    let device = guest.attach(&DeviceConfig::Vif(Vif::default())).unwrap();
    guest.wait_until_connected(device, SHORT).unwrap();
    assert_eq!(bench.host.noxs_timeouts(), 0, "a wait was not ended by its event");
    bench.host.set_reaction(guest.id(), Reaction::Obey);
    let ended = guest.shutdown(ShutdownRequest::PowerOff, LONG).unwrap();
    assert_eq!(ended, ShutdownReason::PowerOff);
    guest.destroy().unwrap();
}

/// Whoever waits looks once more when its time is over, so a kernel that tells nothing costs time
/// and no guest.
#[test]
fn lost_events_cost_time_alone() {
    let bench = Bench::noxs();
    bench.host.set_noxs_events(NoxsEvents::Lost);
    let options = h2::Options::default().state_dir(bench.state()).device_limit(SHORT);
    let hypervisor = bench.host.open_with(&options).unwrap();
    let guest = bench.guest(&hypervisor, NAME);
    let device = guest.attach(&DeviceConfig::Vif(Vif::default())).unwrap();
    guest.wait_until_connected(device, SHORT).unwrap();
    bench.host.set_reaction(guest.id(), Reaction::Obey);
    let ended = guest.shutdown(ShutdownRequest::PowerOff, LONG).unwrap();
    assert_eq!(ended, ShutdownReason::PowerOff);
    guest.destroy().unwrap();
    assert!(bench.host.noxs_timeouts() > 0);
    assert_eq!(bench.host.snapshot().noxs().count(), 0);
}
