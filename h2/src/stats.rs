//! What an operation costs, counted.

use std::time::{Duration, Instant};

use serde::Serialize;

/// Running totals of a [`Hypervisor`](crate::Hypervisor); the difference of two is what lay
/// between.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Counters {
    /// Hypercalls of the whole process, those inside the Xen libraries included. `None` without
    /// the feature `count`.
    pub hypercalls: Option<u64>,
    /// All ioctls of the process, hypercalls included: mappings of guest memory are among them.
    /// `None` without the feature `count`.
    pub ioctls: Option<u64>,
    /// Requests to xenstored.
    pub xenstore_operations: u64,
    /// Operations of the kernel's on NoXS devices (/dev/xen/noxs_backend), which are among the
    /// ioctls but for opening and reading it.
    pub noxs_operations: u64,
    /// Bytes of images and tables that were written into guests.
    pub bytes_copied: u64,
}

impl Counters {
    /// What was counted since an earlier reading.
    #[must_use]
    pub fn since(&self, earlier: &Counters) -> Counters {
        let difference = |now: Option<u64>, then: Option<u64>| {
            now.zip(then).map(|(now, then)| now.saturating_sub(then))
        };
        Counters {
            hypercalls: difference(self.hypercalls, earlier.hypercalls),
            ioctls: difference(self.ioctls, earlier.ioctls),
            xenstore_operations: self
                .xenstore_operations
                .saturating_sub(earlier.xenstore_operations),
            noxs_operations: self.noxs_operations.saturating_sub(earlier.noxs_operations),
            bytes_copied: self.bytes_copied.saturating_sub(earlier.bytes_copied),
        }
    }
}

/// Measures the phases of one operation, one after the other.
#[derive(Debug)]
pub(crate) struct Phases {
    last: Instant,
    ended: Vec<(&'static str, Duration)>,
}

impl Phases {
    pub(crate) fn start() -> Self {
        Self { last: Instant::now(), ended: Vec::new() }
    }

    /// The phase with this name ends now, and the next begins.
    pub(crate) fn end(&mut self, name: &'static str) {
        let now = Instant::now();
        self.ended.push((name, now - self.last));
        self.last = now;
    }

    pub(crate) fn into_ended(self) -> Vec<(&'static str, Duration)> {
        self.ended
    }
}
