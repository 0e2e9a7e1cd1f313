//! Connections to the fake xenstored: their watches and events. They end with the process, unlike
//! the tree.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A connection.
pub(crate) type Id = u64;

#[derive(Debug, Default)]
struct Connection {
    broken: bool,
    watches: BTreeSet<(String, String)>,
    events: VecDeque<(String, String)>,
}

#[derive(Debug, Default)]
pub(crate) struct Session {
    next: Id,
    connections: BTreeMap<Id, Connection>,
}

impl Session {
    pub(crate) fn connect(&mut self) -> Id {
        self.next += 1;
        self.connections.insert(self.next, Connection::default());
        self.next
    }

    pub(crate) fn close(&mut self, id: Id) {
        self.connections.remove(&id);
    }

    pub(crate) fn break_all(&mut self) {
        for connection in self.connections.values_mut() {
            *connection = Connection { broken: true, ..Connection::default() };
        }
    }

    fn get(&mut self, id: Id) -> Result<&mut Connection, i32> {
        self.connections.get_mut(&id).filter(|connection| !connection.broken).ok_or(libc::EPIPE)
    }

    /// Fails as every request over a dead connection does.
    pub(crate) fn check(&mut self, id: Id) -> Result<(), i32> {
        self.get(id).map(|_| ())
    }

    pub(crate) fn watch(&mut self, id: Id, path: &str, token: &str) -> Result<(), i32> {
        let connection = self.get(id)?;
        let watch = (path.to_owned(), token.to_owned());
        if !connection.watches.insert(watch.clone()) {
            return Err(libc::EEXIST);
        }
        // A new watch fires at once.
        connection.events.push_back(watch);
        Ok(())
    }

    /// Whether there was such a watch. Its events that wait are dropped, as the client does.
    pub(crate) fn unwatch(&mut self, id: Id, path: &str, token: &str) -> Result<bool, i32> {
        let connection = self.get(id)?;
        connection.events.retain(|(fired, with)| with != token || !fires(path, fired));
        Ok(connection.watches.remove(&(path.to_owned(), token.to_owned())))
    }

    /// Takes a watch back, whoever has it.
    pub(crate) fn drop_watch(&mut self, path: &str, token: &str) {
        for connection in self.connections.values_mut() {
            connection.watches.remove(&(path.to_owned(), token.to_owned()));
        }
    }

    pub(crate) fn event(&mut self, id: Id) -> Result<Option<(String, String)>, i32> {
        Ok(self.get(id)?.events.pop_front())
    }

    /// Something changed at `path`.
    pub(crate) fn fire(&mut self, path: &str) {
        for connection in self.connections.values_mut() {
            for (watched, token) in &connection.watches {
                if fires(watched, path) {
                    connection.events.push_back((path.to_owned(), token.clone()));
                }
            }
        }
    }

    /// All watches of all connections.
    pub(crate) fn watches(&self) -> BTreeSet<(String, String)> {
        self.connections
            .values()
            .flat_map(|connection| connection.watches.iter().cloned())
            .collect()
    }
}

/// Whether a watch on `watched` fires for `path`.
fn fires(watched: &str, path: &str) -> bool {
    path.strip_prefix(watched).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
