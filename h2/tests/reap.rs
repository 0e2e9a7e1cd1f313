//! Processes that die at each of their calls, killed as they would be on a real host: no Drop runs,
//! the kernel lets their locks go. What they leave is found by the next process.
//!
//! The test program starts itself again for each of them: the child loads the fake host from a
//! file, and writes it there again in the moment of its death.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::env;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Command;

use common::{Bench, NAME, Picture, TYPES};
use h2::config::{GuestType, Plane};
use h2::lifecycle::Outcome;
use h2::{DomId, Hypervisor};
use h2_fake::{FakeHost, Fault, When};
use serde::{Deserialize, Serialize};

/// What a child is told.
const ORDER: &str = "H2_TEST_CHILD";

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum Deed {
    Create { pvh: bool },
    Reap,
    Destroy { domain: DomId },
    CarryOut,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Order {
    folder: PathBuf,
    deed: Deed,
    /// This call fails.
    fails: Option<u64>,
    /// The child dies at this call, before or after its effect.
    dies: u64,
    after: bool,
}

impl Order {
    fn new(bench: &Bench, deed: Deed, dies: u64, when: When) -> Self {
        Self {
            folder: bench.folder().to_owned(),
            deed,
            fails: None,
            dies,
            after: when == When::After,
        }
    }

    fn host_file(&self) -> PathBuf {
        self.folder.join("host")
    }

    /// Lets a child do it to the bench's host. What is left; the flag says whether the child died.
    fn run(&self, host: &FakeHost) -> (FakeHost, bool) {
        host.save(&self.host_file()).unwrap();
        let child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture"])
            .env(ORDER, serde_json::to_string(self).unwrap())
            .output()
            .unwrap();
        let died = child.status.signal() == Some(libc::SIGKILL);
        let said = String::from_utf8_lossy(&child.stdout).into_owned()
            + &String::from_utf8_lossy(&child.stderr);
        assert!(died || child.status.success(), "{self:?}: {:?}\n{said}", child.status);
        (FakeHost::load(&self.host_file()).unwrap(), died)
    }

    fn obey(&self) {
        let file = self.host_file();
        let host = FakeHost::load(&file).unwrap();
        let hypervisor = host.open(&common::state_dir(&self.folder)).unwrap();
        host.clear_plan();
        let when = if self.after { When::After } else { When::Before };
        host.at(self.dies, Fault::Die(when, file.clone()));
        if let Some(n) = self.fails {
            host.fail_nth(n, libc::EIO);
        }
        match self.deed {
            Deed::Create { pvh } => {
                let guest_type = if pvh { GuestType::Pvh } else { GuestType::Pv };
                let created =
                    common::start(&hypervisor, &common::config(&self.folder, guest_type, NAME));
                assert_eq!(created.is_err(), self.fails.is_some(), "{created:?}");
            }
            Deed::Reap => assert_eq!(hypervisor.reap().unwrap().len(), 1),
            Deed::CarryOut => {
                let ended = hypervisor.ended().unwrap().remove(0);
                assert!(matches!(ended.carry_out().unwrap(), Outcome::Restarted(_)));
            }
            Deed::Destroy { domain } => hypervisor.domain(domain).unwrap().destroy().unwrap(),
        }
        host.save(&file).unwrap();
    }
}

/// Not a test by itself: the other tests start this program again with an order, which this one
/// carries out.
#[test]
fn child() {
    if let Ok(order) = env::var(ORDER) {
        serde_json::from_str::<Order>(&order).unwrap().obey();
    }
}

fn picture(host: &FakeHost, bench: &Bench) -> Picture {
    Picture { host: host.snapshot(), files: bench.picture().files }
}

/// Looks after a dead process: after one reaping the host is as before, or a whole guest is there.
fn clean_up(host: &FakeHost, bench: &Bench, before: &Picture, context: &str) {
    let hypervisor = host.open(&bench.state()).unwrap();
    hypervisor.reap().unwrap_or_else(|error| panic!("{context}: {error}"));
    let finished = hypervisor.find(NAME).ok();
    if let Some(guest) = finished {
        assert_whole(&guest, host, context);
        guest.destroy().unwrap();
    }
    before.assert_same(&picture(host, bench), context);
    assert!(hypervisor.reap().unwrap().is_empty(), "{context}: reaped twice");
    // Nothing stands in the way of the next guest.
    let config = bench.config(GuestType::Pv, NAME);
    common::start(&hypervisor, &config)
        .unwrap_or_else(|error| panic!("{context}: {error}"))
        .destroy()
        .unwrap();
    before.assert_same(&picture(host, bench), format_args!("{context}, then again"));
}

fn assert_whole(guest: &h2::Domain, host: &FakeHost, context: &str) {
    let config =
        guest.config().unwrap().unwrap_or_else(|| panic!("{context}: the guest has no record"));
    let info = guest.info().unwrap();
    assert_eq!(config.uuid, Some(info.handle), "{context}");
    assert!(
        host.guest(guest.id()).is_some_and(|guest| guest.runs()),
        "{context}: the guest does not run"
    );
}

#[test]
fn builders_die() {
    builders_die_on(Bench::new);
}

#[test]
fn builders_die_without_xenstore() {
    builders_die_on(Bench::noxs);
}

fn builders_die_on(make: fn() -> Bench) {
    for guest_type in TYPES {
        for when in [When::Before, When::After] {
            let bench = make();
            let before = bench.picture();
            let mut whole = 0;
            for n in 1.. {
                let deed = Deed::Create { pvh: guest_type == GuestType::Pvh };
                let order = Order::new(&bench, deed, n, when);
                let (host, died) = order.run(&bench.host);
                let context =
                    format!("a builder of a {guest_type:?} guest that died {when:?} call {n}");
                whole += u32::from(
                    host.open(&bench.state())
                        .unwrap()
                        .find(NAME)
                        .is_ok_and(|guest| guest.config().unwrap().is_some() && finished(&guest)),
                );
                clean_up(&host, &bench, &before, &context);
                if !died {
                    assert!(n > 20, "only {n} calls");
                    break;
                }
            }
            // The one that did not die, and the one that died when there was nothing left to do.
            assert_eq!(whole, if when == When::After { 2 } else { 1 }, "{guest_type:?} {when:?}");
        }
    }
}

fn finished(guest: &h2::Domain) -> bool {
    guest.config().unwrap().and_then(|config| config.uuid) == Some(guest.info().unwrap().handle)
}

/// A builder whose call fails, and that dies while it undoes what it made.
#[test]
fn builders_die_while_undoing() {
    builders_die_while_undoing_on(Bench::new);
}

#[test]
fn builders_die_while_undoing_without_xenstore() {
    builders_die_while_undoing_on(Bench::noxs);
}

fn builders_die_while_undoing_on(make: fn() -> Bench) {
    for guest_type in TYPES {
        let bench = make();
        let before = bench.picture();
        let log = log(&bench, guest_type);
        let planes = match bench.plane() {
            Plane::Xenstore => ["set_permissions", "introduce"],
            Plane::Noxs => ["noxs_create", "noxs_add"],
        };
        for operation in ["set_vcpus", "populate", "boot", "set_handle"].into_iter().chain(planes) {
            let at = log.iter().rposition(|&call| call == operation).unwrap();
            let fails = u64::try_from(at).unwrap() + 1;
            for when in [When::Before, When::After] {
                for n in fails + 1.. {
                    let deed = Deed::Create { pvh: guest_type == GuestType::Pvh };
                    let order = Order { fails: Some(fails), ..Order::new(&bench, deed, n, when) };
                    let (host, died) = order.run(&bench.host);
                    let context = format!(
                        "a {guest_type:?} guest's {operation} failed, its builder died {when:?} \
                         call {n}"
                    );
                    clean_up(&host, &bench, &before, &context);
                    if !died {
                        break;
                    }
                }
            }
        }
    }
}

fn log(bench: &Bench, guest_type: GuestType) -> Vec<&'static str> {
    let hypervisor = bench.open();
    bench.host.clear_plan();
    let guest = bench.start(&hypervisor, &bench.config(guest_type, NAME)).unwrap();
    let log = bench.host.log().iter().map(|call| call.operation).collect();
    guest.destroy().unwrap();
    log
}

/// A builder dies just before its guest is finished, and then whoever cleans up dies, too.
#[test]
fn reapers_die() {
    reapers_die_on(Bench::new);
}

#[test]
fn reapers_die_without_xenstore() {
    reapers_die_on(Bench::noxs);
}

fn reapers_die_on(make: fn() -> Bench) {
    for guest_type in TYPES {
        for when in [When::Before, When::After] {
            let bench = make();
            let before = bench.picture();
            let calls = u64::try_from(log(&bench, guest_type).len()).unwrap();
            for n in 1.. {
                let deed = Deed::Create { pvh: guest_type == GuestType::Pvh };
                let (host, died) = Order::new(&bench, deed, calls, When::Before).run(&bench.host);
                assert!(died);
                let (host, died) = Order::new(&bench, Deed::Reap, n, when).run(&host);
                let context = format!(
                    "a {guest_type:?} guest's builder died, and its reaper {when:?} call {n}"
                );
                clean_up(&host, &bench, &before, &context);
                if !died {
                    assert!(n > 5, "only {n} calls");
                    break;
                }
            }
        }
    }
}

/// Whoever destroys a guest dies at it: the next one who destroys it, or looks at the list, brings
/// it to its end.
#[test]
fn destroyers_die() {
    destroyers_die_on(Bench::new);
}

#[test]
fn destroyers_die_without_xenstore() {
    destroyers_die_on(Bench::noxs);
}

fn destroyers_die_on(make: fn() -> Bench) {
    for when in [When::Before, When::After] {
        let bench = make();
        let before = bench.picture();
        for n in 1.. {
            let guest = bench.guest(&bench.open(), NAME);
            let order = Order::new(&bench, Deed::Destroy { domain: guest.id() }, n, when);
            let (host, died) = order.run(&bench.host);
            let context = format!("a destroyer that died {when:?} call {n}");
            let hypervisor = host.open(&bench.state()).unwrap();
            if let Ok(guest) = hypervisor.domain(guest.id()) {
                guest.destroy().unwrap_or_else(|error| panic!("{context}: {error}"));
            }
            hypervisor.list().unwrap();
            hypervisor.reap().unwrap();
            before.assert_same(&picture(&host, &bench), &context);
            // The bench's own host still has the guest.
            guest_is_gone(&bench, guest);
            if !died {
                break;
            }
        }
    }
}

/// Whoever starts a guest again dies at it: the next one goes on, and the guest lives, once.
#[test]
fn restarters_die() {
    restarters_die_on(Bench::new);
}

#[test]
fn restarters_die_without_xenstore() {
    restarters_die_on(Bench::noxs);
}

fn restarters_die_on(make: fn() -> Bench) {
    for when in [When::Before, When::After] {
        let bench = make();
        let before = bench.picture();
        for n in 1.. {
            let guest = bench.guest(&bench.open(), NAME);
            let uuid = guest.info().unwrap().handle;
            bench.host.end_guest(guest.id(), REBOOT);
            let (host, died) = Order::new(&bench, Deed::CarryOut, n, when).run(&bench.host);
            let context = format!("a guest's restarter that died {when:?} call {n}");
            let hypervisor = host.open(&bench.state()).unwrap();
            hypervisor.reap().unwrap_or_else(|error| panic!("{context}: {error}"));
            for ended in hypervisor.ended().unwrap() {
                let outcome =
                    ended.carry_out().unwrap_or_else(|error| panic!("{context}: {error}"));
                assert!(matches!(outcome, Outcome::Restarted(_)), "{context}: {outcome:?}");
            }
            let again = hypervisor.find(NAME).unwrap_or_else(|error| panic!("{context}: {error}"));
            assert_whole(&again, &host, &context);
            assert_eq!(again.info().unwrap().handle, uuid, "{context}");
            // It ends for good: no note of its restart brings it back.
            host.end_guest(again.id(), POWER_OFF);
            for ended in hypervisor.ended().unwrap() {
                assert_eq!(ended.carry_out().unwrap(), Outcome::Destroyed, "{context}");
            }
            assert!(hypervisor.ended().unwrap().is_empty(), "{context}");
            hypervisor.list().unwrap();
            before.assert_same(&picture(&host, &bench), &context);
            guest_is_gone(&bench, guest);
            if !died {
                assert!(n > 30, "only {n} calls");
                break;
            }
        }
    }
}

/// `SHUTDOWN_*` of xen/include/public/sched.h.
const POWER_OFF: u8 = 0;
const REBOOT: u8 = 1;

/// The bench's host has not seen what the child did.
fn guest_is_gone(bench: &Bench, guest: h2::Domain) {
    guest.destroy().unwrap();
    assert!(bench.open().find(NAME).is_err());
}

/// Reaping while a builder lives, and what two dead ones leave when one of them cannot be undone.
#[test]
fn live_builders_are_left_alone() {
    let bench = Bench::new();
    let hypervisor = bench.open();
    let shell = hypervisor.create(&bench.config(GuestType::Pv, NAME)).unwrap();
    let other: Hypervisor = bench.open();
    assert!(other.reap().unwrap().is_empty());
    let error =
        other.create(&bench.config(GuestType::Pv, NAME)).map(|shell| shell.id()).unwrap_err();
    assert_eq!(error.kind(), h2::ErrorKind::InUse, "{error}");
    let image = h2::BootImage::open(&bench.config(GuestType::Pv, NAME)).unwrap();
    let guest = shell.boot(&image).unwrap();
    assert!(bench.host.guest(guest.id()).unwrap().runs());
    assert!(other.reap().unwrap().is_empty());
}

#[test]
fn one_that_cannot_be_undone_does_not_hide_the_others() {
    let bench = Bench::new();
    let before = bench.picture();
    // A child dies at populate; another with another bench's name would take the same name, which
    // is free by now.
    let at = u64::try_from(
        log(&bench, GuestType::Pv).iter().position(|&call| call == "populate").unwrap(),
    )
    .unwrap()
        + 1;
    let mut host = bench.host.clone();
    for _ in 0..3 {
        let died;
        (host, died) = Order::new(&bench, Deed::Create { pvh: false }, at, When::After).run(&host);
        assert!(died);
    }
    let hypervisor = host.open(&bench.state()).unwrap();
    assert_eq!(hypervisor.list().unwrap().len(), 4);
    host.clear_plan();
    // The first one's first call fails.
    host.fail_nth(1, libc::EIO);
    hypervisor.reap().unwrap_err();
    assert_eq!(hypervisor.list().unwrap().len(), 2, "the failure of one has kept the other two");
    host.clear_plan();
    assert_eq!(hypervisor.reap().unwrap().len(), 1);
    before.assert_same(&picture(&host, &bench), "three dead builders");
}
