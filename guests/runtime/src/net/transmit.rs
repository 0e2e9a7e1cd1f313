//! Frames out: the ring of `netif_tx_request` and `netif_tx_response`.

use super::{IN_PAGE, Pages, SLOTS, TRANSMIT};
use crate::channel::Channel;
use crate::front_ring::{BadBackend, FrontRing};
use crate::page::{PAGE, SharedPage};
use crate::slots::{Slot, Slots};

/// Bytes of a `struct netif_tx_request`: grant reference, offset, flags, id, size; and of a `struct
/// netif_tx_response`: id, status.
const REQUEST: usize = 12;
const RESPONSE: usize = 4;

#[derive(Debug)]
pub(super) struct Transmit {
    ring: FrontRing<REQUEST>,
    slots: Slots<SLOTS>,
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

    /// Sends a frame of `FRAME` bytes at most; dropped if no buffer is free, which `collect` tells
    /// before.
    pub(super) fn send(
        &mut self,
        pages: &Pages,
        channel: &Channel,
        frame: &[u8],
    ) -> Result<(), BadBackend> {
        let Some(slot) = self.slots.take() else { return Ok(()) };
        let (page, offset) = buffer(slot);
        pages.page(page).write(usize::from(offset), frame);
        let size = u16::try_from(frame.len()).map_err(|_| BadBackend)?;
        self.ring.push(&request(pages.reference(page).number(), offset, slot.id(), size))?;
        if self.ring.publish() {
            channel.notify();
        }
        Ok(())
    }
}

/// The page of a buffer, and its offset there.
fn buffer(slot: Slot) -> (usize, u16) {
    const _: () = assert!(IN_PAGE == 2);
    let half = slot.id() % 2;
    (TRANSMIT + 1 + slot.index() / 2, half * HALF_PAGE)
}

const HALF_PAGE: u16 = 2048;
const _: () = assert!(HALF_PAGE as usize * 2 == PAGE);

/// Flags stay 0: the frame is whole, and has its checksums.
fn request(reference: u32, offset: u16, id: u16, size: u16) -> [u8; REQUEST] {
    let mut request = [0; REQUEST];
    request[..4].copy_from_slice(&reference.to_le_bytes());
    request[4..6].copy_from_slice(&offset.to_le_bytes());
    request[8..10].copy_from_slice(&id.to_le_bytes());
    request[10..].copy_from_slice(&size.to_le_bytes());
    request
}
