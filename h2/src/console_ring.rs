//! The console ring of a guest (xen/include/public/io/console.h), for whoever serves it:
//! xenconsoled for guests with Xenstore, and for the others the program that opens a
//! [`GuestConsole`].
//!
//! ```text
//!   guest --out_prod--> out: 2048 bytes --out_cons--> us        counters that run on, positions are their remainders
//!   guest <--in_cons--- in:  1024 bytes <--in_prod--- us
//! ```
//!
//! Each end writes two of the four counters and can write them all. So ours are kept in private
//! memory, the guest's are read once, and whatever they say, the positions lie within the rings and
//! no more bytes are read or written than those have.

use std::os::fd::{AsFd, BorrowedFd};

use crate::error::{CallError, Error};
use crate::hypervisor::Hypervisor;
use crate::id::{DomId, Gfn};
use crate::raw::evtchn::EventChannel;
use crate::raw::ring::{Access, Mapping};

/// Where things are in the page.
pub(crate) mod at {
    pub(crate) const IN: usize = 0;
    pub(crate) const OUT: usize = 1024;
    pub(crate) const IN_CONSUMED: usize = 3072;
    pub(crate) const IN_PRODUCED: usize = 3076;
    pub(crate) const OUT_CONSUMED: usize = 3080;
    pub(crate) const OUT_PRODUCED: usize = 3084;
}

const IN_SIZE: u32 = 1024;
const OUT_SIZE: u32 = 2048;

/// A page that the guest can write at any time: each access is one read or write.
pub(crate) trait RingPage {
    /// A counter; what the guest wrote before it is visible to what is read after it.
    fn index(&self, offset: usize) -> u32;
    /// Sets a counter after all that was read or written before.
    fn set_index(&self, offset: usize, index: u32);
    fn byte(&self, offset: usize) -> u8;
    fn set_byte(&self, offset: usize, byte: u8);
}

/// What the guest printed last, as much of it as the ring still holds, read by others or not.
pub(crate) fn last_output(domain: DomId, frame: Gfn) -> Result<Vec<u8>, CallError> {
    Ok(held(&Mapping::new(domain, frame, Access::Read)?))
}

fn held(page: &impl RingPage) -> Vec<u8> {
    // The counter is of all bytes that were ever printed.
    let printed = page.index(at::OUT_PRODUCED);
    copy(page, printed.wrapping_sub(printed.min(OUT_SIZE)), printed)
}

/// The output from one count to another, at most as many bytes as the ring has.
fn copy(page: &impl RingPage, from: u32, to: u32) -> Vec<u8> {
    let count = to.wrapping_sub(from).min(OUT_SIZE);
    let position = |index: u32| at::OUT + (from.wrapping_add(index) % OUT_SIZE) as usize;
    (0..count).map(|index| page.byte(position(index))).collect()
}

/// Our end of a ring.
#[derive(Debug)]
struct Ring<P> {
    page: P,
    out_consumed: u32,
    in_produced: u32,
}

impl<P: RingPage> Ring<P> {
    /// Goes on where the last one who served it has stopped.
    fn new(page: P) -> Self {
        let (out_consumed, in_produced) =
            (page.index(at::OUT_CONSUMED), page.index(at::IN_PRODUCED));
        Self { page, out_consumed, in_produced }
    }

    /// Takes all output that is there.
    fn read(&mut self) -> Vec<u8> {
        let produced = self.page.index(at::OUT_PRODUCED);
        // A guest that claims more than fits has its counters wrong: it gets its ring emptied, and
        // nobody waits for it.
        let waiting = produced.wrapping_sub(self.out_consumed).min(OUT_SIZE);
        if waiting == 0 {
            return Vec::new();
        }
        let bytes = copy(&self.page, produced.wrapping_sub(waiting), produced);
        self.out_consumed = produced;
        self.page.set_index(at::OUT_CONSUMED, produced);
        bytes
    }

    /// Puts in what there is room for, and says how much that was.
    fn write(&mut self, bytes: &[u8]) -> usize {
        let waiting = self.in_produced.wrapping_sub(self.page.index(at::IN_CONSUMED));
        // A guest that claims to have read what was never sent has no room.
        let room = IN_SIZE.saturating_sub(waiting) as usize;
        let taken = bytes.iter().take(room);
        let mut written = 0;
        for &byte in taken {
            self.page.set_byte(at::IN + (self.in_produced % IN_SIZE) as usize, byte);
            self.in_produced = self.in_produced.wrapping_add(1);
            written += 1;
        }
        if written > 0 {
            self.page.set_index(at::IN_PRODUCED, self.in_produced);
        }
        written
    }
}

/// The console of a guest without Xenstore, as the one program has it that serves it. The page of
/// the guest stays mapped, and so a domain that was destroyed is not gone, until this is dropped.
#[derive(Debug)]
pub struct GuestConsole {
    domain: DomId,
    ring: Ring<Mapping>,
    channel: EventChannel,
}

impl GuestConsole {
    /// Maps the ring and binds to its event channel. What the guest has printed before can be read
    /// at once, without an event.
    ///
    /// # Errors
    /// [`Error::NoSuchDomain`] if it is gone, [`Error::WrongState`] if this library has not made it
    /// as a guest without Xenstore, [`Error::Call`] if the page cannot be mapped
    /// (`xenforeignmemory_map`) or the port not be bound (`xenevtchn_bind_interdomain`), as
    /// when another program serves it.
    pub fn open(hypervisor: &Hypervisor, domain: DomId) -> Result<Self, Error> {
        let place = hypervisor.domain(domain)?.console_place()?.ok_or_else(|| {
            Error::WrongState(format!(
                "domain {domain} is no guest of ours whose console is to be served here"
            ))
        })?;
        let page = Mapping::new(domain, place.frame, Access::ReadWrite)?;
        let channel = EventChannel::bind(domain, place.port)
            .map_err(|source| CallError::new("xenevtchn_bind_interdomain", Some(domain), source))?;
        Ok(Self { domain, ring: Ring::new(page), channel })
    }

    /// The guest.
    #[must_use]
    pub fn domain(&self) -> DomId {
        self.domain
    }

    /// Takes what the guest has printed and nobody has taken yet: at most 2 KiB, perhaps nothing.
    ///
    /// # Errors
    /// [`Error::Call`] if the guest cannot be told (`xenevtchn_notify`); what was read is lost
    /// then.
    pub fn read(&mut self) -> Result<Vec<u8>, Error> {
        let bytes = self.ring.read();
        if !bytes.is_empty() {
            self.notify()?;
        }
        Ok(bytes)
    }

    /// Gives the guest input, as much of it as there is room for: at most 1 KiB. Says how many
    /// bytes it has taken; when it has read some of them, an event comes.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn write(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        let written = self.ring.write(bytes);
        if written > 0 {
            self.notify()?;
        }
        Ok(written)
    }

    /// Takes the event that made [`descriptor`](Self::descriptor) readable, and says whether there
    /// was one: call it first, then [`read`](Self::read). Until it is called no further event
    /// comes: whoever has had enough of a guest that sends too many waits a while with it.
    ///
    /// # Errors
    /// [`Error::Call`] if the event channel fails (`xenevtchn_pending`, `xenevtchn_unmask`).
    pub fn acknowledge(&mut self) -> Result<bool, Error> {
        let failed = |source| CallError::new("xenevtchn_pending", Some(self.domain), source);
        Ok(self.channel.acknowledge().map_err(failed)?)
    }

    /// What becomes readable when the guest has printed or read something, for poll(2).
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }

    fn notify(&self) -> Result<(), Error> {
        let failed = |source| CallError::new("xenevtchn_notify", Some(self.domain), source);
        Ok(self.channel.notify().map_err(failed)?)
    }
}

impl AsFd for GuestConsole {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor()
    }
}

#[cfg(test)]
#[path = "console_ring_tests.rs"]
mod tests;
