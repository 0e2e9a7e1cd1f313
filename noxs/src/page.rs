//! Memory that somebody else can write at any time: the only unsafe code of this crate.
//!
//! Every access is one atomic operation on a raw pointer, checked to lie inside the page, and gives
//! out a copy. No reference to the page's bytes ever exists. So a peer that changes the page under
//! us can make us read another value, never break a rule of Rust. The traits of [`crate::words`]
//! are what the rest of the crate uses.

#![allow(unsafe_code)]

use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering, fence};

use crate::words::{Load, Store};

/// Bytes in a page.
pub const PAGE_SIZE: usize = 4096;

/// Words in a page.
pub const PAGE_WORDS: usize = PAGE_SIZE / 4;

/// A page that is mapped readable, as a guest's device page is.
#[derive(Debug, Clone, Copy)]
pub struct ReadOnlyPage<'a> {
    base: NonNull<u32>,
    mapping: PhantomData<&'a ()>,
}

/// A page that is mapped readable and writable.
#[derive(Debug, Clone, Copy)]
pub struct SharedPage<'a> {
    page: ReadOnlyPage<'a>,
}

// SAFETY: all access to the page is atomic, and the mapping belongs to no thread.
unsafe impl Send for ReadOnlyPage<'_> {}
// SAFETY: all access to the page is atomic.
unsafe impl Sync for ReadOnlyPage<'_> {}
// SAFETY: all access to the page is atomic, and the mapping belongs to no thread.
unsafe impl Send for SharedPage<'_> {}
// SAFETY: all access to the page is atomic.
unsafe impl Sync for SharedPage<'_> {}

impl<'a> ReadOnlyPage<'a> {
    /// A view of the page at `base`.
    ///
    /// # Safety
    /// 1. `base` is aligned to 4 bytes, and the 4096 bytes there stay mapped readable for all of
    ///    `'a`.
    /// 2. For all of `'a` this program reads and writes them only through views of this module.
    pub const unsafe fn new(base: NonNull<u8>) -> Self {
        ReadOnlyPage { base: base.cast(), mapping: PhantomData }
    }

    fn word(&self, word: usize) -> &AtomicU32 {
        assert!(word < PAGE_WORDS, "word {word} is outside the page");
        // SAFETY: `word` is below PAGE_WORDS, so the result points into the page, which is mapped
        // (fact 1 of `new`).
        let pointer = unsafe { self.base.add(word) };
        // SAFETY: the pointer is aligned and mapped (fact 1 of `new`), and all access to it is
        // atomic (fact 2).
        unsafe { AtomicU32::from_ptr(pointer.as_ptr()) }
    }
}

impl<'a> SharedPage<'a> {
    /// A view of the page at `base`.
    ///
    /// # Safety
    /// As [`ReadOnlyPage::new`], and the page stays mapped writable for all of `'a`.
    pub const unsafe fn new(base: NonNull<u8>) -> Self {
        // SAFETY: the caller's promise includes that of `ReadOnlyPage::new`.
        let page = unsafe { ReadOnlyPage::new(base) };
        SharedPage { page }
    }

    /// The same page, to be read only.
    pub const fn read_only(self) -> ReadOnlyPage<'a> {
        self.page
    }
}

/// Relaxed loads and fences only: a stronger load of read-only memory is not sure to be a plain
/// read.
impl Load for ReadOnlyPage<'_> {
    fn load(&self, word: usize) -> u32 {
        u32::from_le(self.word(word).load(Ordering::Relaxed))
    }

    fn fence_acquire(&self) {
        fence(Ordering::Acquire);
    }
}

impl Load for SharedPage<'_> {
    fn load(&self, word: usize) -> u32 {
        self.page.load(word)
    }

    fn fence_acquire(&self) {
        self.page.fence_acquire();
    }
}

impl Store for SharedPage<'_> {
    fn store(&self, word: usize, value: u32) {
        self.page.word(word).store(value.to_le(), Ordering::Relaxed);
    }

    fn fence_release(&self) {
        fence(Ordering::Release);
    }
}

/// A page of this program's own, aligned like a mapped one: for a page to be granted, for dumps and
/// for tests.
#[repr(C, align(4096))]
#[derive(Debug)]
pub struct PageBuffer(UnsafeCell<[u8; PAGE_SIZE]>);

// SAFETY: the bytes are reached only through the views of `shared`, whose access is atomic, or by
// `&mut self`.
unsafe impl Sync for PageBuffer {}

impl PageBuffer {
    /// A page of zeros.
    pub const fn new() -> Self {
        Self::from_bytes([0; PAGE_SIZE])
    }

    /// A page with the given bytes, such as a dump of one.
    pub const fn from_bytes(bytes: [u8; PAGE_SIZE]) -> Self {
        PageBuffer(UnsafeCell::new(bytes))
    }

    /// A view of this page, as both of its ends have it.
    pub fn shared(&self) -> SharedPage<'_> {
        let base = NonNull::from(&self.0).cast();
        // SAFETY: the page is aligned to 4096 bytes and lives as long as the borrow; nobody has it
        // mutably meanwhile.
        unsafe { SharedPage::new(base) }
    }

    /// The bytes, once no view is left.
    pub fn into_bytes(self) -> [u8; PAGE_SIZE] {
        self.0.into_inner()
    }
}

impl Default for PageBuffer {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_little_endian_and_in_place() {
        let page = PageBuffer::new();
        page.shared().store(1, 0x0403_0201);
        page.shared().store_release(PAGE_WORDS - 1, 7);
        assert_eq!(page.shared().load_acquire(1), 0x0403_0201);
        let bytes = page.into_bytes();
        assert_eq!(bytes[..8], [0, 0, 0, 0, 1, 2, 3, 4]);
        assert_eq!(bytes[PAGE_SIZE - 4..], [7, 0, 0, 0]);
    }

    #[test]
    #[should_panic(expected = "outside the page")]
    fn no_word_is_outside() {
        PageBuffer::new().shared().load(PAGE_WORDS);
    }
}
