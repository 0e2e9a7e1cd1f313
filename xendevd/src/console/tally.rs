//! What is told of consoles to those who ask the daemon: counted by the thread that serves them,
//! read by another.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use h2::DomId;

use crate::protocol::ConsoleStatus;

/// What is counted of a console.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// The guest's name.
    pub(super) guest: String,
    /// Programs that are attached.
    pub(super) attached: AtomicUsize,
    /// Bytes that it has printed.
    pub(super) printed: AtomicU64,
    /// How often it had to wait.
    pub(super) throttled: AtomicU64,
}

/// The counts of all consoles.
#[derive(Debug, Clone, Default)]
pub(super) struct Tallies(Arc<Mutex<BTreeMap<DomId, Arc<Tally>>>>);

impl Tallies {
    /// A console is served from now on.
    pub(super) fn add(&self, domain: DomId, tally: Arc<Tally>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(domain, tally);
    }

    /// A console is served no more.
    pub(super) fn remove(&self, domain: DomId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&domain);
    }

    /// The counts as they are now.
    pub(super) fn status(&self) -> Vec<ConsoleStatus> {
        let tallies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let status = |(domain, tally): (&DomId, &Arc<Tally>)| ConsoleStatus {
            domain: *domain,
            guest: tally.guest.clone(),
            attached: tally.attached.load(Ordering::Relaxed),
            printed: tally.printed.load(Ordering::Relaxed),
            throttled: tally.throttled.load(Ordering::Relaxed),
        };
        tallies.iter().map(status).collect()
    }
}
