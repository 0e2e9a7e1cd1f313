//! What becomes of guests that have ended.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Bench, NAME, TYPES};
use h2::config::{GuestType, StopAction};
use h2::lifecycle::Outcome;
use h2::{Domain, ErrorKind, Hypervisor, ShutdownReason};

/// `SHUTDOWN_*` of xen/include/public/sched.h.
const POWER_OFF: u8 = 0;
const REBOOT: u8 = 1;
const SUSPEND: u8 = 2;
const CRASH: u8 = 3;
const WATCHDOG: u8 = 4;

fn guest(
    bench: &Bench,
    hypervisor: &Hypervisor,
    [on_poweroff, on_reboot, on_crash]: [StopAction; 3],
) -> Domain {
    let mut config = bench.config(GuestType::Pv, NAME);
    (config.on_poweroff, config.on_reboot, config.on_crash) = (on_poweroff, on_reboot, on_crash);
    bench.start(hypervisor, &config).unwrap()
}

/// A PVH guest without a table of interrupts meets its first exception as a triple fault.
#[test]
fn an_exception_that_nobody_handles_is_a_crash() {
    for bench in Bench::planes() {
        let hypervisor = bench.open();
        for guest_type in TYPES {
            let mut config = bench.config(guest_type, NAME);
            (config.on_reboot, config.on_crash) = (StopAction::Restart, StopAction::Preserve);
            let guest = bench.start(&hypervisor, &config).unwrap();
            bench.host.fault_guest(guest.id());
            let ended = hypervisor.ended().unwrap().remove(0);
            let found = (ended.reason(), ended.action());
            assert_eq!(found, (ShutdownReason::Crash, StopAction::Preserve), "{guest_type:?}");
            guest.destroy().unwrap();
        }
    }
}

#[test]
fn the_reason_chooses_the_action() {
    let bench = Bench::new();
    let hypervisor = bench.open();
    let before = bench.picture();
    let actions = [StopAction::Destroy, StopAction::Restart, StopAction::Preserve];
    for (code, reason, action) in [
        (POWER_OFF, ShutdownReason::PowerOff, StopAction::Destroy),
        (REBOOT, ShutdownReason::Reboot, StopAction::Restart),
        (CRASH, ShutdownReason::Crash, StopAction::Preserve),
        (WATCHDOG, ShutdownReason::Watchdog, StopAction::Preserve),
    ] {
        let guest = guest(&bench, &hypervisor, actions);
        let (old, uuid) = (guest.id(), guest.info().unwrap().handle);
        assert!(hypervisor.ended().unwrap().is_empty());
        bench.host.end_guest(old, code);
        let ended = hypervisor.ended().unwrap().remove(0);
        assert_eq!((ended.domain(), ended.uuid(), ended.name()), (old, uuid, NAME));
        assert_eq!((ended.reason(), ended.action()), (reason, action));
        match (ended.carry_out().unwrap(), action) {
            (Outcome::Destroyed, StopAction::Destroy) => {}
            (Outcome::Preserved, StopAction::Preserve) => {
                assert_eq!(guest.info().unwrap().shutdown_reason(), Some(reason));
                assert!(hypervisor.ended().unwrap().is_empty(), "it is listed again");
                guest.destroy().unwrap();
            }
            (Outcome::Restarted(new), StopAction::Restart) => {
                assert_ne!(new, old);
                let again = hypervisor.find(NAME).unwrap();
                assert_eq!((again.id(), again.info().unwrap().handle), (new, uuid));
                again.destroy().unwrap();
            }
            other => panic!("{other:?}"),
        }
        before.assert_same(&bench.picture(), format_args!("{reason}"));
    }
}

#[test]
fn a_suspended_guest_is_none_of_it() {
    let bench = Bench::new();
    let hypervisor = bench.open();
    let guest = bench.guest(&hypervisor, NAME);
    bench.host.end_guest(guest.id(), SUSPEND);
    assert!(hypervisor.ended().unwrap().is_empty());
}

#[test]
fn a_guest_in_other_hands_is_left_alone() {
    let bench = Bench::new();
    let hypervisor = bench.open();
    let guest = bench.guest(&hypervisor, NAME);
    let in_hand = guest.take_in_hand().unwrap();
    bench.host.end_guest(guest.id(), REBOOT);
    let daemon = bench.open();
    assert_eq!(daemon.ended().unwrap().remove(0).carry_out().unwrap(), Outcome::Busy);
    drop(in_hand);
    assert!(matches!(
        daemon.ended().unwrap().remove(0).carry_out().unwrap(),
        Outcome::Restarted(_)
    ));
}

/// xendevd saw its end, and `chaos shutdown --keep` was faster.
#[test]
fn a_guest_that_is_to_stay_after_all() {
    let bench = Bench::new();
    let hypervisor = bench.open();
    let guest = bench.guest(&hypervisor, NAME);
    bench.host.end_guest(guest.id(), POWER_OFF);
    let daemon = bench.open();
    let ended = daemon.ended().unwrap().remove(0);
    guest.preserve().unwrap();
    assert_eq!(ended.carry_out().unwrap(), Outcome::Preserved);
    assert_eq!(guest.info().unwrap().shutdown_reason(), Some(ShutdownReason::PowerOff));
}

#[test]
fn what_was_seen_and_is_over_is_not_acted_on() {
    let bench = Bench::new();
    let hypervisor = bench.open();
    let guest = bench.guest(&hypervisor, NAME);
    bench.host.end_guest(guest.id(), REBOOT);
    let daemon = bench.open();
    let ended = daemon.ended().unwrap().remove(0);
    guest.destroy().unwrap();
    assert_eq!(ended.carry_out().unwrap(), Outcome::Gone);
    assert!(daemon.find(NAME).is_err());
}

#[test]
fn a_guest_that_cannot_be_made_again_is_not_forgotten() {
    let bench = Bench::new();
    let hypervisor = bench.open();
    let before = bench.picture();
    let guest = bench.guest(&hypervisor, NAME);
    let uuid = guest.info().unwrap().handle;
    bench.host.end_guest(guest.id(), REBOOT);
    // Somebody takes its name as soon as it is free.
    let ended = hypervisor.ended().unwrap().remove(0);
    guest.rename("other").unwrap();
    let thief = bench.guest(&hypervisor, NAME);
    assert_eq!(ended.carry_out().unwrap_err().kind(), ErrorKind::InUse);
    assert_eq!(hypervisor.ended().unwrap().len(), 1);
    thief.destroy().unwrap();
    let ended = hypervisor.ended().unwrap().remove(0);
    assert_eq!((ended.uuid(), ended.reason()), (uuid, ShutdownReason::Reboot));
    assert!(matches!(ended.carry_out().unwrap(), Outcome::Restarted(_)));
    assert!(hypervisor.ended().unwrap().is_empty());
    hypervisor.find(NAME).unwrap().destroy().unwrap();
    before.assert_same(&bench.picture(), "a restart that worked at the second try");
}

#[test]
fn a_restart_can_be_cancelled() {
    let bench = Bench::new();
    let hypervisor = bench.open();
    let before = bench.picture();
    let guest = bench.guest(&hypervisor, NAME);
    bench.host.end_guest(guest.id(), REBOOT);
    let ended = hypervisor.ended().unwrap().remove(0);
    // The new domain cannot be made.
    guest.rename("other").unwrap();
    let thief = bench.guest(&hypervisor, NAME);
    ended.carry_out().unwrap_err();
    thief.destroy().unwrap();
    assert!(!hypervisor.cancel_restart("nobody").unwrap());
    assert!(hypervisor.cancel_restart(NAME).unwrap());
    assert!(!hypervisor.cancel_restart(NAME).unwrap());
    assert!(hypervisor.ended().unwrap().is_empty());
    before.assert_same(&bench.picture(), "a restart that was cancelled");
}

#[test]
fn a_missing_kernel_leaves_the_dead_guest_there() {
    let bench = Bench::new();
    let hypervisor = bench.open();
    let guest = bench.guest(&hypervisor, NAME);
    bench.host.end_guest(guest.id(), REBOOT);
    let kernel = bench.folder().join("kernel");
    let aside = bench.folder().join("aside");
    std::fs::rename(&kernel, &aside).unwrap();
    let error = hypervisor.ended().unwrap().remove(0).carry_out().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Input, "{error}");
    assert_eq!(guest.info().unwrap().shutdown_reason(), Some(ShutdownReason::Reboot));
    std::fs::rename(&aside, &kernel).unwrap();
    assert!(matches!(
        hypervisor.ended().unwrap().remove(0).carry_out().unwrap(),
        Outcome::Restarted(_)
    ));
}
