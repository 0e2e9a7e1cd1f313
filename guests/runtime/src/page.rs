//! A page that somebody else can write at any time: the only way in which this crate touches shared
//! memory.
//!
//! Every access is one volatile or atomic operation on a raw pointer, checked to lie inside the
//! page, and gives out a copy. So a peer that changes the page under us can make us read a
//! different value, never break a Rust rule. Neighbours: `window` and `memory` make pages, `ring`,
//! `front_ring`, `grant`, `event` and `clock` read and write them.

use core::arch::asm;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering, fence};

use noxs::words::{Load, Store};

/// Bytes in a page.
pub(crate) const PAGE: usize = 4096;

/// A shared page, mapped for good.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SharedPage {
    base: NonNull<u8>,
}

// SAFETY: nothing but its address, mapped for all; and each access is one operation.
unsafe impl Send for SharedPage {}

impl SharedPage {
    /// # Safety
    /// `base` is page aligned, its 4096 bytes are mapped readable and writable for the rest of the
    /// program, and no reference to them exists or will.
    pub(crate) const unsafe fn new(base: NonNull<u8>) -> Self {
        SharedPage { base }
    }

    /// Reads the 32-bit word at `offset`; what the peer wrote before it is then visible.
    pub(crate) fn load_u32(self, offset: usize) -> u32 {
        self.word32(offset).load(Ordering::Acquire)
    }

    /// Writes the 32-bit word at `offset`, after all that was written before.
    pub(crate) fn store_u32(self, offset: usize, value: u32) {
        self.word32(offset).store(value, Ordering::Release);
    }

    /// Reads the 16-bit word at `offset`.
    pub(crate) fn load_u16(self, offset: usize) -> u16 {
        self.word16(offset).load(Ordering::Acquire)
    }

    /// Writes the 16-bit word at `offset`, after all that was written before.
    pub(crate) fn store_u16(self, offset: usize, value: u16) {
        self.word16(offset).store(value, Ordering::Release);
    }

    /// Changes the 16-bit word at `offset` from `old` to `new`; false if it is not `old`. A full
    /// barrier.
    pub(crate) fn replace_u16(self, offset: usize, old: u16, new: u16) -> bool {
        self.word16(offset).compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Reads the 64-bit word at `offset`.
    pub(crate) fn load_u64(self, offset: usize) -> u64 {
        self.word64(offset).load(Ordering::Acquire)
    }

    /// Writes the 64-bit word at `offset`.
    pub(crate) fn store_u64(self, offset: usize, value: u64) {
        self.word64(offset).store(value, Ordering::Release);
    }

    /// Clears the bits of `mask` in the 64-bit word at `offset`; a full barrier. True if one of
    /// them was set.
    pub(crate) fn clear_bits(self, offset: usize, mask: u64) -> bool {
        self.word64(offset).fetch_and(!mask, Ordering::SeqCst) & mask != 0
    }

    /// Copies bytes out of the page.
    pub(crate) fn read(self, offset: usize, bytes: &mut [u8]) {
        copy(bytes.as_mut_ptr(), self.at(offset, bytes.len(), 1), bytes.len());
    }

    /// Copies bytes into the page.
    pub(crate) fn write(self, offset: usize, bytes: &[u8]) {
        copy(self.at(offset, bytes.len(), 1), bytes.as_ptr(), bytes.len());
    }

    /// Clears the whole page.
    pub(crate) fn clear(self) {
        for offset in (0..PAGE).step_by(64) {
            self.write(offset, &[0; 64]);
        }
    }

    fn word16(&self, offset: usize) -> &AtomicU16 {
        let word = self.at(offset, 2, 2).cast::<u16>();
        // SAFETY: inside the page and aligned (`at`), mapped for good (`new`); all accesses of this
        // program are atomic.
        unsafe { AtomicU16::from_ptr(word) }
    }

    fn word32(&self, offset: usize) -> &AtomicU32 {
        let word = self.at(offset, 4, 4).cast::<u32>();
        // SAFETY: inside the page and aligned (`at`), mapped for good (`new`); all accesses of this
        // program are atomic.
        unsafe { AtomicU32::from_ptr(word) }
    }

    fn word64(&self, offset: usize) -> &AtomicU64 {
        let word = self.at(offset, 8, 8).cast::<u64>();
        // SAFETY: inside the page and aligned (`at`), mapped for good (`new`); all accesses of this
        // program are atomic.
        unsafe { AtomicU64::from_ptr(word) }
    }

    /// The same page, as a guest sees its device page.
    #[cfg(test)]
    pub(crate) fn read_only(self) -> noxs::page::ReadOnlyPage<'static> {
        // SAFETY: aligned and mapped for good (`new`); all accesses of this program are atomic.
        unsafe { noxs::page::ReadOnlyPage::new(self.base) }
    }

    /// Its address in this guest.
    pub(crate) fn address(self) -> usize {
        self.base.addr().get()
    }

    fn at(self, offset: usize, length: usize, align: usize) -> *mut u8 {
        assert!(
            offset <= PAGE && length <= PAGE - offset && offset.is_multiple_of(align),
            "outside of a shared page"
        );
        self.base.as_ptr().wrapping_add(offset)
    }
}

/// As the words of NoXS's pages that are writable: the control pages.
impl Load for SharedPage {
    fn load(&self, word: usize) -> u32 {
        u32::from_le(self.load_u32(word * 4))
    }

    fn fence_acquire(&self) {
        fence(Ordering::Acquire);
    }
}

impl Store for SharedPage {
    fn store(&self, word: usize, value: u32) {
        self.store_u32(word * 4, value.to_le());
    }

    fn fence_release(&self) {
        fence(Ordering::Release);
    }
}

/// Copies between a shared page and private memory. In assembly, since the compiler must not assume
/// that the shared end stays as it is, nor read it twice.
fn copy(to: *mut u8, from: *const u8, length: usize) {
    // SAFETY: the callers pass `length` bytes inside a page (`at`) and a slice of that length; they
    // do not overlap, as no reference into a shared page exists (`new`). The direction flag is
    // clear by the ABI.
    unsafe {
        asm!("rep movsb", inout("rcx") length => _, inout("rdi") to => _, inout("rsi") from => _,
            options(nostack, preserves_flags));
    }
}
