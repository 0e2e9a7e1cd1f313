//! What all devices have in common: a frontend, its backend, and the sequence in which the two
//! connect and part, over either plane.
//!
//! `Devices` is what a device is made with, `Offer` one that can be had, `Frontend` its connection,
//! `Link` how far it is. `nodes` is all that differs between the planes. Neighbours: `net` and
//! `blk` are the devices; `grant`, `channel`, `memory`, `front_ring` and `slots` what they are made
//! of.

use core::fmt;

use crate::Error;
use crate::boot::Kind;
use crate::event::Events;
use crate::foreign::ForeignError;
use crate::front_ring::BadBackend;
use crate::grant::Grants;
use crate::hypercall::Errno;
use crate::memory::MemoryError;
use crate::store::StoreError;

pub(crate) use frontend::{Driver, Frontend};
pub use link::Link;
pub(crate) use nodes::{Offer, Own, Told};

mod frontend;
mod link;
mod nodes;
mod xenstore;

/// What every device is made with: event channels and the grant table.
#[derive(Clone, Copy, Debug)]
pub struct Devices {
    pub(crate) events: Events,
    pub(crate) grants: Grants,
}

impl Devices {
    pub(crate) fn open(events: Events, kind: Kind) -> Result<Devices, Error> {
        Ok(Devices { events, grants: Grants::open(kind)? })
    }
}

/// Why a device cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceError {
    /// Xenstore refused.
    Store(StoreError),
    /// The node or key of this name is missing, or its value is none that it can have.
    Node(&'static str),
    /// The toolstack does not offer the device to us: it was used before, or is about to go.
    NotOffered,
    /// All memory of the application's is used, or was not let go by an earlier backend.
    Memory,
    /// The grant table is full.
    Grants,
    /// Xen refused an event channel, or to map the control page.
    Xen(Errno),
    /// Our own keys or state are none that the control page takes.
    Keys,
    /// The backend broke the protocol: the device is of no more use.
    Backend,
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceError::Store(error) => write!(f, "Xenstore: {error}"),
            DeviceError::Node(name) => write!(f, "node {name} is missing or wrong"),
            DeviceError::NotOffered => f.write_str("not offered"),
            DeviceError::Memory => f.write_str("no memory for another device"),
            DeviceError::Grants => f.write_str("the grant table is full"),
            DeviceError::Xen(errno) => errno.fmt(f),
            DeviceError::Keys => f.write_str("wrong keys or state of our own"),
            DeviceError::Backend => f.write_str("the backend broke the protocol"),
        }
    }
}

impl core::error::Error for DeviceError {}

impl DeviceError {
    /// Whether the plane's watches fire when it is worth to try again.
    pub(crate) fn is_temporary(self) -> bool {
        matches!(self, DeviceError::Store(error) if error.is_temporary())
    }
}

impl From<StoreError> for DeviceError {
    fn from(error: StoreError) -> Self {
        DeviceError::Store(error)
    }
}

impl From<MemoryError> for DeviceError {
    fn from(error: MemoryError) -> Self {
        match error {
            MemoryError::Taken => DeviceError::Memory,
            MemoryError::Grants => DeviceError::Grants,
        }
    }
}

impl From<ForeignError> for DeviceError {
    fn from(error: ForeignError) -> Self {
        match error {
            ForeignError::Taken => DeviceError::Memory,
            ForeignError::Xen(errno) => DeviceError::Xen(errno),
        }
    }
}

impl From<Errno> for DeviceError {
    fn from(errno: Errno) -> Self {
        DeviceError::Xen(errno)
    }
}

impl From<BadBackend> for DeviceError {
    fn from(_: BadBackend) -> Self {
        DeviceError::Backend
    }
}
