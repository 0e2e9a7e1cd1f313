//! Byte rings: the layout that the console and Xenstore share (io/console.h, io/xs_wire.h).
//!
//! Two counters that only grow, modulo 2^32, one written by each end, and a power of two of bytes.
//! Our own counter is kept here and never read back from the page; the peer's is checked on each
//! use.

use crate::page::{PAGE, SharedPage};

/// Where in its page a ring lies. Offsets in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    data: usize,
    size: u32,
    consumer: usize,
    producer: usize,
}

impl Layout {
    /// # Panics
    /// At compile time: the size is a power of two, and all of it is in the page.
    pub(crate) const fn new(data: usize, size: u32, consumer: usize, producer: usize) -> Self {
        assert!(size.is_power_of_two() && data + size as usize <= PAGE);
        assert!(consumer + 4 <= PAGE && producer + 4 <= PAGE);
        Layout { data, size, consumer, producer }
    }

    /// Bytes that the ring holds when it is full.
    pub(crate) const fn size(&self) -> u32 {
        self.size
    }

    /// The two pieces, offset in the page and length, that `length` bytes from `index` on occupy.
    fn pieces(&self, index: u32, length: usize) -> [(usize, usize); 2] {
        let start = (index & (self.size - 1)) as usize;
        let first = length.min(self.size as usize - start);
        [(self.data + start, first), (self.data, length - first)]
    }
}

/// The peer's counter is impossible: more bytes than the ring holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadIndex;

/// Our end of a ring that we write.
#[derive(Debug)]
pub(crate) struct Producer {
    page: SharedPage,
    layout: Layout,
    index: u32,
}

impl Producer {
    /// Goes on where the ring stands.
    pub(crate) fn new(page: SharedPage, layout: Layout) -> Self {
        Producer { page, layout, index: page.load_u32(layout.producer) }
    }

    /// Bytes that the peer has not taken yet.
    pub(crate) fn queued(&self) -> Result<u32, BadIndex> {
        distance(self.page.load_u32(self.layout.consumer), self.index, self.layout.size)
    }

    /// Writes as much of `bytes` as there is space for, and tells how much.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<usize, BadIndex> {
        let space = self.layout.size - self.queued()?;
        let length = bytes.len().min(space as usize);
        let mut rest = bytes.get(..length).unwrap_or_default();
        for (offset, length) in self.layout.pieces(self.index, length) {
            let (piece, others) = rest.split_at(length);
            self.page.write(offset, piece);
            rest = others;
        }
        self.index = advance(self.index, length);
        self.page.store_u32(self.layout.producer, self.index);
        Ok(length)
    }
}

/// Our end of a ring that we read.
#[derive(Debug)]
pub(crate) struct Consumer {
    page: SharedPage,
    layout: Layout,
    index: u32,
}

impl Consumer {
    /// Goes on where the ring stands.
    pub(crate) fn new(page: SharedPage, layout: Layout) -> Self {
        Consumer { page, layout, index: page.load_u32(layout.consumer) }
    }

    /// Bytes that wait for us.
    pub(crate) fn queued(&self) -> Result<u32, BadIndex> {
        distance(self.index, self.page.load_u32(self.layout.producer), self.layout.size)
    }

    /// Takes as many bytes as there are and `bytes` has place for, and tells how many.
    pub(crate) fn pop(&mut self, bytes: &mut [u8]) -> Result<usize, BadIndex> {
        let length = bytes.len().min(self.queued()? as usize);
        let mut rest = bytes.get_mut(..length).unwrap_or_default();
        for (offset, length) in self.layout.pieces(self.index, length) {
            let (piece, others) = rest.split_at_mut(length);
            self.page.read(offset, piece);
            rest = others;
        }
        self.index = advance(self.index, length);
        self.page.store_u32(self.layout.consumer, self.index);
        Ok(length)
    }
}

fn distance(consumer: u32, producer: u32, size: u32) -> Result<u32, BadIndex> {
    let queued = producer.wrapping_sub(consumer);
    if queued <= size { Ok(queued) } else { Err(BadIndex) }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a length in a ring is at most the ring's size, a u32"
)]
fn advance(index: u32, length: usize) -> u32 {
    index.wrapping_add(length as u32)
}

#[cfg(test)]
#[path = "ring_tests.rs"]
mod tests;
