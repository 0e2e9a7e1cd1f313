//! A client of Xenstore over the ring that a guest gets at boot (io/xs_wire.h). One request at a
//! time, each blocks until its answer is there; watches are remembered as they fire.
//!
//! Paths are absolute, or relative to the guest's own home (`/local/domain/N`). Transactions are
//! left out: a guest of this runtime writes keys that are its own.
//!
//! # When xenstored does not answer
//! ```text
//!             no answer for PATIENCE                all answers came, however late
//!   works ---------------------------> silent ------------------------------------> works
//!     |                                   requests fail at once
//!     | nonsense, and it can reconnect                          the ring was reset
//!     +--------------------------------> reconnecting ----------------------------> works
//!     | nonsense, and it cannot, or again and again
//!     +--------------------------------> broken
//! ```
//! Neither waits by turning round: what ends both is an event of xenstored's. All watches fire
//! then, since there may have been any number of changes, and after a reset they are made again.
//!
//! `wire` has the messages, `receive` takes them from the ring, `tokens` says whose a watch is.

use core::fmt;
use core::time::Duration;

use crate::Error;
use crate::boot::{Kind, Ring};
use crate::event::{Events, Port, Source, Wake};
use crate::page::SharedPage;
use crate::ring::{Consumer, Layout, Producer};
use crate::window::Fixed;
use receive::Incoming;
use wire::{ERROR, HEADER, Header, Operation};

pub use tokens::Watch;
pub(crate) use tokens::{Claim, TOKENS, Tokens};
pub(crate) use wire::Token;

mod receive;
mod tokens;
mod wire;

const REQUESTS: Layout = Layout::new(0, 1024, 2048, 2052);
const ANSWERS: Layout = Layout::new(1024, 1024, 2056, 2060);

/// The longest body of a request: all of it is put into the ring at once, so that no request is
/// ever there in part.
const MAX_REQUEST: usize = REQUESTS.size() as usize - HEADER;

// struct xenstore_domain_interface in io/xs_wire.h.
const SERVER_FEATURES: usize = 2064;
const CONNECTION: usize = 2068;
/// `XENSTORE_SERVER_FEATURE_RECONNECTION`
const CAN_RECONNECT: u32 = 1;
/// `XENSTORE_CONNECTED`, `XENSTORE_RECONNECT`
const CONNECTED: u32 = 0;
const RECONNECT: u32 = 1;

/// How often a connection is begun anew: a server that breaks the protocol again and again is left
/// alone in the end.
const RECONNECTS: u8 = 8;

/// How long xenstored may take over one step of an exchange, during which this guest does nothing
/// else: generous, since it may be serving thousands of guests on a slow host. An answer that comes
/// later is not lost.
const PATIENCE: Duration = Duration::from_secs(30);

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
    /// The request is longer than the ring.
    TooLong,
    /// The answer has this many bytes, more than the buffer.
    BufferTooSmall(usize),
    /// xenstored does not answer. It may have done what it was asked for, or do it later; all
    /// watches fire when it answers again.
    Silent,
    /// xenstored broke the protocol. If it can begin anew all watches fire then.
    Broken,
    /// There are as many watches as a guest can have.
    NoToken,
}

impl StoreError {
    /// Whether watches fire when it is worth to try again.
    pub(crate) fn is_temporary(self) -> bool {
        matches!(self, StoreError::Silent | StoreError::Broken)
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StoreError::NotFound => "no such node",
            StoreError::Denied => "permission denied",
            StoreError::Refused => "refused",
            StoreError::TooLong => "the request is too long",
            StoreError::BufferTooSmall(length) => {
                return write!(f, "the answer has {length} bytes, more than expected");
            }
            StoreError::Silent => "xenstored does not answer",
            StoreError::Broken => "xenstored broke the protocol",
            StoreError::NoToken => "too many watches",
        })
    }
}

impl core::error::Error for StoreError {}

/// The connection to Xenstore.
#[derive(Debug)]
pub struct Store {
    events: Events,
    port: Port,
    page: SharedPage,
    requests: Producer,
    answers: Consumer,
    tokens: &'static Tokens,
    /// The number of the last request, and of the first that has no answer yet.
    request: u32,
    unanswered: u32,
    /// The message that is being received.
    incoming: Option<Incoming>,
    /// Tokens of watches that have fired and not been asked for, a bit for each.
    fired: u32,
    /// Tokens of watches that this connection does not know.
    lost: u32,
    status: Status,
    reconnects: u8,
}

/// What can be expected of xenstored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Works,
    Silent,
    Reconnecting,
    Broken,
}

impl Store {
    pub(crate) fn open(events: Events, kind: Kind, ring: Ring) -> Result<Store, Error> {
        Ok(Store::new(events, ring.port, Fixed::Plane.map_ring(kind, ring.frame)?, &TOKENS))
    }

    fn new(events: Events, port: Port, page: SharedPage, tokens: &'static Tokens) -> Store {
        Store {
            events,
            port,
            page,
            requests: Producer::new(page, REQUESTS),
            answers: Consumer::new(page, ANSWERS),
            tokens,
            request: 0,
            unanswered: 1,
            incoming: None,
            fired: 0,
            lost: 0,
            status: Status::Works,
            reconnects: RECONNECTS,
        }
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
    pub fn watch(&mut self, path: &'static str) -> Result<Watch, StoreError> {
        let claim = self.claim()?;
        self.watch_for(path, claim.token())?;
        Ok(Watch::new(path, claim))
    }

    /// Whether the watch fired since this was asked last. It tells that something changed, not
    /// what: read the node.
    pub fn take_fired(&mut self, watch: &Watch) -> bool {
        self.take_fired_at(watch.path(), watch.token())
    }

    /// Ends a watch.
    pub fn unwatch(&mut self, watch: Watch) {
        self.unwatch_at(watch.path(), watch.token());
    }

    /// Takes a free token, for which nothing has fired yet.
    pub(crate) fn claim(&mut self) -> Result<Claim, StoreError> {
        let claim = self.tokens.claim()?;
        self.fired &= !claim.token().bit();
        self.lost &= !claim.token().bit();
        Ok(claim)
    }

    /// As `watch`, with a token that the caller keeps. If xenstored cannot be asked at present,
    /// that is made up for by `take_fired_at`.
    pub(crate) fn watch_for(&mut self, path: &str, token: Token) -> Result<(), StoreError> {
        let body: [&[u8]; 4] = [path.as_bytes(), b"\0", &token.encode(), b"\0"];
        let result = self.command(Operation::Watch, &body);
        match result {
            Err(error) if error.is_temporary() => self.lost |= token.bit(),
            _ => self.lost &= !token.bit(),
        }
        result
    }

    /// As `take_fired`. A watch that xenstored does not know (any more) is made again.
    pub(crate) fn take_fired_at(&mut self, path: &str, token: Token) -> bool {
        let fired = self.fired & token.bit() != 0;
        self.fired &= !token.bit();
        if fired && self.lost & token.bit() != 0 {
            // If this fails it fires again when that changes.
            let _ = self.watch_for(path, token);
        }
        fired
    }

    /// Whether the token fired and was not asked for.
    pub(crate) fn has_fired(&self, token: Token) -> bool {
        self.fired & token.bit() != 0
    }

    /// As `unwatch`. What has fired and not been asked for is forgotten.
    pub(crate) fn unwatch_at(&mut self, path: &str, token: Token) {
        let body: [&[u8]; 4] = [path.as_bytes(), b"\0", &token.encode(), b"\0"];
        // What xenstored goes on telling, in whatever case, is ended when it comes (`fire`).
        let _ = self.command(Operation::Unwatch, &body);
        self.fired &= !token.bit();
        self.lost &= !token.bit();
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
        if self.status != Status::Works {
            self.take_messages();
        }
        match self.status {
            Status::Works => {}
            Status::Silent => return Err(StoreError::Silent),
            Status::Reconnecting | Status::Broken => return Err(StoreError::Broken),
        }
        while !self.send(operation, body)? {
            let (requests, before) = (&self.requests, self.requests.queued());
            let wake = self.events.wait_until(self.port, PATIENCE, || requests.queued() != before);
            self.waited(wake)?;
        }
        loop {
            match self.next_answer(Some(self.request))? {
                None => self.wait_for_more()?,
                Some(header) if header.kind == ERROR => return Err(self.receive_error(header)?),
                Some(header) if header.kind == operation as u32 => {
                    let length = header.length as usize;
                    self.receive(length, buffer)?;
                    return if length <= buffer.len() {
                        Ok(length)
                    } else {
                        Err(StoreError::BufferTooSmall(length))
                    };
                }
                Some(_) => return Err(self.give_up()),
            }
        }
    }

    /// Puts a request into the ring and tells xenstored; false if there is no space for all of it.
    fn send(&mut self, operation: Operation, body: &[&[u8]]) -> Result<bool, StoreError> {
        let length: usize = body.iter().map(|part| part.len()).sum();
        if length > MAX_REQUEST {
            return Err(StoreError::TooLong);
        }
        let Ok(queued) = self.requests.queued() else { return Err(self.give_up()) };
        if HEADER + length > (REQUESTS.size() - queued) as usize {
            return Ok(false);
        }
        self.request = self.request.wrapping_add(1);
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        let header = Header { kind: operation as u32, request: self.request, length }.encode();
        for part in [&header[..]].iter().chain(body) {
            // There is space for it; a server that takes that back is found out with the next.
            let _ = self.requests.push(part);
        }
        self.events.notify(self.port);
        Ok(true)
    }

    /// Waits until there is more of an answer in the ring.
    fn wait_for_more(&mut self) -> Result<(), StoreError> {
        let (answers, before) = (&self.answers, self.answers.queued());
        let wake = self.events.wait_until(self.port, PATIENCE, || answers.queued() != before);
        self.waited(wake)
    }

    /// An xenstored that was waited for in vain is silent.
    fn waited(&mut self, wake: Wake) -> Result<(), StoreError> {
        match wake {
            Wake::Ready => Ok(()),
            Wake::TimedOut => {
                self.status = Status::Silent;
                Err(StoreError::Silent)
            }
        }
    }

    /// The protocol is broken: begins anew, if xenstored can do that.
    fn give_up(&mut self) -> StoreError {
        self.status = Status::Broken;
        if self.reconnects > 0 && self.page.load_u32(SERVER_FEATURES) & CAN_RECONNECT != 0 {
            self.reconnects -= 1;
            self.status = Status::Reconnecting;
            self.page.store_u32(CONNECTION, RECONNECT);
            self.events.notify(self.port);
        }
        StoreError::Broken
    }

    /// The ring was reset: begins anew with it.
    fn begin_again(&mut self) {
        self.requests = Producer::new(self.page, REQUESTS);
        self.answers = Consumer::new(self.page, ANSWERS);
        self.unanswered = self.request.wrapping_add(1);
        self.incoming = None;
        self.lost = self.tokens.live();
        self.status = Status::Works;
        self.fire_all();
    }

    /// What there may be to know is not known: everybody looks.
    fn fire_all(&mut self) {
        self.fired |= self.tokens.live();
    }
}

impl Source for Store {
    fn port(&self) -> Option<Port> {
        Some(self.port)
    }

    /// Takes the events that are in the ring. Ready while a watch that fired has not been asked
    /// for.
    fn ready(&mut self) -> bool {
        self.take_messages();
        self.fired & self.tokens.live() != 0
    }
}

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;
