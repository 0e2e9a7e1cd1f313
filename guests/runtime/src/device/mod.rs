//! What all devices have in common: a frontend in Xenstore (xen/include/public/io/xenbus.h), its backend, and the sequence
//! in which the two connect and part.
//!
//! `Devices` is what a device is made with, `Frontend` its nodes, `Link` how far it is. Neighbours: `net` and `blk` are the
//! devices; `grant`, `channel`, `memory`, `front_ring` and `slots` what they are made of.

use core::fmt;

use crate::Error;
use crate::boot::Kind;
use crate::event::Events;
use crate::front_ring::BadBackend;
use crate::grant::Grants;
use crate::hypercall::Errno;
use crate::memory::MemoryError;
use crate::store::{Store, StoreError};

pub use frontend::DeviceId;
pub(crate) use frontend::{Driver, Frontend};
pub use link::Link;
pub(crate) use link::State;

mod frontend;
mod link;
pub(crate) mod text;

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

/// A kind of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// `vif`: network interfaces.
    Network,
    /// `vbd`: disks.
    Disk,
}

impl Class {
    /// The node whose children are this guest's devices of this class, to be watched for those that come and go.
    pub fn node(self) -> &'static str {
        match self {
            Class::Network => "device/vif",
            Class::Disk => "device/vbd",
        }
    }

    /// The devices of this class that the guest has, lowest id first; no more than `ids` has place for.
    pub fn list(self, store: &mut Store, ids: &mut [DeviceId]) -> Result<usize, StoreError> {
        let mut buffer = [0; 1024];
        let names = match store.directory(self.node(), &mut buffer) {
            Ok(names) => names,
            Err(StoreError::NotFound) => return Ok(0),
            Err(error) => return Err(error),
        };
        Ok(text::ids(names, ids))
    }
}

/// Why a device cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceError {
    /// Xenstore refused.
    Store(StoreError),
    /// The node of this name is missing, or its value is none that it can have.
    Node(&'static str),
    /// The toolstack does not offer the device to us: it was used before, or is about to go.
    NotOffered,
    /// All memory of the application's is used, or was not let go by an earlier backend.
    Memory,
    /// The grant table is full.
    Grants,
    /// Xen refused an event channel.
    Xen(Errno),
    /// The backend broke the protocol: the device is of no more use.
    Backend,
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceError::Store(error) => write!(f, "Xenstore: {error:?}"),
            DeviceError::Node(name) => write!(f, "node {name} is missing or wrong"),
            DeviceError::NotOffered => f.write_str("not offered"),
            DeviceError::Memory => f.write_str("no memory for another device"),
            DeviceError::Grants => f.write_str("the grant table is full"),
            DeviceError::Xen(errno) => errno.fmt(f),
            DeviceError::Backend => f.write_str("the backend broke the protocol"),
        }
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
