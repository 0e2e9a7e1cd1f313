//! The console ring of a guest, copied without taking anything from it.

use std::io;
use std::mem::offset_of;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering};

use h2_sys as sys;

use crate::error::CallError;
use crate::id::{DomId, Gfn};

/// An open libxenforeignmemory, closed on drop.
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
        // SAFETY: the handle came from xenforeignmemory_open and is closed here alone; the page mapped through it is unmapped already.
        unsafe { sys::xenforeignmemory_close(self.0.as_ptr()) };
    }
}

/// One mapped page of a guest, unmapped on drop. The guest writes to it at any time, so it is only read through
/// raw pointers, once.
struct Mapping {
    page: NonNull<u8>,
    memory: ForeignMemory,
}

impl Mapping {
    fn new(domain: DomId, frame: Gfn) -> io::Result<Self> {
        let memory = ForeignMemory::open()?;
        let (frame, mut error) = (frame.get(), 0);
        // SAFETY: the handle is open; both arrays have one entry, as said.
        let page = unsafe {
            sys::xenforeignmemory_map(
                memory.0.as_ptr(),
                u32::from(domain.get()),
                sys::PROT_READ.cast_signed(),
                1,
                &raw const frame,
                &raw mut error,
            )
        };
        let page = NonNull::new(page.cast()).ok_or_else(io::Error::last_os_error)?;
        let mapping = Self { page, memory };
        // The call succeeds with a page that is not there, and says so only here.
        if error != 0 { Err(io::Error::from_raw_os_error(error.abs())) } else { Ok(mapping) }
    }

    /// The 32-bit word at a 4-aligned offset in the page.
    fn word(&self, offset: usize) -> u32 {
        assert!(offset.is_multiple_of(4) && offset < 4096 - 3);
        // SAFETY: the offset lies within the mapped page, as just checked.
        let word = unsafe { self.page.add(offset) };
        // SAFETY: mappings start at a page and the offset is 4-aligned; the page stays mapped while `self` lives,
        // and every access of ours to it is atomic.
        let word = unsafe { AtomicU32::from_ptr(word.cast().as_ptr()) };
        word.load(Ordering::Acquire)
    }

    /// The byte at an offset in the page.
    fn byte(&self, offset: usize) -> u8 {
        assert!(offset < 4096);
        // SAFETY: the offset lies within the mapped page, as just checked.
        let byte = unsafe { self.page.add(offset) };
        // SAFETY: the page is mapped while `self` lives; volatile, since the guest may change it.
        unsafe { byte.read_volatile() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the page was mapped by `new` through this handle, alone, and nothing points into it any more.
        let result = unsafe { sys::xenforeignmemory_unmap(self.memory.0.as_ptr(), self.page.as_ptr().cast(), 1) };
        if result != 0 {
            log::warn!("cannot unmap a console ring: {}", io::Error::last_os_error());
        }
    }
}

/// What the guest printed last, as much of it as the ring still holds, read by others or not.
pub(super) fn read_output(domain: DomId, frame: Gfn) -> Result<Vec<u8>, CallError> {
    const START: usize = offset_of!(sys::xencons_interface, out);
    const SIZE: u32 = 2048;
    const _: () = assert!(size_of::<[std::ffi::c_char; SIZE as usize]>() + START <= 4096);

    let ring =
        Mapping::new(domain, frame).map_err(|source| CallError::new("xenforeignmemory_map", Some(domain), source))?;
    // The index counts the bytes that were ever printed, and a guest may write anything there: whatever it says, the
    // bytes come from within the ring, and there are no more of them than it has room for.
    let printed = ring.word(offset_of!(sys::xencons_interface, out_prod));
    let held = printed.min(SIZE);
    Ok((printed.wrapping_sub(held)..)
        .take(held as usize)
        .map(|index| ring.byte(START + (index % SIZE) as usize))
        .collect())
}
