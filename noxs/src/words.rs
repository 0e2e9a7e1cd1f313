//! Shared memory as the protocol sees it: little-endian 32-bit words, each read or written whole.
//!
//! The readers and writers of the pages are generic over these traits, so that the same code runs
//! over a mapped page ([`crate::page`]) and over a model of one in the tests, where every
//! interleaving is tried.

use crate::ABI;
use crate::error::HeaderError;

/// A page of words that can be read. Words are numbered from the page's start.
///
/// Implementors give out each word as one access, never two halves, and never a word that they
/// remember.
pub trait Load {
    /// Reads a word, in no order with other accesses.
    fn load(&self, word: usize) -> u32;

    /// Orders every read before this call before all reads and writes after it.
    fn fence_acquire(&self);

    /// Reads a word; what its writer wrote before it is visible to the reads after this one.
    fn load_acquire(&self, word: usize) -> u32 {
        let value = self.load(word);
        self.fence_acquire();
        value
    }
}

/// A page of words that can be written, too.
pub trait Store: Load {
    /// Writes a word, in no order with other accesses.
    fn store(&self, word: usize, value: u32);

    /// Orders all reads and writes before this call before every write after it.
    fn fence_release(&self);

    /// Writes a word after all that was read or written before.
    fn store_release(&self, word: usize, value: u32) {
        self.fence_release();
        self.store(word, value);
    }
}

/// Where both pages have their magic and their version.
pub(crate) const MAGIC_AT: usize = 0;
pub(crate) const ABI_AT: usize = 2;

/// Whether a page says that it is one of this kind, of ABI 1. What is read after this was written
/// before the page said so.
pub(crate) fn check_header<W: Load>(words: &W, magic: [u8; 8]) -> Result<(), HeaderError> {
    let mut found = [0; 8];
    load_bytes(words, MAGIC_AT, &mut found);
    words.fence_acquire();
    if found != magic {
        return Err(HeaderError::Magic);
    }
    match words.load(ABI_AT) {
        ABI => Ok(()),
        other => Err(HeaderError::Version(other)),
    }
}

/// Reads `out` from the words that begin at `first`, the last of them perhaps in part.
pub(crate) fn load_bytes<W: Load>(words: &W, first: usize, out: &mut [u8]) {
    for (index, chunk) in out.chunks_mut(4).enumerate() {
        let bytes = words.load(first + index).to_le_bytes();
        chunk.copy_from_slice(&bytes[..chunk.len()]);
    }
}

/// Writes `bytes` to the words that begin at `first`; what is left of the last word becomes zero.
pub(crate) fn store_bytes<W: Store>(words: &W, first: usize, bytes: &[u8]) {
    for (index, chunk) in bytes.chunks(4).enumerate() {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        words.store(first + index, u32::from_le_bytes(word));
    }
}
