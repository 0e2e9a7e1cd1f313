//! The frontend's nodes of one device, and its backend's: the part of the connection that is Xenstore's.

use core::fmt::{self, Display};
use core::str;

use super::link::{self, Backend, Link, State};
use super::text::{self, Text};
use super::{Class, DeviceError};
use crate::grant::DomId;
use crate::store::{Store, StoreError, Token};

/// A device's number in its class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeviceId(u32);

impl DeviceId {
    /// Any number.
    pub fn new(number: u32) -> DeviceId {
        DeviceId(number)
    }

    /// As it stands in Xenstore.
    pub fn number(self) -> u32 {
        self.0
    }

    pub(super) fn parse(bytes: &[u8]) -> Option<DeviceId> {
        u32::try_from(text::number(bytes)?).ok().map(DeviceId)
    }
}

impl Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a kind of device adds to the sequence that all have in common.
pub(crate) trait Driver {
    /// What the frontend says after it has published where its rings are.
    const PUBLISHED: State;

    /// Tells the backend where the rings are.
    fn publish(&mut self, frontend: &Frontend, store: &mut Store) -> Result<(), DeviceError>;

    /// The backend works: takes what it told.
    fn connect(&mut self, frontend: &Frontend, store: &mut Store) -> Result<(), DeviceError>;
}

/// The nodes of a device.
#[derive(Debug)]
pub(crate) struct Frontend {
    class: Class,
    id: DeviceId,
    token: Token,
    backend: DomId,
    /// Where the backend's nodes are.
    backend_path: Text<PATH>,
    link: Link,
}

/// The longest path of a backend that we take. Toolstacks' have about 40 bytes.
const PATH: usize = 128;
/// The longest path of one of its nodes.
const NODE_PATH: usize = PATH + 40;

impl Frontend {
    /// Reads what the toolstack says about a device that it offers. `watch` is to follow when all else is there.
    pub(crate) fn open(store: &mut Store, class: Class, id: DeviceId, token: Token) -> Result<Frontend, DeviceError> {
        let mut buffer = [0; PATH];
        let state = read(store, class, id, "state", &mut buffer)?.and_then(text::number).and_then(State::new);
        if state != Some(State::Initialising) {
            return Err(DeviceError::NotOffered);
        }
        let backend = read(store, class, id, "backend-id", &mut buffer)?.and_then(text::number).and_then(DomId::new);
        let backend = backend.ok_or(DeviceError::Node("backend-id"))?;
        let path = read(store, class, id, "backend", &mut buffer)?.and_then(|path| str::from_utf8(path).ok());
        let backend_path = path.and_then(|path| Text::new(format_args!("{path}")));
        let backend_path = backend_path.ok_or(DeviceError::Node("backend"))?;
        Ok(Frontend { class, id, token, backend, backend_path, link: Link::Offered })
    }

    /// Watches the backend. The watch ends when the device is `Gone`.
    pub(crate) fn watch(&self, store: &mut Store) -> Result<(), DeviceError> {
        Ok(store.watch(self.backend_node("state")?.as_str(), self.token)?)
    }

    pub(crate) fn id(&self) -> DeviceId {
        self.id
    }

    pub(crate) fn backend(&self) -> DomId {
        self.backend
    }

    pub(crate) fn link(&self) -> Link {
        self.link
    }

    /// Goes on with the sequence if the backend's state changed since this was called last.
    pub(crate) fn advance<D: Driver>(&mut self, store: &mut Store, driver: &mut D) -> Result<(), DeviceError> {
        if !store.take_fired(self.token) {
            return Ok(());
        }
        let mut buffer = [0; 8];
        let node = self.backend_node("state")?;
        let backend = match store.read(node.as_str(), &mut buffer) {
            Ok(value) => text::number(value).and_then(State::new).map_or(Backend::Unknown, Backend::Is),
            // When the toolstack has removed the nodes nobody is left who could let us read them.
            Err(StoreError::NotFound | StoreError::Denied) => Backend::Missing,
            Err(StoreError::BufferTooSmall(_)) => Backend::Unknown,
            Err(error) => return Err(error.into()),
        };
        while let Some(link) = link::next(self.link, backend) {
            let done = self.enter(link, store, driver);
            if done.is_err() {
                self.close(store);
                return done;
            }
        }
        Ok(())
    }

    /// Begins to end the connection. `advance` goes on with it.
    pub(crate) fn close(&mut self, store: &mut Store) {
        if self.link < Link::Closing {
            self.link = Link::Closing;
            // If the toolstack has removed our nodes there is nobody to be told.
            let _ = self.write(store, "state", State::Closing as u32);
        }
    }

    /// Ends the watch of a device that is dropped before it is gone.
    pub(crate) fn abandon(&mut self, store: &mut Store) {
        self.link = Link::Gone;
        if let Ok(node) = self.backend_node("state") {
            let _ = store.unwatch(node.as_str(), self.token);
        }
    }

    fn enter<D: Driver>(&mut self, link: Link, store: &mut Store, driver: &mut D) -> Result<(), DeviceError> {
        match link {
            Link::Offered => {}
            Link::Published => {
                driver.publish(self, store)?;
                self.write(store, "state", D::PUBLISHED as u32)?;
            }
            Link::Connected => {
                driver.connect(self, store)?;
                if D::PUBLISHED != State::Connected {
                    self.write(store, "state", State::Connected as u32)?;
                }
            }
            Link::Closing => self.close(store),
            Link::Closed => {
                let _ = self.write(store, "state", State::Closed as u32);
            }
            Link::Gone => self.abandon(store),
        }
        self.link = link;
        Ok(())
    }

    /// Writes a node of the frontend's.
    pub(crate) fn write(&self, store: &mut Store, key: &'static str, value: impl Display) -> Result<(), DeviceError> {
        let node = own_node(self.class, self.id, key);
        let value = Text::<32>::new(format_args!("{value}"));
        let (node, value) = node.zip(value).ok_or(DeviceError::Node(key))?;
        Ok(store.write(node.as_str(), value.as_str().as_bytes())?)
    }

    /// Reads a node of the frontend's. None if it does not exist, or is longer than `buffer`.
    pub(crate) fn read<'b>(
        &self,
        store: &mut Store,
        key: &'static str,
        buffer: &'b mut [u8],
    ) -> Result<Option<&'b [u8]>, DeviceError> {
        Ok(read(store, self.class, self.id, key, buffer)?)
    }

    /// Reads a number that the backend wrote. None if there is no such node.
    pub(crate) fn backend_number(&self, store: &mut Store, key: &'static str) -> Result<Option<u64>, DeviceError> {
        let mut buffer = [0; 24];
        match store.read(self.backend_node(key)?.as_str(), &mut buffer) {
            Ok(value) => text::number(value).map(Some).ok_or(DeviceError::Node(key)),
            Err(StoreError::NotFound) => Ok(None),
            Err(StoreError::BufferTooSmall(_)) => Err(DeviceError::Node(key)),
            Err(error) => Err(error.into()),
        }
    }

    fn backend_node(&self, key: &'static str) -> Result<Text<NODE_PATH>, DeviceError> {
        Text::new(format_args!("{}/{key}", self.backend_path.as_str())).ok_or(DeviceError::Node(key))
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

#[cfg(test)]
#[path = "frontend_tests.rs"]
mod tests;
