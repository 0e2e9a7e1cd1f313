//! Every call of a create fails once: nothing may be left behind, whatever fails, and whatever
//! fails while it is undone.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs;

use common::{Bench, NAME, Picture, TYPES};
use h2::config::GuestType;
use h2::id::MiB;
use h2::{CreateError, ErrorKind};
use h2_fake::{Fault, When};

/// The calls of a successful create and boot.
fn log_of_create(bench: &Bench, guest_type: GuestType) -> Vec<&'static str> {
    let hypervisor = bench.open();
    bench.host.clear_plan();
    let guest = bench.start(&hypervisor, &bench.config(guest_type, NAME)).unwrap();
    let log = bench.host.log().iter().map(|call| call.operation).collect();
    guest.destroy().unwrap();
    log
}

fn calls(bench: &Bench, guest_type: GuestType) -> u64 {
    log_of_create(bench, guest_type).len().try_into().unwrap()
}

/// The number of the first call of this operation.
fn number_of(log: &[&str], operation: &str) -> u64 {
    let index = log.iter().position(|&call| call == operation).unwrap();
    u64::try_from(index).unwrap() + 1
}

/// Creates the guest with these faults in its way, undisturbed after that, and looks at the host
/// each time.
fn disturbed(
    bench: &Bench,
    guest_type: GuestType,
    before: &Picture,
    faults: Vec<(u64, Fault)>,
) -> CreateError {
    let context = format!("{guest_type:?} guest with {faults:?}");
    let hypervisor = bench.open();
    let config = bench.config(guest_type, NAME);
    bench.host.clear_plan();
    for (n, fault) in faults {
        bench.host.at(n, fault);
    }
    let error = bench.start(&hypervisor, &config).map(|guest| guest.id()).expect_err(&context);
    let log = bench.host.log();
    let failed = log.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    before.assert_same(&bench.picture(), format_args!("{context}: {error}; calls: {failed}"));

    bench.host.clear_plan();
    let guest = bench
        .start(&hypervisor, &config)
        .unwrap_or_else(|error| panic!("{context}, then again: {error}"));
    guest.destroy().unwrap();
    before.assert_same(&bench.picture(), format_args!("{context}, then again, and destroyed"));
    error
}

#[test]
fn each_call_fails() {
    for bench in Bench::planes() {
        let before = bench.picture();
        for guest_type in TYPES {
            let log = log_of_create(&bench, guest_type);
            for (n, operation) in (1..).zip(&log) {
                for when in [When::Before, When::After] {
                    // The hypercall that makes a domain does not do so and then fail.
                    if *operation == "create_domain" && when == When::After {
                        continue;
                    }
                    let errnos = [libc::EIO, libc::ENOMEM, libc::EAGAIN];
                    for errno in errnos
                        .into_iter()
                        .filter(|&errno| when == When::Before || errno == libc::EIO)
                    {
                        let error = disturbed(
                            &bench,
                            guest_type,
                            &before,
                            vec![(n, Fault::Fail(when, errno))],
                        );
                        let expected = match (*operation, errno) {
                            ("populate" | "set_paging_pool", libc::ENOMEM) => {
                                ErrorKind::NoResources
                            }
                            _ => ErrorKind::Failed,
                        };
                        assert_eq!(error.kind(), expected, "{operation}: {error:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn the_stores_connection_breaks() {
    let bench = Bench::new();
    let before = bench.picture();
    for guest_type in TYPES {
        let log = log_of_create(&bench, guest_type);
        let last = log.iter().rposition(|operation| is_store(operation)).unwrap();
        assert!(last > log.len() / 2, "{log:?}");
        for (n, _) in (1..).zip(&log[..=last]) {
            let error = disturbed(&bench, guest_type, &before, vec![(n, Fault::BreakStore)]);
            assert!(matches!(error, CreateError::Store(_)), "{error:?}");
        }
    }
}

fn is_store(operation: &str) -> bool {
    [
        "read",
        "write",
        "mkdir",
        "remove",
        "directory",
        "set_permissions",
        "introduce",
        "is_introduced",
    ]
    .contains(&operation)
}

/// A call fails, and then one of those that undo: what stays is found by the next one who looks.
#[test]
fn undoing_fails_too() {
    Bench::planes().iter().for_each(undoing_fails);
}

fn undoing_fails(bench: &Bench) {
    let before = bench.picture();
    let mut left = 0;
    for guest_type in TYPES {
        for n in 1..=calls(bench, guest_type) {
            // The second fault moves on until there is no call for it.
            for m in n + 1.. {
                let hypervisor = bench.open();
                bench.host.clear_plan();
                bench.host.fail_nth(n, libc::EIO);
                bench.host.fail_nth(m, libc::EIO);
                bench
                    .start(&hypervisor, &bench.config(guest_type, NAME))
                    .map(|guest| guest.id())
                    .unwrap_err();
                let last = bench.host.calls() < m;
                // A watch that could not be taken back goes with its connection.
                drop(hypervisor);
                left += usize::from(reaped(
                    bench,
                    &before,
                    &format!("calls {n} and {m} of a {guest_type:?} guest"),
                ));
                if last {
                    break;
                }
            }
        }
    }
    assert!(left > 0, "no second failure left anything: the test tests nothing");
}

/// From some call on the host answers nothing any more.
#[test]
fn everything_fails_from_here() {
    for bench in Bench::planes() {
        let before = bench.picture();
        for guest_type in TYPES {
            for n in 1..=calls(&bench, guest_type) {
                let hypervisor = bench.open();
                bench.host.clear_plan();
                bench.host.at(n, Fault::FailFromHere(libc::EIO));
                bench
                    .start(&hypervisor, &bench.config(guest_type, NAME))
                    .map(|guest| guest.id())
                    .unwrap_err();
                drop(hypervisor);
                reaped(
                    &bench,
                    &before,
                    &format!("call {n} and all later ones of a {guest_type:?} guest"),
                );
            }
        }
    }
}

/// Reaps with a new hypervisor, and looks at the host; whether there was something to reap.
fn reaped(bench: &Bench, before: &Picture, context: &str) -> bool {
    bench.host.clear_plan();
    let hypervisor = bench.open();
    let reaped = hypervisor.reap().unwrap_or_else(|error| panic!("{context}: {error}"));
    assert!(reaped.len() <= 1, "{context}: {reaped:?}");
    before.assert_same(&bench.picture(), context);
    assert!(hypervisor.reap().unwrap().is_empty(), "{context}: reaped twice");
    !reaped.is_empty()
}

#[test]
fn a_shell_is_undone_when_dropped() {
    for bench in Bench::planes() {
        let before = bench.picture();
        let hypervisor = bench.open();
        for guest_type in TYPES {
            let shell = hypervisor.create(&bench.config(guest_type, NAME)).unwrap();
            assert!(bench.host.guest(shell.id()).is_some());
            drop(shell);
            before.assert_same(&bench.picture(), format_args!("{guest_type:?}"));
        }
    }
}

#[test]
fn a_guest_that_does_not_fit_is_refused_before_anything_is_made() {
    let bench = Bench::new();
    let before = bench.picture();
    let hypervisor = bench.open();
    for guest_type in TYPES {
        let mut config = bench.config(guest_type, NAME);
        (config.memory, config.maxmem) = (MiB::new(20 << 10), None);
        bench.host.clear_plan();
        let error = bench.start(&hypervisor, &config).map(|guest| guest.id()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoResources, "{error:?}");
        before.assert_same(&bench.picture(), "too large");
        assert_eq!(
            bench.host.log().iter().filter(|call| call.operation != "free_memory").count(),
            0
        );
    }
}

/// Two guests that fit one by one, and not together: the second one's failure costs the first one
/// nothing.
#[test]
fn memory_that_another_takes_meanwhile() {
    let bench = Bench::new();
    let hypervisor = bench.open();
    let first = bench.config(GuestType::Pv, "first");
    let mut second = bench.config(GuestType::Pv, NAME);
    (second.memory, second.maxmem) = (MiB::new(15 << 10), None);
    let n = number_of(&log_of_create(&bench, GuestType::Pv), "set_vcpus");
    let before = bench.picture();
    bench.host.clear_plan();
    let (host, state) = (bench.host.clone(), bench.state());
    let greedy = {
        let mut config = first.clone();
        (config.memory, config.maxmem) = (MiB::new(2 << 10), None);
        config
    };
    bench.host.meanwhile(n, move || {
        common::start(&host.open(&state).unwrap(), &greedy).unwrap();
    });
    let error = bench.start(&hypervisor, &second).map(|guest| guest.id()).unwrap_err();
    assert!(matches!(error, CreateError::NoMemory { source: Some(_), .. }), "{error:?}");
    hypervisor.find("first").unwrap().destroy().unwrap();
    before.assert_same(&bench.picture(), "after both");
}

/// The state directory's folder for records disappears: the create fails, and nothing stays on the
/// host.
#[test]
fn the_records_folder_is_gone() {
    let bench = Bench::new();
    let before = bench.picture();
    let hypervisor = bench.open();
    let folder = bench.state().join("guests");
    let log = log_of_create(&bench, GuestType::Pv);
    for (n, _) in (1..).zip(&log) {
        bench.host.clear_plan();
        let gone = folder.clone();
        bench.host.meanwhile(n, move || {
            let _ = fs::remove_dir_all(gone);
        });
        let result = bench.start(&hypervisor, &bench.config(GuestType::Pv, NAME));
        bench.host.clear_plan();
        fs::create_dir_all(&folder).unwrap();
        match result {
            // It went only when the record had been written.
            Ok(guest) => {
                assert!(n > number_of(&log, "introduce"));
                guest.destroy().unwrap();
                let difference = before.host.difference(&bench.host.snapshot());
                assert!(difference.is_empty(), "{difference:?}");
            }
            Err(error) => {
                assert!(matches!(error, CreateError::State(_)), "{error:?}");
                before.assert_same(&bench.picture(), format_args!("call {n}"));
            }
        }
    }
}

/// A mark that cannot be removed: the guest is finished, so the create has succeeded.
#[test]
fn the_mark_cannot_be_removed() {
    let bench = Bench::new();
    let before = bench.picture();
    let hypervisor = bench.open();
    let last = calls(&bench, GuestType::Pv);
    let folder = bench.state().join("building");
    bench.host.clear_plan();
    let at_last = folder.clone();
    bench.host.meanwhile(last, move || {
        let mark = fs::read_dir(&at_last).unwrap().next().unwrap().unwrap().path();
        fs::remove_file(&mark).unwrap();
        fs::create_dir_all(mark.join("in the way")).unwrap();
    });
    let guest = bench.start(&hypervisor, &bench.config(GuestType::Pv, NAME)).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    fs::create_dir(&folder).unwrap();
    assert_eq!(hypervisor.find(NAME).unwrap().id(), guest.id());
    guest.destroy().unwrap();
    before.assert_same(&bench.picture(), "destroyed");
}
