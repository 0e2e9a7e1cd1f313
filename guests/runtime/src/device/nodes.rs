//! What a device's two ends tell each other, on either plane: nodes in Xenstore, or the keys of a
//! control page.

use core::fmt::Display;

use noxs::device_page::Entry;
use noxs::keys::{KeyList, Keys};
use noxs::state::{Side, State};

use super::DeviceError;
use super::link::Backend;
use super::xenstore::StoreNodes;
use crate::foreign::ForeignWindow;
use crate::grant::DomId;
use crate::plane::{Class, DeviceId, Endpoint, NO_KEYS, Plane};
use crate::store::{Store, Token};
use crate::text::{self, Text};

/// A device that this guest has and does not use yet.
#[derive(Debug)]
pub(crate) enum Offer {
    Xenstore(StoreNodes),
    Noxs(Entry),
}

impl Offer {
    pub(crate) fn find(
        plane: &mut Plane,
        class: Class,
        id: DeviceId,
    ) -> Result<Offer, DeviceError> {
        match plane {
            Plane::Xenstore(store) => StoreNodes::offered(store, class, id).map(Offer::Xenstore),
            Plane::Noxs(noxs) => noxs
                .offered(class.of_page(), id.number())
                .map(Offer::Noxs)
                .ok_or(DeviceError::NotOffered),
        }
    }

    /// The domain of its backend.
    pub(crate) fn backend(&self) -> Result<DomId, DeviceError> {
        match self {
            Offer::Xenstore(nodes) => Ok(nodes.backend()),
            Offer::Noxs(entry) => {
                DomId::new(entry.device.backend.0.into()).ok_or(DeviceError::Node("backend-id"))
            }
        }
    }
}

/// Both ends of a device that is used. A guest has one plane: what says `NotOffered` below for
/// another cannot be.
#[derive(Debug)]
pub(super) enum Nodes {
    Xenstore(StoreNodes),
    Noxs(Endpoint),
}

impl Nodes {
    pub(super) fn open(
        plane: &Plane,
        offer: Offer,
        window: ForeignWindow,
    ) -> Result<Nodes, DeviceError> {
        match (offer, plane) {
            (Offer::Xenstore(nodes), _) => Ok(Nodes::Xenstore(nodes)),
            (Offer::Noxs(entry), Plane::Noxs(noxs)) => {
                let mut endpoint = noxs.open_endpoint(entry, window)?;
                match endpoint.backend_state() {
                    State::Closing | State::Closed => Err(DeviceError::NotOffered),
                    _ => Ok(Nodes::Noxs(endpoint)),
                }
            }
            (Offer::Noxs(_), Plane::Xenstore(_)) => Err(DeviceError::NotOffered),
        }
    }

    /// Watches the backend.
    pub(super) fn watch(&mut self, plane: &mut Plane, token: Token) -> Result<(), DeviceError> {
        match (self, plane) {
            (Nodes::Xenstore(nodes), Plane::Xenstore(store)) => nodes.watch(store, token),
            (Nodes::Noxs(endpoint), Plane::Noxs(noxs)) => {
                noxs.watch_device(token, endpoint);
                endpoint.set_state(State::Initialising)
            }
            _ => Err(DeviceError::NotOffered),
        }
    }

    /// Whether the watch fired since this was asked last.
    pub(super) fn take_fired(&self, plane: &mut Plane, token: Token) -> bool {
        match (self, plane) {
            (Nodes::Xenstore(nodes), Plane::Xenstore(store)) => nodes.take_fired(store, token),
            (_, Plane::Noxs(noxs)) => noxs.take_fired_for(token),
            _ => false,
        }
    }

    /// Ends the watch.
    pub(super) fn unwatch(&self, plane: &mut Plane, token: Token) {
        match (self, plane) {
            (Nodes::Xenstore(nodes), Plane::Xenstore(store)) => nodes.unwatch(store, token),
            (_, Plane::Noxs(noxs)) => noxs.unwatch_for(token),
            _ => {}
        }
    }

    pub(super) fn backend_state(&mut self, plane: &mut Plane) -> Result<Backend, DeviceError> {
        match (self, plane) {
            (Nodes::Xenstore(nodes), Plane::Xenstore(store)) => nodes.backend_state(store),
            (Nodes::Noxs(endpoint), Plane::Noxs(noxs)) if noxs.holds(endpoint.entry()) => {
                Ok(Backend::Is(endpoint.backend_state()))
            }
            _ => Ok(Backend::Missing),
        }
    }

    /// What the toolstack told of the device when it offered it. None if there is no such key, or
    /// its value is longer than `buffer`.
    pub(super) fn offered<'b>(
        &self,
        plane: &mut Plane,
        key: &'static str,
        buffer: &'b mut [u8],
    ) -> Result<Option<&'b [u8]>, DeviceError> {
        match (self, plane) {
            (Nodes::Xenstore(nodes), Plane::Xenstore(store)) => nodes.read(store, key, buffer),
            (Nodes::Noxs(endpoint), _) => {
                let mut copy = NO_KEYS;
                let keys = endpoint.backend_keys(&mut copy)?;
                let Some(value) = keys.get(key.as_bytes()) else { return Ok(None) };
                let Some(place) = buffer.get_mut(..value.len()) else { return Ok(None) };
                place.copy_from_slice(value);
                Ok(Some(place))
            }
            _ => Err(DeviceError::NotOffered),
        }
    }

    /// Tells the backend what `fill` writes, then the state that stands for it.
    pub(super) fn publish(
        &mut self,
        plane: &mut Plane,
        state: State,
        fill: impl FnOnce(&mut Own<'_>) -> Result<(), DeviceError>,
    ) -> Result<(), DeviceError> {
        match (&mut *self, &mut *plane) {
            (Nodes::Xenstore(nodes), Plane::Xenstore(store)) => {
                fill(&mut Own::Xenstore(nodes, store))?
            }
            (Nodes::Noxs(endpoint), _) => {
                let mut keys = Keys::for_side(Side::Frontend);
                fill(&mut Own::Noxs(&mut keys))?;
                endpoint.publish(&keys)?;
            }
            _ => return Err(DeviceError::NotOffered),
        }
        self.set_state(plane, state)
    }

    pub(super) fn set_state(&mut self, plane: &mut Plane, state: State) -> Result<(), DeviceError> {
        match (self, plane) {
            (Nodes::Xenstore(nodes), Plane::Xenstore(store)) => {
                nodes.write(store, "state", state.to_u32())
            }
            (Nodes::Noxs(endpoint), _) => endpoint.set_state(state),
            _ => Err(DeviceError::NotOffered),
        }
    }

    /// Hands what the backend tells to `take`.
    pub(super) fn told(
        &self,
        plane: &mut Plane,
        take: impl FnOnce(&mut Told<'_>) -> Result<(), DeviceError>,
    ) -> Result<(), DeviceError> {
        match (self, plane) {
            (Nodes::Xenstore(nodes), Plane::Xenstore(store)) => {
                take(&mut Told::Xenstore(nodes, store))
            }
            (Nodes::Noxs(endpoint), _) => {
                let mut copy = NO_KEYS;
                take(&mut Told::Noxs(endpoint.backend_keys(&mut copy)?))
            }
            _ => Err(DeviceError::NotOffered),
        }
    }
}

/// What the frontend tells its backend.
pub(crate) enum Own<'a> {
    Xenstore(&'a StoreNodes, &'a mut Store),
    Noxs(&'a mut Keys),
}

impl Own<'_> {
    pub(crate) fn write(
        &mut self,
        key: &'static str,
        value: impl Display,
    ) -> Result<(), DeviceError> {
        match self {
            Own::Xenstore(nodes, store) => nodes.write(store, key, value),
            Own::Noxs(keys) => {
                let value =
                    Text::<32>::new(format_args!("{value}")).ok_or(DeviceError::Node(key))?;
                keys.set(key.as_bytes(), value.as_str().as_bytes())
                    .map_err(|_| DeviceError::Node(key))
            }
        }
    }
}

/// What the backend tells.
pub(crate) enum Told<'a> {
    Xenstore(&'a StoreNodes, &'a mut Store),
    Noxs(KeyList<'a>),
}

impl Told<'_> {
    /// A number. None if the backend does not tell it.
    pub(crate) fn number(&mut self, key: &'static str) -> Result<Option<u64>, DeviceError> {
        match self {
            Told::Xenstore(nodes, store) => nodes.backend_number(store, key),
            Told::Noxs(keys) => {
                let Some(value) = keys.get(key.as_bytes()) else { return Ok(None) };
                text::number(value).map(Some).ok_or(DeviceError::Node(key))
            }
        }
    }
}
