//! Xenstore: a [`Store`] is a connection to xenstored that has a bound on every wait, counts its
//! operations, and names node and operation in each error.
//!
//! - [`Batch`]: changes that are sent together, one round trip for many of them
//! - [`Watch`]: watches for one wait, taken back on drop; a program with an event loop uses
//!   [`Store::add_watch`], [`Store::descriptor`] and [`Store::next_event`]
//! - `client`: the protocol, over a `connection`; `wire`: its messages
//! - `nodes`: the nodes that make a guest known to the daemons, to other tools, and to its own
//!   drivers
//!
//! The protocol is docs/misc/xenstore.txt of Xen 4.17, the paths docs/misc/xenstore-paths.pandoc.

mod batch;
mod client;
mod connection;
pub(crate) mod nodes;
mod wire;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

pub use self::batch::Batch;
use self::client::Client;
use crate::error::{OpenError, StoreError};
use crate::id::{DomId, Gfn, Port};
use crate::seam::StoreCalls;

/// A connection to xenstored. Each has its own watches.
#[derive(Debug)]
pub struct Store {
    calls: Box<dyn StoreCalls>,
    operations: Cell<u64>,
}

impl Store {
    /// Connects, and makes sure that the daemon answers.
    ///
    /// # Errors
    /// [`OpenError::StoreNotAnswering`] if it cannot be reached, or has not answered within 5 s.
    pub fn open() -> Result<Self, OpenError> {
        let store = Self::over(Box::new(Client::open()?));
        store.operations.set(1);
        Ok(store)
    }

    /// Whether there is a daemon in this domain that could be connected to. One in another domain
    /// is not seen.
    pub(crate) fn is_here() -> bool {
        connection::socket().exists()
    }

    pub(crate) fn over(calls: Box<dyn StoreCalls>) -> Self {
        Self { calls, operations: Cell::new(0) }
    }

    /// Requests sent so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.operations.get()
    }

    fn run<T>(
        &self,
        operation: &'static str,
        path: &str,
        call: impl FnOnce(&dyn StoreCalls) -> io::Result<T>,
    ) -> Result<T, StoreError> {
        self.operations.set(self.operations.get() + 1);
        call(self.calls.as_ref()).map_err(|source| StoreError {
            operation,
            path: path.to_owned(),
            source,
        })
    }

    /// A node's value (`XS_READ`), or `None` if there is no such node. What is not UTF-8 in it is
    /// replaced, since a guest may have written it.
    ///
    /// # Errors
    /// [`StoreError`] if xenstored refuses, or does not answer within 30 s; so with all operations.
    pub fn read(&self, path: &str) -> Result<Option<String>, StoreError> {
        let value = self.run("read", path, |calls| calls.read(path))?;
        Ok(value.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Sets a node's value, makes it and its parents where missing (`XS_WRITE`).
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn write(&self, path: &str, value: &str) -> Result<(), StoreError> {
        self.run("write", path, |calls| calls.write(path, value))
    }

    /// Removes a node and all below it; one that is not there is no failure (`XS_RM`).
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn remove(&self, path: &str) -> Result<(), StoreError> {
        self.run("remove", path, |calls| calls.remove(path))
    }

    /// The names of a node's children, none if there is no such node (`XS_DIRECTORY`, or
    /// `XS_DIRECTORY_PART` for a long list).
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn directory(&self, path: &str) -> Result<Vec<String>, StoreError> {
        Ok(self.run("list", path, |calls| calls.directory(path))?.unwrap_or_default())
    }

    /// Makes all changes of a batch, in their order and in few round trips. It is not a
    /// transaction: others may see some changes before the others, and when one fails, those
    /// behind it may have been made.
    ///
    /// # Errors
    /// [`StoreError`] about the first change that failed.
    pub fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        let changes = batch.changes();
        self.operations.set(self.operations.get() + changes.len() as u64);
        self.calls.change(changes).map_err(|(index, source)| batch.error(index, source))
    }

    pub(crate) fn introduce(
        &self,
        domain: DomId,
        frame: Gfn,
        port: Port,
    ) -> Result<(), StoreError> {
        self.run("introduce", &nodes::home(domain), |calls| calls.introduce(domain, frame, port))
    }

    pub(crate) fn is_introduced(&self, domain: DomId) -> Result<bool, StoreError> {
        self.run("look for", &nodes::home(domain), |calls| calls.is_introduced(domain))
    }

    /// Watches some nodes until the result is dropped.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn watch(&self, paths: &[&str]) -> Result<Watch<'_>, StoreError> {
        let mut watch = Watch { store: self, paths: Vec::new() };
        for path in paths {
            match self.run("watch", path, |calls| calls.watch(path, TOKEN)) {
                // An earlier one that could not be taken back.
                Err(error) if error.source.raw_os_error() == Some(libc::EEXIST) => {}
                result => result?,
            }
            watch.paths.push((*path).to_owned());
        }
        Ok(watch)
    }

    /// Waits until something holds that nodes at or below `paths` tell, for `limit` at most;
    /// whether it holds. If it holds at once, nothing is watched.
    pub(crate) fn wait_until<E: From<StoreError>>(
        &self,
        paths: &[String],
        limit: Duration,
        mut holds: impl FnMut() -> Result<bool, E>,
    ) -> Result<bool, E> {
        if holds()? {
            return Ok(true);
        }
        let paths: BTreeSet<&str> = paths.iter().map(String::as_str).collect();
        let watch = self.watch(&paths.into_iter().collect::<Vec<_>>())?;
        let end = Instant::now() + limit;
        let held = loop {
            if holds()? {
                break true;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break false;
            }
            watch.wait(left)?;
            // What has come together is looked at once.
            while Instant::now() < end && watch.wait(Duration::ZERO)? {}
        };
        watch.end()?;
        Ok(held)
    }

    /// Asks for an event with this token whenever `path` or something below it changes, and for one
    /// at once (`XS_WATCH`). The watch stays until [`remove_watch`](Self::remove_watch), or
    /// until the connection ends.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn add_watch(&self, path: &str, token: &str) -> Result<(), StoreError> {
        self.run("watch", path, |calls| calls.watch(path, token))
    }

    /// Takes a watch back; one that is not there is no failure (`XS_UNWATCH`).
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn remove_watch(&self, path: &str, token: &str) -> Result<(), StoreError> {
        self.run("stop watching", path, |calls| calls.unwatch(path, token))
    }

    /// The next event of a watch, or `None` after `timeout`, which may be zero (`XS_WATCH_EVENT`).
    ///
    /// # Errors
    /// [`StoreError`] if the connection has failed.
    pub fn next_event(&self, timeout: Duration) -> Result<Option<Event>, StoreError> {
        let failed =
            |source| StoreError { operation: "wait for", path: "(watches)".to_owned(), source };
        let event = self.calls.next_event(timeout).map_err(failed)?;
        Ok(event.map(|(path, token)| Event { path, token }))
    }

    /// A duplicate of the descriptor that becomes readable when something has come, for poll(2).
    /// Events may have come already, with the answer to an earlier request: before a wait, take
    /// [`next_event`](Self::next_event) until there is none. The descriptor's only use is to be
    /// waited for; a [`reconnect`](Self::reconnect) makes it useless.
    ///
    /// # Errors
    /// [`StoreError`] if there is no connection.
    pub fn descriptor(&self) -> Result<OwnedFd, StoreError> {
        let failed =
            |source| StoreError { operation: "wait for", path: "(watches)".to_owned(), source };
        self.calls.descriptor().map_err(failed)
    }

    /// Replaces a connection that has failed; for undoing what was done over it, and for daemons.
    /// Watches and waiting events are lost.
    ///
    /// # Errors
    /// [`io::Error`] if the daemon cannot be reached.
    pub fn reconnect(&self) -> io::Result<()> {
        self.calls.reconnect()
    }
}

/// Something changed at a watched node or below it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// What changed.
    pub path: String,
    /// The token of the watch.
    pub token: String,
}

/// All our watches carry the same token: who waits looks at the state, not at the event.
const TOKEN: &str = "h2";

/// Watches on some nodes, taken back on drop.
#[derive(Debug)]
pub struct Watch<'a> {
    store: &'a Store,
    paths: Vec<String>,
}

impl Watch<'_> {
    /// Waits until something changed under a watched node, or `timeout` is over. Events come once
    /// for each watch at the start, too. Whether something happened: `true`.
    ///
    /// # Errors
    /// [`StoreError`] if the connection has failed.
    pub fn wait(&self, timeout: Duration) -> Result<bool, StoreError> {
        let path = || self.paths.first().map_or_else(String::new, String::clone);
        let failed = |source| StoreError { operation: "wait for", path: path(), source };
        self.store.calls.next_event(timeout).map(|event| event.is_some()).map_err(failed)
    }

    /// Takes the watches back: the drop that reports.
    fn end(mut self) -> Result<(), StoreError> {
        while let Some(path) = self.paths.pop() {
            self.store.run("stop watching", &path, |calls| calls.unwatch(&path, TOKEN))?;
        }
        Ok(())
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        for path in &self.paths {
            if let Err(error) =
                self.store.run("stop watching", path, |calls| calls.unwatch(path, TOKEN))
            {
                log::warn!("{error}: {}", error.source);
            }
        }
    }
}
