//! `struct blkif_request` and `struct blkif_response`, as on 64-bit x86.

use super::{DiskError, SECTOR, SEGMENTS};
use crate::grant::GrantRef;
use crate::page::PAGE;
use crate::plane::DeviceId;

/// Bytes of a request: operation, number of segments, disk, id, first sector, segments.
pub(super) const REQUEST: usize = 24 + MOST_SEGMENTS * SEGMENT;
/// `BLKIF_MAX_SEGMENTS_PER_REQUEST`
pub(super) const MOST_SEGMENTS: usize = 11;
/// Bytes of a segment: grant reference, first and last sector in the page.
const SEGMENT: usize = 8;
/// Bytes of a response: id, operation, status.
pub(super) const RESPONSE: usize = 16;

/// `BLKIF_OP_*`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Read = 0,
    Write = 1,
    Flush = 3,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) operation: Operation,
    pub(super) disk: DeviceId,
    pub(super) id: u64,
    pub(super) sector: u64,
    /// Bytes: whole sectors, no more than `MOST_BYTES`.
    pub(super) length: usize,
}

impl Request {
    pub(super) const MOST_BYTES: usize = SEGMENTS * PAGE;
    pub(super) const MOST_SECTORS: usize = Request::MOST_BYTES / SECTOR;

    /// As it stands in the ring; `reference` names the page of a segment.
    pub(super) fn encode(&self, reference: impl Fn(usize) -> GrantRef) -> [u8; REQUEST] {
        let mut request = [0; REQUEST];
        let (head, segments) = request.split_at_mut(24);
        let (segments, _) = segments.as_chunks_mut::<SEGMENT>();
        const IN_PAGE: usize = PAGE / SECTOR;
        let sectors = self.length / SECTOR;
        let count = sectors.div_ceil(IN_PAGE);
        for (index, segment) in segments.iter_mut().enumerate().take(count) {
            segment[..4].copy_from_slice(&reference(index).number().to_le_bytes());
            segment[5] = low((sectors - index * IN_PAGE).min(IN_PAGE) - 1);
        }
        head[0] = self.operation as u8;
        head[1] = low(count);
        // `blkif_vdev_t` has 16 bits. Backends have one disk a ring and do not look at it.
        head[2..4].copy_from_slice(&self.disk.number().to_le_bytes()[..2]);
        head[8..16].copy_from_slice(&self.id.to_le_bytes());
        head[16..].copy_from_slice(&self.sector.to_le_bytes());
        request
    }
}

#[expect(clippy::cast_possible_truncation, reason = "counts of sectors in a page and of segments")]
fn low(number: usize) -> u8 {
    number as u8
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Response {
    id: u64,
    status: i16,
}

impl Response {
    pub(super) fn decode(bytes: [u8; RESPONSE]) -> Response {
        let [a, b, c, d, e, f, g, h, _operation, _, low, high, ..] = bytes;
        Response {
            id: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            status: i16::from_le_bytes([low, high]),
        }
    }

    /// What became of `request`, the only one that there is.
    pub(super) fn check(self, request: &Request) -> Result<(), DiskError> {
        const NOT_SUPPORTED: i16 = -2;
        if self.id != request.id {
            return Err(DiskError::Backend);
        }
        match self.status {
            0 => Ok(()),
            NOT_SUPPORTED => Err(DiskError::Unsupported),
            _ => Err(DiskError::Failed),
        }
    }
}
