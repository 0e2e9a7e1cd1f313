//! What a kernel that watches itself has found while the other suites ran: runs last, on a host
//! with `--debug-kernel`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use lab_tests::kernel_log;

#[test]
fn locks_were_taken_in_one_order() {
    // It turns itself off with its first finding.
    assert_eq!(kernel_log::lockdep("debug_locks"), 1);
    // And it saw something.
    assert!(kernel_log::lockdep("lock-classes") > 100);
    assert!(kernel_log::lockdep("direct dependencies") > 100);
}

#[test]
fn no_memory_was_lost() {
    assert_eq!(kernel_log::leaks(), Vec::<String>::new());
}
