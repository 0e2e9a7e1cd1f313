//! Messages of xenstored's, as far as they are in the ring: answers in the order of their requests,
//! and watch events between them.

use super::wire::WATCH_EVENT;
use super::{CONNECTED, CONNECTION, HEADER, Header, Operation, Status, Store, StoreError, Token};

/// The part of a watch event that is kept. The events of this guest's own watches are shorter.
const KEPT: usize = 192;

/// A message whose body is being received.
#[derive(Debug)]
pub(super) struct Incoming {
    event: bool,
    length: usize,
    received: usize,
    /// Its beginning.
    kept: [u8; KEPT],
}

impl Incoming {
    fn new(event: bool, length: usize) -> Incoming {
        Incoming { event, length, received: 0, kept: [0; KEPT] }
    }
}

impl Store {
    /// Takes what is in the ring; no request waits for its answer.
    pub(super) fn take_messages(&mut self) {
        if self.status == Status::Reconnecting && self.page.load_u32(CONNECTION) == CONNECTED {
            self.begin_again();
        }
        if let Status::Works | Status::Silent = self.status {
            // Ends with an error or when there is no more.
            let _ = self.next_answer(None);
        }
    }

    /// The header of the answer to request `wanted`, if that has come. What else there is in the
    /// ring is taken: events, and answers that nobody waits for any more.
    pub(super) fn next_answer(
        &mut self,
        wanted: Option<u32>,
    ) -> Result<Option<Header>, StoreError> {
        loop {
            if !self.take_incoming()? {
                return Ok(None);
            }
            let Ok(queued) = self.answers.queued() else { return Err(self.give_up()) };
            if (queued as usize) < HEADER {
                return Ok(None);
            }
            let mut bytes = [0; HEADER];
            self.take(&mut bytes)?;
            let Some(header) = Header::decode(bytes) else { return Err(self.give_up()) };
            let event = header.kind == WATCH_EVENT;
            if !event {
                // xenstored answers in the order of the requests, and each once.
                if self.outstanding() == 0 || header.request != self.unanswered {
                    return Err(self.give_up());
                }
                self.unanswered = self.unanswered.wrapping_add(1);
                if wanted == Some(header.request) {
                    return Ok(Some(header));
                }
            }
            self.incoming = Some(Incoming::new(event, header.length as usize));
        }
    }

    /// Receives an answer's body of `length` bytes: as much as `buffer` has place for; the rest is
    /// dropped.
    pub(super) fn receive(&mut self, length: usize, buffer: &mut [u8]) -> Result<(), StoreError> {
        let mut received = 0;
        while received < length {
            let mut rest = [0; 64];
            let place = match buffer.get_mut(received..) {
                Some(place) if !place.is_empty() => place,
                _ => &mut rest,
            };
            let most = place.len().min(length - received);
            let taken = self.take(place.get_mut(..most).unwrap_or_default())?;
            received += taken;
            if taken == 0
                && let Err(error) = self.wait_for_more()
            {
                // The rest may come later.
                self.incoming = Some(Incoming::new(false, length - received));
                return Err(error);
            }
        }
        Ok(())
    }

    pub(super) fn receive_error(&mut self, header: Header) -> Result<StoreError, StoreError> {
        let mut name = [0; 7];
        self.receive(header.length as usize, &mut name)?;
        Ok(match &name {
            b"ENOENT\0" => StoreError::NotFound,
            b"EACCES\0" => StoreError::Denied,
            _ => StoreError::Refused,
        })
    }

    /// Goes on with the message that is being received; true if none is.
    fn take_incoming(&mut self) -> Result<bool, StoreError> {
        let Some(mut incoming) = self.incoming.take() else { return Ok(true) };
        while incoming.received < incoming.length {
            let mut rest = [0; 64];
            let place = match incoming.kept.get_mut(incoming.received..) {
                Some(place) if !place.is_empty() => place,
                _ => &mut rest,
            };
            let most = place.len().min(incoming.length - incoming.received);
            let taken = self.take(place.get_mut(..most).unwrap_or_default())?;
            if taken == 0 {
                self.incoming = Some(incoming);
                return Ok(false);
            }
            incoming.received += taken;
        }
        if incoming.event {
            match incoming.kept.get(..incoming.length) {
                Some(body) => self.fire(body),
                // Of nobody's that we know.
                None => self.fire_all(),
            }
        } else if self.status == Status::Silent && self.outstanding() == 0 {
            self.status = Status::Works;
            self.fire_all();
        }
        Ok(true)
    }

    /// Requests that have no answer yet.
    fn outstanding(&self) -> u32 {
        self.request.wrapping_sub(self.unanswered).wrapping_add(1)
    }

    /// A watch fired: remembers it, or ends it if its owner has gone without.
    fn fire(&mut self, body: &[u8]) {
        // A token that is not ours cannot be waited for: nothing is lost.
        let Some((path, token)) = Token::decode(body) else { return };
        if self.tokens.live() & token.bit() != 0 {
            self.fired |= token.bit();
            return;
        }
        // What was watched is the node that changed, or one above it.
        let ends = path.iter().enumerate().rev().filter(|(_, byte)| **byte == b'/');
        for end in core::iter::once(path.len()).chain(ends.map(|(at, _)| at)) {
            let node = path.get(..end).unwrap_or_default();
            // Nobody waits for the answer. With no space for it there will be another event.
            let _ = self.send(Operation::Unwatch, &[node, b"\0", &token.encode(), b"\0"]);
        }
    }

    /// Takes bytes from the ring, as many as there are and `bytes` has place for.
    fn take(&mut self, bytes: &mut [u8]) -> Result<usize, StoreError> {
        let Ok(taken) = self.answers.pop(bytes) else { return Err(self.give_up()) };
        if taken > 0 && self.answers.queued() == Ok(0) {
            // xenstored may be waiting for space.
            self.events.notify(self.port);
        }
        Ok(taken)
    }
}
