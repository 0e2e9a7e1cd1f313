//! A connection to xenstored, over its socket or, where it runs in another domain, over the
//! kernel's driver.
//!
//! Why not libxenstore: it waits without a bound, also for a daemon that hangs or was never started
//! (the kernel takes requests for it all the same); it starts a thread for watches that it cancels
//! at the end; and a caller can do nothing about either. One connection, one thread, and a bound on
//! every wait is all that this crate needs.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use super::connection::Connection;
use super::wire::{self, Kind};
use crate::error::OpenError;
use crate::id::{DomId, Gfn, Port};
use crate::seam::{NodePermission, StoreCalls, StoreChange};

/// How long xenstored may take for the first request: it answers within a millisecond, or is not
/// there.
const FIRST_LIMIT: Duration = Duration::from_secs(5);

/// How long it may take for a later one, on a host that is busy with something else.
const LIMIT: Duration = Duration::from_secs(30);

/// So many requests are sent before their answers are read: few enough that neither end's socket
/// fills up.
const AT_ONCE: usize = 64;

/// A connection to xenstored.
#[derive(Debug)]
pub(super) struct Client {
    /// `None` once it failed in the middle of a message: what comes next could be anything.
    connection: RefCell<Option<Connection>>,
    next_request: Cell<u32>,
    limit: Cell<Duration>,
    events: RefCell<VecDeque<(String, String)>>,
}

/// A request that is ready to be sent.
struct Request {
    kind: Kind,
    number: u32,
    message: Vec<u8>,
}

impl Client {
    /// Connects, and has one request answered.
    pub(super) fn open() -> Result<Self, OpenError> {
        let failed = |(what, error): (String, io::Error)| OpenError::StoreNotAnswering {
            reason: format!("{what}: {error}"),
        };
        let client = Self::over(Connection::open().map_err(failed)?);
        client.limit.set(FIRST_LIMIT);
        client.directory("/").map_err(|error| failed(("its first request".to_owned(), error)))?;
        client.limit.set(LIMIT);
        Ok(client)
    }

    fn over(connection: Connection) -> Self {
        Self {
            connection: RefCell::new(Some(connection)),
            next_request: Cell::new(1),
            limit: Cell::new(LIMIT),
            events: RefCell::default(),
        }
    }

    /// Sends a request and waits for its answer.
    fn ask(&self, kind: Kind, parts: &[&[u8]]) -> io::Result<Vec<u8>> {
        let number = self.next_number();
        let message = wire::encode(kind, number, parts)?;
        let mut answer = Err(io::Error::from(io::ErrorKind::NotConnected));
        self.exchange(&[Request { kind, number, message }], |_, result| answer = result)?;
        answer
    }

    /// The names of more children than fit into one message, asked for part by part. If one comes
    /// or goes meanwhile, all of it is asked for again.
    fn long_directory(&self, path: &str) -> io::Result<Vec<u8>> {
        let end = Instant::now() + self.limit.get();
        let (mut names, mut known) = (Vec::new(), Vec::new());
        while Instant::now() < end {
            let offset = names.len().to_string();
            let part = self.ask(Kind::DirectoryPart, &[&text(path)?, &text(&offset)?])?;
            let part = wire::DirectoryPart::decode(&part)?;
            if !names.is_empty() && part.generation != known {
                names.clear();
                continue;
            }
            known = part.generation.to_vec();
            names.extend_from_slice(part.names);
            if part.last {
                return Ok(names);
            }
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "the node's children change all the time"))
    }

    fn next_number(&self) -> u32 {
        let request = self.next_request.get();
        self.next_request.set(request.wrapping_add(1).max(1));
        request
    }

    /// Sends requests, and hands out the answer to each, in order. A failure of the connection ends
    /// it.
    fn exchange(
        &self,
        requests: &[Request],
        mut answered: impl FnMut(usize, io::Result<Vec<u8>>),
    ) -> io::Result<()> {
        let mut slot = self.connection.borrow_mut();
        let Some(connection) = slot.as_mut() else {
            return Err(io::Error::from(io::ErrorKind::NotConnected));
        };
        let mut all = || {
            for (chunk, requests) in requests.chunks(AT_ONCE).enumerate() {
                let end = Instant::now() + self.limit.get();
                let messages: Vec<_> =
                    requests.iter().map(|request| request.message.as_slice()).collect();
                connection.send(&messages, end)?;
                for (index, request) in requests.iter().enumerate() {
                    let answer = match self.answer(connection, request.number, end)? {
                        (Kind::Error, payload) => Err(wire::error(&payload)),
                        (kind, payload) if kind == request.kind => Ok(payload),
                        (other, _) => {
                            return Err(wire::broken(format!(
                                "{other:?} in answer to {:?}",
                                request.kind
                            )));
                        }
                    };
                    answered(chunk * AT_ONCE + index, answer);
                }
            }
            Ok(())
        };
        let result = all();
        if result.is_err() {
            *slot = None;
        }
        result
    }

    /// The answer to `request`; watch events that come before it are kept for later.
    fn answer(
        &self,
        connection: &mut Connection,
        request: u32,
        end: Instant,
    ) -> io::Result<(Kind, Vec<u8>)> {
        loop {
            let (header, payload) = connection.receive(end)?;
            match kind(header.kind)? {
                Kind::WatchEvent => self.keep(&payload)?,
                answer if header.request == request => return Ok((answer, payload)),
                other => {
                    return Err(wire::broken(format!(
                        "{other:?} for request {} instead of {request}",
                        header.request
                    )));
                }
            }
        }
    }

    fn keep(&self, payload: &[u8]) -> io::Result<()> {
        let mut texts = wire::texts(payload).into_iter();
        let event = texts
            .next()
            .zip(texts.next())
            .ok_or_else(|| wire::broken("a watch event without a token".to_owned()))?;
        self.events.borrow_mut().push_back(event);
        Ok(())
    }
}

fn kind(number: u32) -> io::Result<Kind> {
    const ALL: [Kind; 13] = [
        Kind::Directory,
        Kind::Read,
        Kind::Watch,
        Kind::Unwatch,
        Kind::Introduce,
        Kind::Write,
        Kind::Mkdir,
        Kind::Remove,
        Kind::SetPermissions,
        Kind::WatchEvent,
        Kind::Error,
        Kind::IsIntroduced,
        Kind::DirectoryPart,
    ];
    ALL.into_iter()
        .find(|kind| *kind as u32 == number)
        .ok_or_else(|| wire::broken(format!("a message of type {number}")))
}

/// A path or a text that ends in a NUL.
fn text(text: &str) -> io::Result<Vec<u8>> {
    if text.contains('\0') {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a NUL character in a Xenstore path",
        ));
    }
    Ok([text.as_bytes(), b"\0"].concat())
}

/// A path and its permissions, in xenstored's letters.
fn permission_list(path: &str, permissions: &[NodePermission]) -> io::Result<Vec<u8>> {
    let mut payload = text(path)?;
    for NodePermission { domain, read, write } in permissions {
        let letter = match (read, write) {
            (false, false) => 'n',
            (true, false) => 'r',
            (false, true) => 'w',
            (true, true) => 'b',
        };
        payload.extend(text(&format!("{letter}{domain}"))?);
    }
    Ok(payload)
}

/// A change as a request.
fn request(change: &StoreChange) -> io::Result<(Kind, Vec<u8>)> {
    Ok(match change {
        StoreChange::Write { path, value } => {
            (Kind::Write, [text(path)?, value.as_bytes().to_vec()].concat())
        }
        StoreChange::Mkdir { path } => (Kind::Mkdir, text(path)?),
        StoreChange::Remove { path } => (Kind::Remove, text(path)?),
        StoreChange::SetPermissions { path, permissions } => {
            (Kind::SetPermissions, permission_list(path, permissions)?)
        }
    })
}

/// A node that is not there is not a failure.
fn optional<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_absent(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOENT)
}

impl StoreCalls for Client {
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        optional(self.ask(Kind::Read, &[&text(path)?]))
    }

    fn write(&self, path: &str, value: &str) -> io::Result<()> {
        self.ask(Kind::Write, &[&text(path)?, value.as_bytes()]).map(drop)
    }

    fn mkdir(&self, path: &str) -> io::Result<()> {
        self.ask(Kind::Mkdir, &[&text(path)?]).map(drop)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        optional(self.ask(Kind::Remove, &[&text(path)?])).map(drop)
    }

    fn directory(&self, path: &str) -> io::Result<Option<Vec<String>>> {
        let names = match self.ask(Kind::Directory, &[&text(path)?]) {
            Err(error) if error.raw_os_error() == Some(libc::E2BIG) => self.long_directory(path),
            names => names,
        };
        Ok(optional(names)?.map(|payload| wire::texts(&payload)))
    }

    fn set_permissions(&self, path: &str, permissions: &[NodePermission]) -> io::Result<()> {
        self.ask(Kind::SetPermissions, &[&permission_list(path, permissions)?]).map(drop)
    }

    fn change(&self, changes: &[StoreChange]) -> Result<(), (usize, io::Error)> {
        let mut requests = Vec::with_capacity(changes.len());
        for (index, change) in changes.iter().enumerate() {
            let number = self.next_number();
            let message = request(change).and_then(|(kind, payload)| {
                Ok(Request { kind, number, message: wire::encode(kind, number, &[&payload])? })
            });
            requests.push(message.map_err(|error| (index, error))?);
        }
        let (mut done, mut first) = (0, None);
        let exchanged = self.exchange(&requests, |index, answer| {
            done = index + 1;
            match answer {
                Ok(_) => {}
                // What is to be removed may be gone already.
                Err(error)
                    if matches!(changes.get(index), Some(StoreChange::Remove { .. }))
                        && is_absent(&error) => {}
                Err(error) => _ = first.get_or_insert((index, error)),
            }
        });
        match (first, exchanged) {
            (Some(first), _) => Err(first),
            (None, Err(error)) => Err((done, error)),
            (None, Ok(())) => Ok(()),
        }
    }

    fn introduce(&self, domain: DomId, frame: Gfn, port: Port) -> io::Result<()> {
        let arguments =
            [text(&domain.to_string())?, text(&frame.get().to_string())?, text(&port.to_string())?]
                .concat();
        self.ask(Kind::Introduce, &[&arguments]).map(drop)
    }

    fn is_introduced(&self, domain: DomId) -> io::Result<bool> {
        match self.ask(Kind::IsIntroduced, &[&text(&domain.to_string())?])?.as_slice() {
            b"T" | b"T\0" => Ok(true),
            b"F" | b"F\0" => Ok(false),
            other => Err(wire::broken(format!(
                "{:?} as the answer of yes or no",
                String::from_utf8_lossy(other)
            ))),
        }
    }

    fn watch(&self, path: &str, token: &str) -> io::Result<()> {
        self.ask(Kind::Watch, &[&text(path)?, &text(token)?]).map(drop)
    }

    fn unwatch(&self, path: &str, token: &str) -> io::Result<()> {
        optional(self.ask(Kind::Unwatch, &[&text(path)?, &text(token)?]))?;
        // Nobody waits for these any more.
        self.events
            .borrow_mut()
            .retain(|(fired, with)| with != token || !is_at_or_below(fired, path));
        Ok(())
    }

    fn next_event(&self, timeout: Duration) -> io::Result<Option<(String, String)>> {
        if let Some(event) = self.events.borrow_mut().pop_front() {
            return Ok(Some(event));
        }
        let mut slot = self.connection.borrow_mut();
        let Some(connection) = slot.as_mut() else {
            return Err(io::Error::from(io::ErrorKind::NotConnected));
        };
        let now = Instant::now();
        // A wait without an end still has one that nobody lives to see.
        let end = now.checked_add(timeout).unwrap_or(now + Duration::from_secs(1 << 31));
        if !connection.wait_for_message(end)? {
            return Ok(None);
        }
        // What has begun comes whole.
        let event = connection.receive(Instant::now() + LIMIT).and_then(|(header, payload)| {
            match kind(header.kind)? {
                Kind::WatchEvent => self.keep(&payload),
                other => Err(wire::broken(format!("{other:?} that nobody asked for"))),
            }
        });
        if let Err(error) = event {
            *slot = None;
            return Err(error);
        }
        Ok(self.events.borrow_mut().pop_front())
    }

    fn reconnect(&self) -> io::Result<()> {
        self.events.borrow_mut().clear();
        *self.connection.borrow_mut() = Some(Connection::open().map_err(|(_, error)| error)?);
        Ok(())
    }

    fn descriptor(&self) -> io::Result<OwnedFd> {
        match self.connection.borrow().as_ref() {
            Some(connection) => connection.as_fd().try_clone_to_owned(),
            None => Err(io::Error::from(io::ErrorKind::NotConnected)),
        }
    }
}

/// Whether a watch on `path` fires for `fired`.
fn is_at_or_below(fired: &str, path: &str) -> bool {
    fired.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
