//! A connection to xenstored, over its socket or, where it runs in another domain, over the kernel's driver.
//!
//! Why not libxenstore: it waits without a bound, also for a daemon that hangs or was never started (the kernel takes requests for
//! it all the same); it starts a thread for watches that it cancels at the end; and a caller can do nothing about
//! either. One connection, one thread, and a bound on every wait is all that this crate needs.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::wire::{self, HEADER, Header, Kind};
use crate::error::OpenError;
use crate::id::{DomId, Gfn, Port};
use crate::seam::{NodePermission, StoreCalls};

/// How long xenstored may take for the first request: it answers within a millisecond, or is not there.
const FIRST_LIMIT: Duration = Duration::from_secs(5);

/// How long it may take for a later one, on a host that is busy with something else.
const LIMIT: Duration = Duration::from_secs(30);

const DEVICE: &str = "/dev/xen/xenbus";

/// A connection to xenstored.
#[derive(Debug)]
pub(super) struct Client {
    /// `None` once it failed in the middle of a message: what comes next could be anything.
    connection: RefCell<Option<File>>,
    next_request: Cell<u32>,
    limit: Cell<Duration>,
    events: RefCell<VecDeque<(String, String)>>,
}

/// Where the daemon of this domain listens: libxenstore's rules.
fn socket() -> PathBuf {
    let folder = || std::env::var_os("XENSTORED_RUNDIR").map_or_else(|| PathBuf::from("/run/xenstored"), PathBuf::from);
    std::env::var_os("XENSTORED_PATH").map_or_else(|| folder().join("socket"), PathBuf::from)
}

fn connect() -> Result<File, (String, io::Error)> {
    let socket = socket();
    match UnixStream::connect(&socket) {
        Ok(stream) => match stream.set_nonblocking(true) {
            Ok(()) => Ok(File::from(OwnedFd::from(stream))),
            Err(error) => Err((socket.display().to_string(), error)),
        },
        // No daemon in this domain: there may be one in another, behind the kernel's driver.
        Err(error) if error.kind() == io::ErrorKind::NotFound => OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(DEVICE)
            .map_err(|error| (format!("no socket {}, and {DEVICE}", socket.display()), error)),
        Err(error) => Err((socket.display().to_string(), error)),
    }
}

impl Client {
    /// Connects, and has one request answered.
    pub(super) fn open() -> Result<Self, OpenError> {
        let failed =
            |(what, error): (String, io::Error)| OpenError::StoreNotAnswering { reason: format!("{what}: {error}") };
        let client = Self::over(connect().map_err(failed)?);
        client.limit.set(FIRST_LIMIT);
        client.directory("/").map_err(|error| failed(("its first request".to_owned(), error)))?;
        client.limit.set(LIMIT);
        Ok(client)
    }

    fn over(connection: File) -> Self {
        Self {
            connection: RefCell::new(Some(connection)),
            next_request: Cell::new(1),
            limit: Cell::new(LIMIT),
            events: RefCell::default(),
        }
    }

    /// Sends a request and waits for its answer.
    fn ask(&self, kind: Kind, parts: &[&[u8]]) -> io::Result<Vec<u8>> {
        let request = self.next_request.get();
        self.next_request.set(request.wrapping_add(1).max(1));
        let bytes = wire::encode(kind, request, parts)?;
        let mut slot = self.connection.borrow_mut();
        let Some(connection) = slot.as_ref() else { return Err(io::Error::from(io::ErrorKind::NotConnected)) };
        let end = Instant::now() + self.limit.get();
        let answer = send(connection, &bytes, end).and_then(|()| self.answer(connection, request, end));
        match answer {
            Ok((Kind::Error, payload)) => Err(wire::error(&payload)),
            Ok((answered, payload)) if answered == kind => Ok(payload),
            Ok((other, _)) => {
                *slot = None;
                Err(wire::broken(format!("{other:?} in answer to {kind:?}")))
            }
            Err(error) => {
                *slot = None;
                Err(error)
            }
        }
    }

    /// The answer to `request`; watch events that come before it are kept for later.
    fn answer(&self, connection: &File, request: u32, end: Instant) -> io::Result<(Kind, Vec<u8>)> {
        loop {
            let (header, payload) = receive(connection, end)?;
            match kind(header.kind)? {
                Kind::WatchEvent => self.keep(&payload)?,
                answer if header.request == request => return Ok((answer, payload)),
                other => {
                    return Err(wire::broken(format!("{other:?} for request {} instead of {request}", header.request)));
                }
            }
        }
    }

    fn keep(&self, payload: &[u8]) -> io::Result<()> {
        let mut texts = wire::texts(payload).into_iter();
        let event =
            texts.next().zip(texts.next()).ok_or_else(|| wire::broken("a watch event without a token".to_owned()))?;
        self.events.borrow_mut().push_back(event);
        Ok(())
    }
}

fn kind(number: u32) -> io::Result<Kind> {
    const ALL: [Kind; 11] = [
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
    ];
    ALL.into_iter()
        .find(|kind| *kind as u32 == number)
        .ok_or_else(|| wire::broken(format!("a message of type {number}")))
}

/// Waits until the connection is ready, at most until `end`.
fn wait(connection: &File, flags: PollFlags, end: Instant) -> io::Result<()> {
    loop {
        // Rounded up: the rest of a millisecond must not become a busy loop.
        let left = end.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(connection.as_fd(), flags)], timeout) {
            Ok(0) if Instant::now() >= end => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time"));
            }
            // A signal that the program handles is not the daemon's failure.
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Whether to try again once the connection is ready.
fn not_now(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn send(mut connection: &File, mut bytes: &[u8], end: Instant) -> io::Result<()> {
    while !bytes.is_empty() {
        match connection.write(bytes) {
            Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero)),
            Ok(sent) => bytes = bytes.get(sent..).unwrap_or_default(),
            Err(error) if not_now(&error) => wait(connection, PollFlags::POLLOUT, end)?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn receive(connection: &File, end: Instant) -> io::Result<(Header, Vec<u8>)> {
    let mut header = [0; HEADER];
    fill(connection, &mut header, end)?;
    let header = Header::decode(header)?;
    let mut payload = vec![0; header.length];
    fill(connection, &mut payload, end)?;
    Ok((header, payload))
}

fn fill(mut connection: &File, bytes: &mut [u8], end: Instant) -> io::Result<()> {
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match connection.read(rest) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "xenstored hung up")),
            Ok(read) => filled += read,
            Err(error) if not_now(&error) => wait(connection, PollFlags::POLLIN, end)?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A path or a text that ends in a NUL.
fn text(text: &str) -> io::Result<Vec<u8>> {
    if text.contains('\0') {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a NUL character in a Xenstore path"));
    }
    Ok([text.as_bytes(), b"\0"].concat())
}

/// A node that is not there is not a failure.
fn optional<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
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
        let names = optional(self.ask(Kind::Directory, &[&text(path)?]))?;
        Ok(names.map(|payload| wire::texts(&payload)))
    }

    fn set_permissions(&self, path: &str, permissions: &[NodePermission]) -> io::Result<()> {
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
        self.ask(Kind::SetPermissions, &[&payload]).map(drop)
    }

    fn introduce(&self, domain: DomId, frame: Gfn, port: Port) -> io::Result<()> {
        let arguments =
            [text(&domain.to_string())?, text(&frame.get().to_string())?, text(&port.to_string())?].concat();
        self.ask(Kind::Introduce, &[&arguments]).map(drop)
    }

    fn watch(&self, path: &str, token: &str) -> io::Result<()> {
        self.ask(Kind::Watch, &[&text(path)?, &text(token)?]).map(drop)
    }

    fn unwatch(&self, path: &str, token: &str) -> io::Result<()> {
        optional(self.ask(Kind::Unwatch, &[&text(path)?, &text(token)?]))?;
        // Nobody waits for these any more.
        self.events.borrow_mut().retain(|(fired, with)| with != token || !is_at_or_below(fired, path));
        Ok(())
    }

    fn next_event(&self, timeout: Duration) -> io::Result<Option<(String, String)>> {
        if let Some(event) = self.events.borrow_mut().pop_front() {
            return Ok(Some(event));
        }
        let mut slot = self.connection.borrow_mut();
        let Some(connection) = slot.as_ref() else { return Err(io::Error::from(io::ErrorKind::NotConnected)) };
        let now = Instant::now();
        // A wait without an end still has one that nobody lives to see.
        let end = now.checked_add(timeout).unwrap_or(now + Duration::from_secs(1 << 31));
        match wait(connection, PollFlags::POLLIN, end) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::TimedOut => return Ok(None),
            Err(error) => return Err(error),
        }
        // What has begun comes whole.
        let event =
            receive(connection, Instant::now() + LIMIT).and_then(|(header, payload)| match kind(header.kind)? {
                Kind::WatchEvent => self.keep(&payload),
                other => Err(wire::broken(format!("{other:?} that nobody asked for"))),
            });
        if let Err(error) = event {
            *slot = None;
            return Err(error);
        }
        Ok(self.events.borrow_mut().pop_front())
    }

    fn reconnect(&self) -> io::Result<()> {
        self.events.borrow_mut().clear();
        *self.connection.borrow_mut() = Some(connect().map_err(|(_, error)| error)?);
        Ok(())
    }
}

/// Whether a watch on `path` fires for `fired`.
fn is_at_or_below(fired: &str, path: &str) -> bool {
    fired.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
