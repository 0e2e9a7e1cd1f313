//! xenstored comes and goes, and is not waited for: whether it answers is for a worker to find out.
//!
//! ```text
//!   no connection --(it is time)--> a worker asks --it answers--> connected, and everything is looked at
//!        ^                                |
//!        +----------- a while ------------+
//! ```

use std::collections::BTreeSet;
use std::time::Instant;

use h2::DomId;
use h2::error::OpenError;
use h2::store::Store;

use super::Hotplug;
use super::disk::Done;
use crate::device::DeviceId;
use crate::plane::PlaneError;
use crate::workers::Ticket;
use crate::xenstore::{chain, daemon_listens};

/// What is known of xenstored while there is no connection.
#[derive(Debug, Default)]
pub(super) struct Reach {
    /// The worker that asks.
    asks: Option<Ticket>,
    answer: Option<Result<(), OpenError>>,
    /// Devices of which nothing can be learnt without it.
    waiting: BTreeSet<DeviceId>,
}

impl Reach {
    pub(super) fn is_it(&self, ticket: Ticket) -> bool {
        self.asks == Some(ticket)
    }

    pub(super) fn done(&mut self, result: Result<(), OpenError>) {
        self.asks = None;
        self.answer = Some(result);
    }

    /// Notes that a device waits.
    pub(super) fn wait(&mut self, device: DeviceId, error: &PlaneError) {
        if self.waiting.insert(device) {
            log::warn!("{device}: {}; it is looked at when there is one", chain(error));
        }
    }

    pub(super) fn forget(&mut self, device: DeviceId) {
        self.waiting.remove(&device);
    }

    pub(super) fn nobody_waits(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Everything is looked at anew.
    pub(super) fn begin_anew(&mut self) {
        self.waiting.clear();
    }
}

impl Hotplug {
    /// Connects to xenstored if it seems to be there, and waits for its answer, for some seconds at
    /// most: at the start, when nobody waits for anything else yet. Whether there is a
    /// connection now.
    ///
    /// # Errors
    /// Why not.
    pub fn connect(&mut self) -> Result<bool, OpenError> {
        if !daemon_listens() {
            return Ok(false);
        }
        self.planes.xenstore.connect()?;
        self.want_sweep(false);
        Ok(true)
    }

    /// Sees to it that there is a connection to xenstored, and waits for nothing. Whether it has
    /// just been made.
    ///
    /// # Errors
    /// Why it was not.
    pub fn reach(&mut self, now: Instant) -> Result<bool, OpenError> {
        match self.reach.answer.take() {
            Some(Ok(())) if !self.is_connected() => {
                // It has just answered somebody else, and does again.
                self.planes.xenstore.connect()?;
                self.want_sweep(false);
                return Ok(true);
            }
            Some(Err(error)) => {
                self.planes.xenstore.failed();
                return Err(error);
            }
            Some(Ok(())) | None => {}
        }
        if self.reach.asks.is_none() && self.planes.xenstore.is_due(now) {
            let ticket =
                self.workers.submit(DomId::DOM0, || Done::Reached(Store::open().map(drop)));
            self.reach.asks = Some(ticket);
        }
        Ok(false)
    }

    /// When to call [`reach`](Self::reach) at the latest.
    pub(super) fn next_reach(&self) -> Option<Instant> {
        self.planes.xenstore.retry_at().filter(|_| self.reach.asks.is_none())
    }

    /// Whether there is a connection to xenstored.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.planes.xenstore.is_connected()
    }

    /// Whether this kernel has NoXS devices.
    #[must_use]
    pub fn has_noxs(&self) -> bool {
        self.planes.noxs.is_there()
    }
}
