//! The request socket: many clients, none of whom is waited for.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::PollFlags;
use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::geteuid;

use crate::protocol::{
    Answer, Command, Frames, MAX_REQUEST, MAX_RESPONSE, Request, Response, frame,
};

/// The most clients at a time; who comes then pushes out the one that has been silent for longest.
const MAX_CLIENTS: usize = 64;

/// How long a client may be silent, or not read its answer.
const IDLE: Duration = Duration::from_secs(10);

/// How long a client that wants everything settled may have to wait.
pub(crate) const SETTLE_LIMIT: Duration = Duration::from_secs(30);

/// Tells a client from the others.
pub(crate) type ClientId = u64;

/// The socket and its clients.
#[derive(Debug)]
pub(crate) struct Server {
    listener: UnixListener,
    path: PathBuf,
    clients: BTreeMap<ClientId, Client>,
    last: ClientId,
}

#[derive(Debug)]
struct Client {
    stream: UnixStream,
    frames: Frames,
    /// What it has not read yet.
    out: Vec<u8>,
    /// A request of its is not answered yet.
    waits: bool,
    /// It is to go once it has read its answer.
    last_answer: bool,
    /// When its patience, or ours, is over.
    end: Instant,
}

/// A socket for root alone, in the place of one that a daemon before has left. Nobody waits for its
/// clients.
pub(crate) fn listen(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

impl Server {
    /// Listens. Who calls this has made sure that no other daemon does.
    pub(crate) fn listen(path: &Path) -> io::Result<Self> {
        let listener = listen(path)?;
        Ok(Self { listener, path: path.to_owned(), clients: BTreeMap::new(), last: 0 })
    }

    /// The socket on which clients come.
    pub(crate) fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// The clients, and what is waited for.
    pub(crate) fn clients(&self) -> impl Iterator<Item = (ClientId, BorrowedFd<'_>, PollFlags)> {
        self.clients.iter().map(|(id, client)| {
            // Who has a request under way is not listened to, so that nobody can make us keep more
            // than one.
            let flags = match (client.out.is_empty(), client.waits) {
                (false, _) => PollFlags::POLLOUT,
                (true, true) => PollFlags::empty(),
                (true, false) => PollFlags::POLLIN,
            };
            (*id, client.stream.as_fd(), flags)
        })
    }

    /// Clients whose next request has come together with the one before it, so that their
    /// descriptor has nothing more to say.
    pub(crate) fn buffered(&self) -> Vec<ClientId> {
        let has_more = |client: &Client| {
            !client.waits && client.out.is_empty() && client.frames.has_whole(MAX_REQUEST)
        };
        self.clients.iter().filter(|(_, client)| has_more(client)).map(|(id, _)| *id).collect()
    }

    /// Takes those who have come.
    pub(crate) fn accept(&mut self, now: Instant) {
        // One round of the loop takes as many as there may be, and no more.
        for _ in 0..MAX_CLIENTS {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => return log::warn!("a client cannot be taken: {error}"),
            };
            if let Err(error) = check(&stream) {
                log::warn!("a client was sent away: {error}");
                continue;
            }
            if self.clients.len() >= MAX_CLIENTS {
                let longest = self
                    .clients
                    .iter()
                    .filter(|(_, client)| !client.waits)
                    .min_by_key(|(_, client)| client.end);
                match longest.map(|(id, _)| *id) {
                    Some(id) => _ = self.clients.remove(&id),
                    None => continue,
                }
            }
            self.last += 1;
            let client = Client {
                stream,
                frames: Frames::default(),
                out: Vec::new(),
                waits: false,
                last_answer: false,
                end: now + IDLE,
            };
            self.clients.insert(self.last, client);
        }
    }

    /// A client's descriptor is ready. The request that it has made, if it is whole.
    pub(crate) fn ready(&mut self, id: ClientId, now: Instant) -> Option<Command> {
        let client = self.clients.get_mut(&id)?;
        if !client.out.is_empty() {
            if !client.write(now) {
                self.clients.remove(&id);
            }
            return None;
        }
        if client.waits {
            // Nothing was asked for but its end.
            self.clients.remove(&id);
            return None;
        }
        match client.read() {
            Ok(None) => None,
            Ok(Some(bytes)) => {
                client.waits = true;
                client.end = now + SETTLE_LIMIT + IDLE;
                match Request::parse(&bytes) {
                    Ok(command) => Some(command),
                    Err(message) => {
                        self.answer(id, Answer::Error { message }, now);
                        None
                    }
                }
            }
            Err(Some(message)) => {
                client.last_answer = true;
                self.answer(id, Answer::Error { message }, now);
                None
            }
            Err(None) => {
                self.clients.remove(&id);
                None
            }
        }
    }

    /// Answers a client, if it is still there.
    pub(crate) fn answer(&mut self, id: ClientId, answer: Answer, now: Instant) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let bytes = serde_json::to_vec(&Response::from(answer)).unwrap_or_default();
        match frame(&bytes, MAX_RESPONSE) {
            Ok(bytes) => {
                client.out = bytes;
                client.waits = false;
                client.end = now + IDLE;
                if !client.write(now) {
                    self.clients.remove(&id);
                }
            }
            Err(error) => {
                log::error!("an answer does not fit: {error}");
                self.clients.remove(&id);
            }
        }
    }

    /// Drops those who have been silent for too long.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.clients.retain(|_, client| client.end > now);
    }

    /// When the next one will have been silent for too long.
    pub(crate) fn next_end(&self) -> Option<Instant> {
        self.clients.values().map(|client| client.end).min()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The next daemon would remove it as well.
        let _ = fs::remove_file(&self.path);
    }
}

impl Client {
    /// Reads what there is. A whole request; or why the client goes, with words for it if it can
    /// still hear them.
    fn read(&mut self) -> Result<Option<Vec<u8>>, Option<String>> {
        let mut buffer = [0; 4096];
        loop {
            // First: a request may have come together with the one before it.
            match self.frames.next(MAX_REQUEST) {
                Ok(Some(frame)) => return Ok(Some(frame)),
                Ok(None) => {}
                Err(error) => return Err(Some(error.to_string())),
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(None),
                Ok(length) => self.frames.push(buffer.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(None),
            }
        }
    }

    /// Writes what it takes. Whether it stays.
    fn write(&mut self, now: Instant) -> bool {
        while !self.out.is_empty() {
            match self.stream.write(&self.out) {
                Ok(0) => return false,
                Ok(length) => {
                    self.out.drain(..length);
                    self.end = now + IDLE;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        !self.last_answer
    }
}

/// Lets in root, and whoever runs the daemon, which is root but in tests.
pub(crate) fn check(stream: &UnixStream) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    let peer = getsockopt(stream, sockopt::PeerCredentials)?;
    if peer.uid() != 0 && peer.uid() != geteuid().as_raw() {
        return Err(io::Error::other(format!(
            "process {} of user {} is not root",
            peer.pid(),
            peer.uid()
        )));
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "server_tests.rs"]
mod tests;
