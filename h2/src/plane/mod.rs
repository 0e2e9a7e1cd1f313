//! The control planes: how a guest finds its devices, its toolstack and its name. A guest has
//! exactly one.
//!
//! ```text
//!                       Control
//!            Xenstore              Noxs
//!   nodes in xenstored             the device page (hypervisor) and a control page a device (kernel)
//!   name: its node, an index       name: its record, the same index
//!   end: @releaseDomain            end: the list of domains, looked at again and again
//! ```
//!
//! Both are always there; one that this host does not have is an error only when a guest asks for
//! it. What they have in common, names, records, memory, boot, is elsewhere; here is where they
//! part. The Xenstore plane is in [`crate::store`] and [`crate::device`].
//!
//! - [`Noxs`]: the devices of a guest on the NoXS plane, made and removed
//! - `keys`: what their ends are told; `ready`: the wait for backends; `devices`: attached,
//!   detached and told about
//! - `sysctl`: requests to a guest; `dump`: all that there is, for people

mod devices;
mod dump;
mod keys;
mod noxs;
mod ready;
mod sysctl;

use std::time::Duration;

use uuid::Uuid;

pub use self::dump::{NoxsDump, NoxsDumpDevice, NoxsDumpEnd};
pub(crate) use self::noxs::Noxs;
pub(crate) use self::sysctl::Answer;
use crate::config::{GuestConfig, Plane};
use crate::device::{self, NewDevice};
use crate::error::{CreateError, Error, OpenError, StoreError};
use crate::id::DomId;
use crate::inner::Inner;
use crate::random_seed::RandomSeed;
use crate::seam::{RingFrames, Rings};
use crate::store::Store;
use crate::store::nodes::{self, GuestNodes};

/// A guest's control plane, open.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Control<'a> {
    Xenstore(&'a Store),
    Noxs(Noxs<'a>),
}

impl Inner {
    /// Opens a plane.
    pub(crate) fn control(&self, plane: Plane) -> Result<Control<'_>, OpenError> {
        match plane {
            Plane::Xenstore => self.store().map(Control::Xenstore),
            Plane::Noxs => Noxs::open(self).map(Control::Noxs),
        }
    }

    /// The plane that a new guest gets: its configuration's, else the one that this host has,
    /// Xenstore where there are both.
    pub(crate) fn plane_for(&self, config: &GuestConfig) -> Result<Plane, OpenError> {
        match config.plane {
            Some(plane) => Ok(plane),
            None if self.store_if_any()?.is_some() => Ok(Plane::Xenstore),
            None => Ok(Plane::Noxs),
        }
    }
}

impl Control<'_> {
    /// Makes a new guest known to its plane, with its devices. Early, so that the backends get
    /// ready while the image is built.
    pub(crate) fn prepare(
        &self,
        guest: &GuestNodes<'_>,
        seed: &RandomSeed,
        devices: &[NewDevice],
    ) -> Result<(), CreateError> {
        match self {
            Self::Xenstore(store) => {
                nodes::write(store, guest, seed)?;
                Ok(device::write(store, guest.kind, devices)?)
            }
            Self::Noxs(noxs) => noxs.make_all(guest, seed, devices),
        }
    }

    /// Tells the daemons of a guest that has its image.
    pub(crate) fn introduce(
        &self,
        guest: &GuestNodes<'_>,
        frames: RingFrames,
        rings: Rings,
    ) -> Result<(), CreateError> {
        match self {
            Self::Xenstore(store) => {
                nodes::write_rings(store, guest, frames, rings.store_port, rings.console_port)?;
                Ok(store.introduce(guest.domain, frames.store, rings.store_port)?)
            }
            // Whoever serves the console finds the guest by its record.
            Self::Noxs(_) => Ok(()),
        }
    }

    /// Waits until the backends are ready for the guest.
    pub(crate) fn wait_until_ready(
        &self,
        guest: DomId,
        devices: &[NewDevice],
        limit: Duration,
    ) -> Result<(), CreateError> {
        match self {
            Self::Xenstore(store) => device::wait_until_ready(store, devices, limit),
            Self::Noxs(noxs) => noxs.wait_until_ready(guest, devices, limit),
        }
    }

    /// Removes all that the plane has of a guest that does not run any more, before its domain
    /// goes. Without a UUID, because nobody knows it, what is found by the domain alone.
    pub(crate) fn remove(&self, guest: DomId, uuid: Option<Uuid>) -> Result<(), Error> {
        match self {
            Self::Xenstore(store) => Ok(remove_nodes(store, guest, uuid)?),
            Self::Noxs(noxs) => Ok(noxs.remove_all(guest)?),
        }
    }

    /// As [`remove`](Self::remove) for whoever undoes what has just failed: over a new connection
    /// if the old one is what failed.
    pub(crate) fn undo(&self, guest: DomId, uuid: Uuid) -> Result<(), Error> {
        let store = match self {
            Self::Xenstore(store) => store,
            Self::Noxs(_) => return self.remove(guest, Some(uuid)),
        };
        remove_nodes(store, guest, Some(uuid)).or_else(|error| {
            log::debug!("{error}: {}; trying again over a new connection", error.source);
            let failed = |source| StoreError {
                operation: "reconnect for",
                path: nodes::home(guest),
                source,
            };
            store.reconnect().map_err(failed)?;
            Ok(remove_nodes(store, guest, Some(uuid))?)
        })
    }
}

fn remove_nodes(store: &Store, domain: DomId, uuid: Option<Uuid>) -> Result<(), StoreError> {
    nodes::settle_console(store, domain)?;
    device::remove_all(store, domain)?;
    nodes::remove(store, domain, uuid)
}
