//! The frontend's end of a shared ring of requests and responses (io/ring.h).
//!
//! ```text
//!   offset 0  req_prod   4  req_event   8  rsp_prod   12  rsp_event   64  entries, each a request or its response
//! ```
//! Counters grow modulo 2^32. Ours are kept here and never read back; the backend's is checked on
//! each use: there are never more responses than requests. Each end tells the other at which
//! counter it wants an event.

use core::sync::atomic::{Ordering, fence};

use crate::page::{PAGE, SharedPage};

const REQUESTS: usize = 0;
const REQUEST_EVENT: usize = 4;
const RESPONSES: usize = 8;
const RESPONSE_EVENT: usize = 12;
const ENTRIES: usize = 64;

/// The backend broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadBackend;

/// A ring whose requests have `REQUEST` bytes and whose responses have no more.
#[derive(Debug)]
pub(crate) struct FrontRing<const REQUEST: usize> {
    page: SharedPage,
    /// Requests made, and of those the ones that the backend may see.
    requests: u32,
    published: u32,
    /// Responses taken.
    responses: u32,
}

impl<const REQUEST: usize> FrontRing<REQUEST> {
    /// The entries of the ring: as many as there is space for, a power of two.
    pub(crate) const SIZE: u32 = 1 << ((PAGE - ENTRIES) / REQUEST).ilog2();

    /// An empty ring in a page that nobody uses yet.
    pub(crate) fn new(page: SharedPage) -> Self {
        page.clear();
        page.store_u32(REQUEST_EVENT, 1);
        page.store_u32(RESPONSE_EVENT, 1);
        FrontRing { page, requests: 0, published: 0, responses: 0 }
    }

    /// Makes a request. There must be an entry for it: no more than `SIZE` without a response.
    pub(crate) fn push(&mut self, request: &[u8; REQUEST]) -> Result<(), BadBackend> {
        if self.requests.wrapping_sub(self.responses) >= Self::SIZE {
            return Err(BadBackend);
        }
        self.page.write(Self::entry(self.requests), request);
        self.requests = self.requests.wrapping_add(1);
        Ok(())
    }

    /// Shows the backend the requests that were made. True if it wants an event for that.
    #[must_use = "the backend may sleep until it is told"]
    pub(crate) fn publish(&mut self) -> bool {
        let fresh = self.requests.wrapping_sub(self.published);
        self.page.store_u32(REQUESTS, self.requests);
        self.published = self.requests;
        // The backend sees the requests before we see where it wants an event.
        fence(Ordering::SeqCst);
        self.requests.wrapping_sub(self.page.load_u32(REQUEST_EVENT)) < fresh
    }

    /// Takes a response, its first `RESPONSE` bytes.
    pub(crate) fn pop<const RESPONSE: usize>(
        &mut self,
    ) -> Result<Option<[u8; RESPONSE]>, BadBackend> {
        const { assert!(RESPONSE <= REQUEST) };
        if self.waiting()? == 0 {
            return Ok(None);
        }
        let mut response = [0; RESPONSE];
        self.page.read(Self::entry(self.responses), &mut response);
        self.responses = self.responses.wrapping_add(1);
        Ok(Some(response))
    }

    /// Asks for an event with the next response. True if there is one already.
    pub(crate) fn arm(&mut self) -> Result<bool, BadBackend> {
        if self.waiting()? > 0 {
            return Ok(true);
        }
        self.page.store_u32(RESPONSE_EVENT, self.responses.wrapping_add(1));
        // The backend sees where we want an event before we see that there is nothing yet.
        fence(Ordering::SeqCst);
        Ok(self.waiting()? > 0)
    }

    /// Responses that wait for us.
    fn waiting(&self) -> Result<u32, BadBackend> {
        let waiting = self.page.load_u32(RESPONSES).wrapping_sub(self.responses);
        let owed = self.published.wrapping_sub(self.responses);
        if waiting <= owed { Ok(waiting) } else { Err(BadBackend) }
    }

    fn entry(index: u32) -> usize {
        ENTRIES + (index & (Self::SIZE - 1)) as usize * REQUEST
    }
}

#[cfg(test)]
#[path = "front_ring_tests.rs"]
mod tests;
