//! A client of Xenstore over the ring that a guest gets at boot (io/xs_wire.h). One request at a
//! time, each blocks until its answer is there; watches are remembered as they fire.
//!
//! Paths are absolute, or relative to the guest's own home (`/local/domain/N`). Transactions are
//! left out: a guest of this runtime writes keys that are its own.

use core::time::Duration;

use crate::Error;
use crate::boot::{Kind, Ring};
use crate::event::{Events, Port, Source, Wake};
use crate::ring::{Consumer, Layout, Producer};
use crate::window::Fixed;
use wire::{ERROR, HEADER, Header, MAX_BODY, Operation, WATCH_EVENT};

pub use wire::Token;

mod wire;

const REQUESTS: Layout = Layout::new(0, 1024, 2048, 2052);
const ANSWERS: Layout = Layout::new(1024, 1024, 2056, 2060);

/// How long xenstored may take over one step of an exchange: generous, since it may be serving
/// thousands of guests on a slow host, but an end.
const PATIENCE: Duration = Duration::from_secs(120);

/// Why a request got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreError {
    /// ENOENT: no such node.
    NotFound,
    /// EACCES: not this guest's to touch.
    Denied,
    /// Another error of xenstored's.
    Refused,
    /// The request is longer than the protocol allows.
    TooLong,
    /// The answer has this many bytes, more than the buffer.
    BufferTooSmall(usize),
    /// xenstored broke the protocol or fell silent, now or earlier: this client is of no more use.
    Broken,
}

/// The connection to Xenstore.
#[derive(Debug)]
pub struct Store {
    events: Events,
    port: Port,
    requests: Producer,
    answers: Consumer,
    request: u32,
    /// Watches that have fired and not been asked for, a bit for each token.
    fired: u32,
    broken: bool,
}

impl Store {
    pub(crate) fn open(events: Events, kind: Kind, ring: Ring) -> Result<Store, Error> {
        let page = Fixed::Plane.map_ring(kind, ring.frame)?;
        let (requests, answers) = (Producer::new(page, REQUESTS), Consumer::new(page, ANSWERS));
        Ok(Store {
            events,
            port: ring.port,
            requests,
            answers,
            request: 0,
            fired: 0,
            broken: false,
        })
    }

    /// Reads a node's value into `buffer`.
    pub fn read<'b>(&mut self, path: &str, buffer: &'b mut [u8]) -> Result<&'b [u8], StoreError> {
        let length = self.exchange(Operation::Read, &[path.as_bytes(), b"\0"], buffer)?;
        Ok(buffer.get(..length).unwrap_or_default())
    }

    /// Lists a node's children: their names, each with a zero byte after it.
    pub fn directory<'b>(
        &mut self,
        path: &str,
        buffer: &'b mut [u8],
    ) -> Result<&'b [u8], StoreError> {
        let length = self.exchange(Operation::Directory, &[path.as_bytes(), b"\0"], buffer)?;
        Ok(buffer.get(..length).unwrap_or_default())
    }

    /// Sets a node's value; makes the node if need be.
    pub fn write(&mut self, path: &str, value: &[u8]) -> Result<(), StoreError> {
        self.command(Operation::Write, &[path.as_bytes(), b"\0", value])
    }

    /// Removes a node and all below it.
    pub fn remove(&mut self, path: &str) -> Result<(), StoreError> {
        self.command(Operation::Remove, &[path.as_bytes(), b"\0"])
    }

    /// Watches a node and all below it. The watch fires at once, and then with each change.
    pub fn watch(&mut self, path: &str, token: Token) -> Result<(), StoreError> {
        self.command(Operation::Watch, &[path.as_bytes(), b"\0", &token.encode(), b"\0"])
    }

    /// Ends a watch.
    pub fn unwatch(&mut self, path: &str, token: Token) -> Result<(), StoreError> {
        self.command(Operation::Unwatch, &[path.as_bytes(), b"\0", &token.encode(), b"\0"])
    }

    /// Whether the watch fired since this was asked last. It tells that something changed, not
    /// what: read the node.
    pub fn take_fired(&mut self, token: Token) -> bool {
        let fired = self.fired & token.bit() != 0;
        self.fired &= !token.bit();
        fired
    }

    fn command(&mut self, operation: Operation, body: &[&[u8]]) -> Result<(), StoreError> {
        match self.exchange(operation, body, &mut []) {
            // The answer is "OK": nothing that anyone needs.
            Ok(_) | Err(StoreError::BufferTooSmall(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Sends a request and receives its answer into `buffer`.
    fn exchange(
        &mut self,
        operation: Operation,
        body: &[&[u8]],
        buffer: &mut [u8],
    ) -> Result<usize, StoreError> {
        let length: usize = body.iter().map(|part| part.len()).sum();
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        if length as usize > MAX_BODY {
            return Err(StoreError::TooLong);
        }
        if self.broken {
            return Err(StoreError::Broken);
        }
        self.request = self.request.wrapping_add(1);
        let header = Header { kind: operation as u32, request: self.request, length };
        self.send(&header.encode())?;
        for part in body {
            self.send(part)?;
        }
        self.events.notify(self.port);
        loop {
            let header = self.receive_header()?;
            if header.kind == WATCH_EVENT {
                self.receive_watch_event(header)?;
            } else if header.request != self.request {
                return Err(self.give_up());
            } else if header.kind == ERROR {
                return Err(self.receive_error(header)?);
            } else if header.kind == operation as u32 {
                return self.receive_answer(header, buffer);
            } else {
                return Err(self.give_up());
            }
        }
    }

    fn receive_header(&mut self) -> Result<Header, StoreError> {
        let mut bytes = [0; HEADER];
        self.receive(&mut bytes)?;
        Header::decode(bytes).ok_or_else(|| self.give_up())
    }

    fn receive_answer(&mut self, header: Header, buffer: &mut [u8]) -> Result<usize, StoreError> {
        let length = header.length as usize;
        let Some(buffer) = buffer.get_mut(..length) else {
            self.receive_tail(header.length)?;
            return Err(StoreError::BufferTooSmall(length));
        };
        self.receive(buffer)?;
        Ok(length)
    }

    fn receive_error(&mut self, header: Header) -> Result<StoreError, StoreError> {
        // The names that matter are told apart by their last letters: "ENOENT\0", "EACCES\0".
        Ok(match &self.receive_tail(header.length)? {
            b"ENT\0" => StoreError::NotFound,
            b"CES\0" => StoreError::Denied,
            _ => StoreError::Refused,
        })
    }

    fn receive_watch_event(&mut self, header: Header) -> Result<(), StoreError> {
        let tail = self.receive_tail(header.length)?;
        // A token that is not ours cannot be waited for: nothing is lost.
        self.fired |= Token::decode(tail).map_or(0, Token::bit);
        Ok(())
    }

    /// Receives `length` bytes, of which the last four are kept.
    fn receive_tail(&mut self, length: u32) -> Result<[u8; 4], StoreError> {
        let mut tail = [0; 4];
        let mut byte = [0];
        for _ in 0..length {
            self.receive(&mut byte)?;
            tail.rotate_left(1);
            tail[3] = byte[0];
        }
        Ok(tail)
    }

    /// Puts bytes into the ring; blocks while it is full. The caller tells xenstored when the
    /// request is complete.
    fn send(&mut self, mut bytes: &[u8]) -> Result<(), StoreError> {
        while !bytes.is_empty() {
            let Ok(done) = self.requests.push(bytes) else {
                return Err(self.give_up());
            };
            bytes = bytes.get(done..).unwrap_or_default();
            if bytes.is_empty() {
                break;
            }
            self.events.notify(self.port);
            let requests = &self.requests;
            if !wait(self.events, self.port, || requests.queued() != Ok(REQUESTS.size())) {
                return Err(self.give_up());
            }
        }
        Ok(())
    }

    fn receive(&mut self, mut bytes: &mut [u8]) -> Result<(), StoreError> {
        while !bytes.is_empty() {
            let Ok(done) = self.answers.pop(bytes) else { return Err(self.give_up()) };
            bytes = bytes.get_mut(done..).unwrap_or_default();
            if done > 0 && self.answers.queued() == Ok(0) {
                // xenstored may be waiting for space.
                self.events.notify(self.port);
            }
            let answers = &self.answers;
            let news = || answers.queued() != Ok(0);
            if !bytes.is_empty() && !wait(self.events, self.port, news) {
                return Err(self.give_up());
            }
        }
        Ok(())
    }

    fn give_up(&mut self) -> StoreError {
        self.broken = true;
        StoreError::Broken
    }
}

/// Waits until `done`, or says no after `PATIENCE`.
fn wait(events: Events, port: Port, done: impl FnMut() -> bool) -> bool {
    events.wait_until(port, PATIENCE, done) == Wake::Ready
}

impl Source for Store {
    fn port(&self) -> Option<Port> {
        Some(self.port)
    }

    /// Takes the events that are in the ring. Ready while a watch that fired has not been asked
    /// for.
    fn ready(&mut self) -> bool {
        while !self.broken && self.answers.queued() != Ok(0) {
            match self.receive_header() {
                Ok(header) if header.kind == WATCH_EVENT => {
                    let _ = self.receive_watch_event(header);
                }
                // No request is under way.
                _ => _ = self.give_up(),
            }
        }
        self.fired != 0
    }
}

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;
