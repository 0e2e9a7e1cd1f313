//! Guests that are asked to end, and what they make of it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::Duration;

use common::{Bench, NAME, id};
use h2::{DomainState, Error, ErrorKind, ShutdownReason, ShutdownRequest};
use h2_fake::Reaction;

/// Never reached: in the fake nothing takes time.
const LONG: Duration = Duration::from_secs(60);
/// Waited for in full by tests of guests that do not end.
const SHORT: Duration = Duration::from_millis(20);

fn request_of(bench: &Bench, guest: &h2::Domain) -> Option<String> {
    bench.host.read_node(&format!("/local/domain/{}/control/shutdown", guest.id()))
}

#[test]
fn guests_that_end() {
    let bench = Bench::new();
    let hypervisor = bench.open();
    let watches = bench.host.snapshot().watches;
    let cases = [
        (ShutdownRequest::PowerOff, Reaction::Obey, ShutdownReason::PowerOff),
        (ShutdownRequest::Reboot, Reaction::Obey, ShutdownReason::Reboot),
        (ShutdownRequest::PowerOff, Reaction::EndAtOnce, ShutdownReason::PowerOff),
        (ShutdownRequest::PowerOff, Reaction::Crash, ShutdownReason::Crash),
        (ShutdownRequest::PowerOff, Reaction::Vanish, ShutdownReason::Destroyed),
    ];
    for (request, reaction, expected) in cases {
        let guest = bench.guest(&hypervisor, NAME);
        bench.host.set_reaction(guest.id(), reaction);
        assert_eq!(guest.shutdown(request, LONG).unwrap(), expected, "{request:?} {reaction:?}");
        if reaction != Reaction::Vanish {
            assert_eq!(guest.info().unwrap().state, DomainState::Shutdown(expected));
            // It has ended: there is nobody to ask any more, and nothing to wait for.
            assert!(matches!(guest.request(request), Err(Error::WrongState(_))));
            assert_eq!(guest.wait_for_shutdown(None).unwrap(), expected);
            guest.destroy().unwrap();
        }
        assert_eq!(bench.host.snapshot().watches, watches, "a watch was left");
    }
}

#[test]
fn a_guest_that_does_not_react() {
    let bench = Bench::new();
    let hypervisor = bench.open();
    let guest = bench.guest(&hypervisor, NAME);
    for timeout in [Duration::ZERO, SHORT] {
        let error = guest.shutdown(ShutdownRequest::PowerOff, timeout).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::GuestDidNotReact, "{error:?}");
        // The request is withdrawn, so that the guest does not end when nobody expects it any more.
        assert_eq!(request_of(&bench, &guest).as_deref(), Some(""));
        assert!(bench.host.snapshot().watches.is_empty());
    }
    // It wakes up later, and the next request reaches it.
    bench.host.set_reaction(guest.id(), Reaction::Obey);
    assert_eq!(guest.shutdown(ShutdownRequest::PowerOff, LONG).unwrap(), ShutdownReason::PowerOff);
}

#[test]
fn a_guest_that_takes_the_request_and_goes_on() {
    let bench = Bench::new();
    let hypervisor = bench.open();
    let guest = bench.guest(&hypervisor, NAME);
    bench.host.set_reaction(guest.id(), Reaction::Acknowledge);
    let error = guest.shutdown(ShutdownRequest::Reboot, SHORT).unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error:?}");
    assert!(bench.host.guest(guest.id()).unwrap().runs());
}

#[test]
fn guests_that_cannot_react() {
    let bench = Bench::new();
    let hypervisor = bench.open();
    let guest = bench.guest(&hypervisor, NAME);
    guest.pause().unwrap();
    assert!(matches!(guest.shutdown(ShutdownRequest::PowerOff, LONG), Err(Error::WrongState(_))));
    assert_eq!(request_of(&bench, &guest).as_deref(), Some(""), "a paused guest was asked");
    let dom0 = hypervisor.domain(id(0)).unwrap();
    assert!(matches!(dom0.shutdown(ShutdownRequest::PowerOff, LONG), Err(Error::WrongState(_))));
    bench.host.destroy_elsewhere(guest.id());
    let error = guest.shutdown(ShutdownRequest::PowerOff, LONG).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(bench.host.snapshot().watches.is_empty());
    assert_eq!(request_of(&bench, &guest), None, "a node was made for a guest that is gone");
}

/// Every bound is allowed, also one that no clock reaches.
#[test]
fn without_a_bound() {
    let bench = Bench::new();
    let hypervisor = bench.open();
    let guest = bench.guest(&hypervisor, NAME);
    bench.host.set_reaction(guest.id(), Reaction::Obey);
    assert_eq!(
        guest.shutdown(ShutdownRequest::PowerOff, Duration::MAX).unwrap(),
        ShutdownReason::PowerOff
    );
    assert_eq!(guest.wait_for_shutdown(Some(Duration::MAX)).unwrap(), ShutdownReason::PowerOff);
}

#[test]
fn waiting_for_others() {
    let bench = Bench::new();
    let hypervisor = bench.open();
    let guest = bench.guest(&hypervisor, NAME);
    let error = guest.wait_for_shutdown(Some(SHORT)).unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error:?}");
    let error = guest.wait_until_gone(Some(Duration::ZERO)).unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error:?}");

    // It ends, and is then destroyed, while we wait: right after we looked.
    let (host, number) = (bench.host.clone(), guest.id());
    bench.host.clear_plan();
    bench.host.meanwhile(2, move || host.end_guest(number, 1));
    assert_eq!(guest.wait_for_shutdown(None).unwrap(), ShutdownReason::Reboot);
    let host = bench.host.clone();
    bench.host.clear_plan();
    bench.host.meanwhile(2, move || host.destroy_elsewhere(number));
    guest.wait_until_gone(None).unwrap();
    assert!(bench.host.snapshot().watches.is_empty());
}

/// Whatever fails while a guest is asked, no watch stays.
#[test]
fn asking_fails() {
    let bench = Bench::new();
    let hypervisor = bench.open();
    for n in 1.. {
        let guest = bench.guest(&hypervisor, NAME);
        bench.host.set_reaction(guest.id(), Reaction::Obey);
        bench.host.clear_plan();
        bench.host.fail_nth(n, libc::EIO);
        let failed = guest.shutdown(ShutdownRequest::PowerOff, LONG).is_err();
        let log = bench.host.log();
        let done = bench.host.calls() < n;
        bench.host.clear_plan();
        let unwatch = log
            .get(usize::try_from(n).unwrap() - 1)
            .is_some_and(|call| call.operation == "unwatch");
        assert_eq!(failed, !done && !unwatch, "call {n}: {log:?}");
        // A watch that cannot be taken back is logged, and is harmless.
        assert!(unwatch || bench.host.snapshot().watches.is_empty(), "call {n}: {log:?}");
        if unwatch {
            bench.host.clear_plan();
            let (path, token) = bench.host.snapshot().watches.into_iter().next().unwrap();
            bench.host.drop_watch(&path, &token);
        }
        guest.destroy().unwrap();
        if done {
            break;
        }
    }
}
