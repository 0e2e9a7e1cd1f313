//! The nodes of a device in Xenstore (xen/include/public/io/xenbus.h): the frontend's own, and its
//! backend's.

use core::fmt::Display;
use core::str;

use noxs::state::State;

use super::DeviceError;
use super::link::{self, Backend};
use crate::grant::DomId;
use crate::plane::{Class, DeviceId};
use crate::store::{Store, StoreError, Token};
use crate::text::{self, Text};

/// The longest path of a backend that we take. Toolstacks' have about 40 bytes.
pub(super) const PATH: usize = 128;
/// The longest path of one of its nodes.
const NODE_PATH: usize = PATH + 40;

/// Where the nodes of a device are.
#[derive(Debug)]
pub(crate) struct StoreNodes {
    class: Class,
    id: DeviceId,
    backend: DomId,
    /// Where the backend's nodes are.
    path: Text<PATH>,
}

impl StoreNodes {
    /// Reads what the toolstack says about a device that it offers.
    pub(super) fn offered(
        store: &mut Store,
        class: Class,
        id: DeviceId,
    ) -> Result<StoreNodes, DeviceError> {
        let mut buffer = [0; PATH];
        let state = read(store, class, id, "state", &mut buffer)?
            .and_then(text::number)
            .and_then(link::state);
        if state != Some(State::Initialising) {
            return Err(DeviceError::NotOffered);
        }
        let backend = read(store, class, id, "backend-id", &mut buffer)?
            .and_then(text::number)
            .and_then(DomId::new);
        let backend = backend.ok_or(DeviceError::Node("backend-id"))?;
        let path = read(store, class, id, "backend", &mut buffer)?
            .and_then(|path| str::from_utf8(path).ok());
        let path = path
            .and_then(|path| Text::new(format_args!("{path}")))
            .ok_or(DeviceError::Node("backend"))?;
        Ok(StoreNodes { class, id, backend, path })
    }

    pub(super) fn backend(&self) -> DomId {
        self.backend
    }

    pub(super) fn watch(&self, store: &mut Store, token: Token) -> Result<(), DeviceError> {
        Ok(store.watch_for(self.backend_node("state")?.as_str(), token)?)
    }

    pub(super) fn take_fired(&self, store: &mut Store, token: Token) -> bool {
        let node = self.backend_node("state");
        node.is_ok_and(|node| store.take_fired_at(node.as_str(), token))
    }

    pub(super) fn unwatch(&self, store: &mut Store, token: Token) {
        if let Ok(node) = self.backend_node("state") {
            store.unwatch_at(node.as_str(), token);
        }
    }

    pub(super) fn backend_state(&self, store: &mut Store) -> Result<Backend, DeviceError> {
        let mut buffer = [0; 8];
        match store.read(self.backend_node("state")?.as_str(), &mut buffer) {
            Ok(value) => {
                Ok(text::number(value).and_then(link::state).map_or(Backend::Unknown, Backend::Is))
            }
            // When the toolstack has removed the nodes nobody is left who could let us read them.
            Err(StoreError::NotFound | StoreError::Denied) => Ok(Backend::Missing),
            Err(StoreError::BufferTooSmall(_)) => Ok(Backend::Unknown),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes a node of the frontend's.
    pub(super) fn write(
        &self,
        store: &mut Store,
        key: &'static str,
        value: impl Display,
    ) -> Result<(), DeviceError> {
        let node = own_node(self.class, self.id, key);
        let value = Text::<32>::new(format_args!("{value}"));
        let (node, value) = node.zip(value).ok_or(DeviceError::Node(key))?;
        Ok(store.write(node.as_str(), value.as_str().as_bytes())?)
    }

    /// Reads a node of the frontend's, which the toolstack wrote. None if it does not exist, or is
    /// longer than `buffer`.
    pub(super) fn read<'b>(
        &self,
        store: &mut Store,
        key: &'static str,
        buffer: &'b mut [u8],
    ) -> Result<Option<&'b [u8]>, DeviceError> {
        Ok(read(store, self.class, self.id, key, buffer)?)
    }

    /// Reads a number that the backend wrote. None if there is no such node.
    pub(super) fn backend_number(
        &self,
        store: &mut Store,
        key: &'static str,
    ) -> Result<Option<u64>, DeviceError> {
        let mut buffer = [0; 24];
        match store.read(self.backend_node(key)?.as_str(), &mut buffer) {
            Ok(value) => text::number(value).map(Some).ok_or(DeviceError::Node(key)),
            Err(StoreError::NotFound) => Ok(None),
            Err(StoreError::BufferTooSmall(_)) => Err(DeviceError::Node(key)),
            Err(error) => Err(error.into()),
        }
    }

    fn backend_node(&self, key: &'static str) -> Result<Text<NODE_PATH>, DeviceError> {
        Text::new(format_args!("{}/{key}", self.path.as_str())).ok_or(DeviceError::Node(key))
    }
}

/// Reads a node of a frontend. None if it does not exist, or is longer than `buffer`.
fn read<'b>(
    store: &mut Store,
    class: Class,
    id: DeviceId,
    key: &'static str,
    buffer: &'b mut [u8],
) -> Result<Option<&'b [u8]>, StoreError> {
    let path = own_node(class, id, key).ok_or(StoreError::TooLong)?;
    match store.read(path.as_str(), buffer) {
        Ok(value) => Ok(Some(value)),
        Err(StoreError::NotFound | StoreError::BufferTooSmall(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn own_node(class: Class, id: DeviceId, key: &'static str) -> Option<Text<64>> {
    Text::new(format_args!("{}/{id}/{key}", class.node()))
}
