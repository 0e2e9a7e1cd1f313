//! The console ring of a guest: its page, mapped.

use std::io;
use std::mem::offset_of;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use h2_sys as sys;

use crate::console_ring::{RingPage, at};
use crate::error::CallError;
use crate::id::{DomId, Gfn};

const _: () = {
    assert!(offset_of!(sys::xencons_interface, in_) == at::IN);
    assert!(offset_of!(sys::xencons_interface, out) == at::OUT);
    assert!(offset_of!(sys::xencons_interface, in_cons) == at::IN_CONSUMED);
    assert!(offset_of!(sys::xencons_interface, in_prod) == at::IN_PRODUCED);
    assert!(offset_of!(sys::xencons_interface, out_cons) == at::OUT_CONSUMED);
    assert!(offset_of!(sys::xencons_interface, out_prod) == at::OUT_PRODUCED);
};

/// An open libxenforeignmemory, closed on drop.
#[derive(Debug)]
struct ForeignMemory(NonNull<sys::xenforeignmemory_handle>);

impl ForeignMemory {
    fn open() -> io::Result<Self> {
        // SAFETY: a null logger means the library's own; it has no other preconditions.
        let handle = unsafe { sys::xenforeignmemory_open(ptr::null_mut(), 0) };
        NonNull::new(handle).map(Self).ok_or_else(io::Error::last_os_error)
    }
}

impl Drop for ForeignMemory {
    fn drop(&mut self) {
        // SAFETY: the handle came from xenforeignmemory_open and is closed here alone; the page
        // mapped through it is unmapped already.
        unsafe { sys::xenforeignmemory_close(self.0.as_ptr()) };
    }
}

/// What is done with a mapped page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    ReadWrite,
}

/// One mapped page of a guest, unmapped on drop. The guest writes to it at any time, so all access
/// is atomic, through raw pointers.
#[derive(Debug)]
pub(crate) struct Mapping {
    page: NonNull<u8>,
    access: Access,
    memory: ForeignMemory,
}

impl Mapping {
    /// Maps a frame: a machine frame of a PV guest, a guest frame of another.
    pub(crate) fn new(domain: DomId, frame: Gfn, access: Access) -> Result<Self, CallError> {
        Self::map(domain, frame, access)
            .map_err(|source| CallError::new("xenforeignmemory_map", Some(domain), source))
    }

    fn map(domain: DomId, frame: Gfn, access: Access) -> io::Result<Self> {
        let memory = ForeignMemory::open()?;
        let (frame, mut error) = (frame.get(), 0);
        let protection = match access {
            Access::Read => sys::PROT_READ,
            Access::ReadWrite => sys::PROT_READ | sys::PROT_WRITE,
        };
        // SAFETY: the handle is open; both arrays have one entry, as said.
        let page = unsafe {
            sys::xenforeignmemory_map(
                memory.0.as_ptr(),
                u32::from(domain.get()),
                protection.cast_signed(),
                1,
                &raw const frame,
                &raw mut error,
            )
        };
        let page = NonNull::new(page.cast()).ok_or_else(io::Error::last_os_error)?;
        let mapping = Self { page, access, memory };
        // The call succeeds with a page that is not there, and says so only here.
        if error != 0 { Err(io::Error::from_raw_os_error(error.abs())) } else { Ok(mapping) }
    }

    /// The 32-bit word at a 4-aligned offset in the page.
    fn word(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4) && offset < 4096 - 3);
        // SAFETY: the offset lies within the mapped page, as just checked.
        let word = unsafe { self.page.add(offset) };
        // SAFETY: mappings start at a page and the offset is 4-aligned; the page stays mapped while
        // `self` lives, and every access of ours to it is atomic.
        unsafe { AtomicU32::from_ptr(word.cast().as_ptr()) }
    }

    /// The byte at an offset in the page.
    fn byte(&self, offset: usize) -> &AtomicU8 {
        assert!(offset < 4096);
        // SAFETY: the offset lies within the mapped page, as just checked.
        let byte = unsafe { self.page.add(offset) };
        // SAFETY: the page stays mapped while `self` lives, and every access of ours to it is
        // atomic.
        unsafe { AtomicU8::from_ptr(byte.as_ptr()) }
    }

    fn assert_writable(&self) {
        assert!(self.access == Access::ReadWrite, "the page is mapped to be read");
    }
}

impl RingPage for Mapping {
    fn index(&self, offset: usize) -> u32 {
        self.word(offset).load(Ordering::Acquire)
    }

    fn set_index(&self, offset: usize, index: u32) {
        self.assert_writable();
        self.word(offset).store(index, Ordering::Release);
    }

    fn byte(&self, offset: usize) -> u8 {
        self.byte(offset).load(Ordering::Relaxed)
    }

    fn set_byte(&self, offset: usize, byte: u8) {
        self.assert_writable();
        self.byte(offset).store(byte, Ordering::Relaxed);
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the page was mapped by `new` through this handle, alone, and nothing points into
        // it any more.
        let result = unsafe {
            sys::xenforeignmemory_unmap(self.memory.0.as_ptr(), self.page.as_ptr().cast(), 1)
        };
        if result != 0 {
            log::warn!("cannot unmap a console ring: {}", io::Error::last_os_error());
        }
    }
}
