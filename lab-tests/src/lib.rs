//! What the tests of behaviour on real Xen share. The tests themselves are in `tests/`, one file a
//! suite; `cargo xtask test` builds them, copies them into dom0 of the lab and runs them there as
//! root, one at a time.
//!
//! - [`Lab`] is what every test starts with: it refuses to run anywhere else, names the test's
//!   guests, and removes them at the end.
//! - [`command`] runs programs within a bound; [`chaos`] and [`xl`] read what the two toolstacks
//!   say.
//! - [`Host`] is a snapshot of all that a guest could leave behind, with a readable difference.
//! - [`noxs`] is what a host for NoXS has of its own: witnesses, and xenstored started late;
//!   [`debug_keys`] and [`grants`] are what the hypervisor itself says.
//! - [`cpu_time`] is what guests use of the processors.
//! - [`shell`] runs commands in a Linux guest, [`network`] looks for guests from dom0, [`echo`]
//!   sends bulk data through a guest and back.
//! - [`kernel_log`] is what dom0's kernel complains of.
//! - [`daemon`], [`console`], [`strace`], [`terminal`], [`uevents`] and [`wait`] are the witnesses
//!   and the tools; [`domain`] is for loops that wait, where a program each time would be in the
//!   way of what is waited for.
//! - [`xendevd`] and [`device`] are the hotplug daemon, and devices made by hand.
//!
//! A failed expectation panics: this is test code, and the message is the report.

#![allow(clippy::unwrap_used, clippy::expect_used)]

pub mod chaos;
pub mod command;
pub mod console;
pub mod cpu_time;
pub mod daemon;
pub mod debug_keys;
pub mod device;
pub mod domain;
pub mod echo;
pub mod grants;
mod host;
pub mod kernel_log;
mod lab;
pub mod network;
pub mod noxs;
pub mod shell;
pub mod strace;
pub mod terminal;
pub mod uevents;
pub mod wait;
pub mod xendevd;
pub mod xenstore;
pub mod xl;

pub use chaos::chaos;
pub use command::{Output, run};
pub use host::Host;
pub use lab::Lab;
pub use wait::wait_until;

/// `many` in a full run (`cargo xtask test --full`), else `some`: for tests that do the same thing
/// again and again.
pub fn times(some: usize, many: usize) -> usize {
    if full() { many } else { some }
}

/// Whether this is a full run: for what takes minutes.
pub fn full() -> bool {
    std::env::var_os("LIGHTVM_LAB_FULL").is_some()
}
