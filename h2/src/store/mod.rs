//! Xenstore as this crate uses it: a [`Store`] that counts its operations and names node and operation in each error.
//!
//! - [`client`]: the connection, with a bound on every wait; [`wire`]: its messages
//! - [`nodes`]: the nodes that make a guest known to the daemons, to other tools, and to its own drivers

mod client;
pub(crate) mod nodes;
mod wire;

use std::cell::Cell;
use std::io;
use std::time::Duration;

use self::client::Client;
use crate::error::{OpenError, StoreError};
use crate::id::{DomId, Gfn, Port};
use crate::seam::{NodePermission, StoreCalls};

/// A connection to xenstored.
#[derive(Debug)]
pub(crate) struct Store {
    calls: Box<dyn StoreCalls>,
    operations: Cell<u64>,
}

impl Store {
    /// Connects, and makes sure that the daemon answers.
    pub(crate) fn open() -> Result<Self, OpenError> {
        let store = Self::over(Box::new(Client::open()?));
        store.operations.set(1);
        Ok(store)
    }

    pub(crate) fn over(calls: Box<dyn StoreCalls>) -> Self {
        Self { calls, operations: Cell::new(0) }
    }

    /// Requests sent so far.
    pub(crate) fn operations(&self) -> u64 {
        self.operations.get()
    }

    fn run<T>(
        &self,
        operation: &'static str,
        path: &str,
        call: impl FnOnce(&dyn StoreCalls) -> io::Result<T>,
    ) -> Result<T, StoreError> {
        self.operations.set(self.operations.get() + 1);
        call(self.calls.as_ref()).map_err(|source| StoreError { operation, path: path.to_owned(), source })
    }

    /// A node's value; what is not UTF-8 in it is replaced, since a guest may have written it.
    pub(crate) fn read(&self, path: &str) -> Result<Option<String>, StoreError> {
        let value = self.run("read", path, |calls| calls.read(path))?;
        Ok(value.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    pub(crate) fn write(&self, path: &str, value: &str) -> Result<(), StoreError> {
        self.run("write", path, |calls| calls.write(path, value))
    }

    pub(crate) fn mkdir(&self, path: &str) -> Result<(), StoreError> {
        self.run("make", path, |calls| calls.mkdir(path))
    }

    pub(crate) fn remove(&self, path: &str) -> Result<(), StoreError> {
        self.run("remove", path, |calls| calls.remove(path))
    }

    pub(crate) fn directory(&self, path: &str) -> Result<Vec<String>, StoreError> {
        Ok(self.run("list", path, |calls| calls.directory(path))?.unwrap_or_default())
    }

    pub(crate) fn set_permissions(&self, path: &str, permissions: &[NodePermission]) -> Result<(), StoreError> {
        self.run("set the permissions of", path, |calls| calls.set_permissions(path, permissions))
    }

    pub(crate) fn introduce(&self, domain: DomId, frame: Gfn, port: Port) -> Result<(), StoreError> {
        self.run("introduce", &nodes::home(domain), |calls| calls.introduce(domain, frame, port))
    }

    /// Watches some nodes until the result is dropped.
    pub(crate) fn watch(&self, paths: &[&str]) -> Result<Watch<'_>, StoreError> {
        let mut watch = Watch { store: self, paths: Vec::new() };
        for path in paths {
            self.run("watch", path, |calls| calls.watch(path, TOKEN))?;
            watch.paths.push((*path).to_owned());
        }
        Ok(watch)
    }

    /// Replaces a connection that has failed; for undoing what was done over it.
    pub(crate) fn reconnect(&self) -> io::Result<()> {
        self.calls.reconnect()
    }
}

/// All our watches carry the same token: who waits looks at the state, not at the event.
const TOKEN: &str = "h2";

/// Watches on some nodes, taken back on drop.
#[derive(Debug)]
pub(crate) struct Watch<'a> {
    store: &'a Store,
    paths: Vec<String>,
}

impl Watch<'_> {
    /// Waits until something changed under a watched node, or `timeout` is over. Events come once for each watch at
    /// the start, too. Whether something happened: `true`.
    pub(crate) fn wait(&self, timeout: Duration) -> Result<bool, StoreError> {
        let path = self.paths.first().map_or("", String::as_str);
        self.store.run("wait for", path, |calls| calls.next_event(timeout)).map(|event| event.is_some())
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        for path in &self.paths {
            if let Err(error) = self.store.run("stop watching", path, |calls| calls.unwatch(path, TOKEN)) {
                log::warn!("{error}: {}", error.source);
            }
        }
    }
}
