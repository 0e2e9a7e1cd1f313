//! The control plane: how this guest learns of its devices, and by what it and their backends tell
//! each other keys and states.
//!
//! A guest has one of two. A guest to which the toolstack gave a port for Xenstore uses that; any
//! other asks Xen for NoXS. What an application and the devices see is the same: watches, which
//! fire by their token, and lists of devices.
//!
//! `Noxs` is the device page, `endpoint` one end of a device's control page. Neighbours: `store` is
//! Xenstore; `device` and `control` use both.

use crate::Error;
use crate::boot::Boot;
use crate::event::{Events, Port, Ports, Source};
use crate::store::{Claim, Store, StoreError, Token, Watch};
use crate::text;

pub(crate) use endpoint::{Endpoint, KeyBuffer, NO_KEYS};
pub use name::{Class, DeviceId};
pub use noxs::Noxs;

mod endpoint;
mod name;
mod noxs;

/// The control plane of this guest.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one, and no heap")]
pub enum Plane {
    /// Nodes in Xenstore.
    Xenstore(Store),
    /// Shared pages, without a store.
    Noxs(Noxs),
}

impl Plane {
    pub(crate) fn open(events: Events, boot: &Boot) -> Result<Plane, Error> {
        match boot.store() {
            Some(ring) => Store::open(events, boot.kind, ring).map(Plane::Xenstore),
            None => Noxs::open(events, boot.kind).map(Plane::Noxs),
        }
    }

    /// Watches for devices of a class that come and go. The watch fires at once, too.
    pub fn watch(&mut self, class: Class) -> Result<Watch, StoreError> {
        match self {
            Plane::Xenstore(store) => store.watch(class.node()),
            Plane::Noxs(noxs) => noxs.watch(class),
        }
    }

    /// Whether the watch fired since this was asked last. It tells that something changed, not
    /// what.
    pub fn take_fired(&mut self, watch: &Watch) -> bool {
        match self {
            Plane::Xenstore(store) => store.take_fired(watch),
            Plane::Noxs(noxs) => noxs.take_fired(watch),
        }
    }

    /// Ends a watch.
    pub fn unwatch(&mut self, watch: Watch) {
        match self {
            Plane::Xenstore(store) => store.unwatch(watch),
            Plane::Noxs(noxs) => noxs.unwatch(watch),
        }
    }

    /// Whether something has fired for a token and was not asked for.
    pub(crate) fn has_fired(&self, token: Token) -> bool {
        match self {
            Plane::Xenstore(store) => store.has_fired(token),
            Plane::Noxs(noxs) => noxs.has_fired(token),
        }
    }

    /// Takes a token for a device.
    pub(crate) fn claim(&mut self) -> Result<Claim, StoreError> {
        match self {
            Plane::Xenstore(store) => store.claim(),
            Plane::Noxs(noxs) => noxs.claim(),
        }
    }

    /// The devices of a class that this guest has, lowest id first; no more than `ids` has place
    /// for.
    pub fn devices(&mut self, class: Class, ids: &mut [DeviceId]) -> Result<usize, StoreError> {
        match self {
            Plane::Xenstore(store) => {
                let mut buffer = [0; 1024];
                match store.directory(class.node(), &mut buffer) {
                    Ok(names) => Ok(name::lowest(text::ids(names), ids)),
                    Err(StoreError::NotFound) => Ok(0),
                    Err(error) => Err(error),
                }
            }
            Plane::Noxs(noxs) => Ok(name::lowest(noxs.ids(class), ids)),
        }
    }
}

impl Source for Plane {
    fn port(&self) -> Option<Port> {
        match self {
            Plane::Xenstore(store) => store.port(),
            Plane::Noxs(noxs) => noxs.port(),
        }
    }

    fn more_ports(&self, ports: &mut Ports) {
        match self {
            Plane::Xenstore(store) => store.more_ports(ports),
            Plane::Noxs(noxs) => noxs.more_ports(ports),
        }
    }

    /// Ready while a watch that fired has not been asked for.
    fn ready(&mut self) -> bool {
        match self {
            Plane::Xenstore(store) => store.ready(),
            Plane::Noxs(noxs) => noxs.ready(),
        }
    }
}
