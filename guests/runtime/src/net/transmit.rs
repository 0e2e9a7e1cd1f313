//! Frames out: the ring of `netif_tx_request` and `netif_tx_response`.

use super::{Pages, TRANSMIT};
use crate::channel::Channel;
use crate::front_ring::{BadBackend, FrontRing};
use crate::page::SharedPage;
use crate::slots::Slots;

/// Bytes of a `struct netif_tx_request`: grant reference, offset, flags, id, size; and of a `struct
/// netif_tx_response`: id, status.
const REQUEST: usize = 12;
const RESPONSE: usize = 4;

#[derive(Debug)]
pub(super) struct Transmit {
    ring: FrontRing<REQUEST>,
    slots: Slots,
}

impl Transmit {
    pub(super) fn new(page: SharedPage) -> Transmit {
        Transmit { ring: FrontRing::new(page), slots: Slots::default() }
    }

    /// Takes back the buffers that the backend has done with. True if one is free. Whether a frame
    /// was sent or dropped is no matter to us.
    pub(super) fn collect(&mut self) -> Result<bool, BadBackend> {
        while let Some([low, high, _, _]) = self.ring.pop::<RESPONSE>()? {
            self.slots.give_back(u16::from_le_bytes([low, high])).ok_or(BadBackend)?;
        }
        Ok(!self.slots.is_full())
    }

    /// Asks to be told about the next buffer. True if there is one already.
    pub(super) fn arm(&mut self) -> Result<bool, BadBackend> {
        self.ring.arm()
    }

    /// Sends a frame of one page at most; dropped if no buffer is free, which `collect` tells
    /// before.
    pub(super) fn send(
        &mut self,
        pages: &Pages,
        channel: &Channel,
        frame: &[u8],
    ) -> Result<(), BadBackend> {
        let Some(slot) = self.slots.take() else { return Ok(()) };
        let buffer = TRANSMIT + 1 + slot.index();
        pages.page(buffer).write(0, frame);
        let size = u16::try_from(frame.len()).map_err(|_| BadBackend)?;
        self.ring.push(&request(pages.reference(buffer).number(), slot.id(), size))?;
        if self.ring.publish() {
            channel.notify();
        }
        Ok(())
    }
}

/// Offset and flags stay 0: the frame begins its page, is whole, and has its checksums.
fn request(reference: u32, id: u16, size: u16) -> [u8; REQUEST] {
    let mut request = [0; REQUEST];
    request[..4].copy_from_slice(&reference.to_le_bytes());
    request[8..10].copy_from_slice(&id.to_le_bytes());
    request[10..].copy_from_slice(&size.to_le_bytes());
    request
}
