//! Frames in: the ring of `netif_rx_request` and `netif_rx_response`.

use super::{FRAME, Pages, RECEIVE, SLOTS};
use crate::channel::Channel;
use crate::front_ring::{BadBackend, FrontRing};
use crate::page::{PAGE, SharedPage};
use crate::slots::{Slot, Slots};

/// Bytes of a `struct netif_rx_request`: id, padding, grant reference; and of a `struct
/// netif_rx_response`: id, offset, flags, status.
const ENTRY: usize = 8;

const MORE_DATA: u16 = 1 << 2;
const EXTRA_INFO: u16 = 1 << 3;

#[derive(Debug)]
pub(super) struct Receive {
    ring: FrontRing<ENTRY>,
    slots: Slots<SLOTS>,
    /// What comes next belongs to a frame that we do not take.
    skipping: bool,
}

impl Receive {
    pub(super) fn new(page: SharedPage) -> Receive {
        Receive { ring: FrontRing::new(page), slots: Slots::default(), skipping: false }
    }

    /// Hands all buffers to the backend, before it looks at the ring for the first time.
    pub(super) fn post_all(&mut self, pages: &Pages) -> Result<(), BadBackend> {
        while let Some(slot) = self.slots.take() {
            self.post(pages, slot)?;
        }
        // It is told by Xenstore.
        let _ = self.ring.publish();
        Ok(())
    }

    /// Asks to be told about the next frame. True if there is one already.
    pub(super) fn arm(&mut self) -> Result<bool, BadBackend> {
        self.ring.arm()
    }

    /// Copies the next frame into `frame` and tells its length. Its buffer goes back to the
    /// backend.
    pub(super) fn take(
        &mut self,
        pages: &Pages,
        channel: &Channel,
        frame: &mut [u8; FRAME],
    ) -> Result<Option<usize>, BadBackend> {
        while let Some(response) = self.ring.pop::<ENTRY>()? {
            let response = Response::decode(response);
            let slot = self.slots.give_back(response.id).ok_or(BadBackend)?;
            let found = response.frame()?;
            let length = found.filter(|_| !self.skipping && response.flags & MORE_DATA == 0).map(
                |(offset, length)| {
                    pages.page(buffer(slot)).read(offset, &mut frame[..length]);
                    length
                },
            );
            self.skipping = response.flags & MORE_DATA != 0;
            self.slots.take().map_or(Ok(()), |slot| self.post(pages, slot))?;
            if self.ring.publish() {
                channel.notify();
            }
            if length.is_some() {
                return Ok(length);
            }
        }
        Ok(None)
    }

    fn post(&mut self, pages: &Pages, slot: Slot) -> Result<(), BadBackend> {
        let mut request = [0; ENTRY];
        request[..2].copy_from_slice(&slot.id().to_le_bytes());
        request[4..].copy_from_slice(&pages.reference(buffer(slot)).number().to_le_bytes());
        self.ring.push(&request)
    }
}

fn buffer(slot: Slot) -> usize {
    RECEIVE + 1 + slot.index()
}

/// A `struct netif_rx_response`.
#[derive(Clone, Copy, Debug)]
struct Response {
    id: u16,
    offset: u16,
    flags: u16,
    status: i16,
}

impl Response {
    fn decode(bytes: [u8; ENTRY]) -> Response {
        let [a, b, c, d, e, f, g, h] = bytes;
        Response {
            id: u16::from_le_bytes([a, b]),
            offset: u16::from_le_bytes([c, d]),
            flags: u16::from_le_bytes([e, f]),
            status: i16::from_le_bytes([g, h]),
        }
    }

    /// Offset and length of the data. None if there is none, or more than a frame can have, which
    /// only the first part of a frame that we do not take has.
    fn frame(self) -> Result<Option<(usize, usize)>, BadBackend> {
        // We asked for nothing that would come with extra information, and could not skip it: it
        // looks like no response.
        if self.flags & EXTRA_INFO != 0 {
            return Err(BadBackend);
        }
        let Ok(length) = usize::try_from(self.status) else { return Ok(None) };
        let offset = usize::from(self.offset);
        if offset + length > PAGE {
            return Err(BadBackend);
        }
        Ok((length > 0 && length <= FRAME).then_some((offset, length)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn frames_are_inside_of_their_page() {
        let frame = |offset, flags, status| Response { id: 0, offset, flags, status }.frame();
        assert_eq!(frame(2, 0, 60), Ok(Some((2, 60))));
        assert_eq!(frame(4036, 0, 60), Ok(Some((4036, 60))));
        assert_eq!(frame(4037, 0, 60), Err(BadBackend));
        assert_eq!(frame(0, 0, 0), Ok(None));
        assert_eq!(frame(0, 0, -1), Ok(None));
        assert_eq!(frame(0, 0, 1515), Ok(None));
        assert_eq!(frame(0, EXTRA_INFO, 60), Err(BadBackend));
    }

    proptest! {
        #[test]
        fn any_response_stays_within_bounds(bytes: [u8; ENTRY]) {
            if let Ok(Some((offset, length))) = Response::decode(bytes).frame() {
                prop_assert!(offset + length <= PAGE && length <= FRAME);
            }
        }
    }
}
