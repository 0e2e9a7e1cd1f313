//! Memory that devices share with their backends: static, page by page, and granted as long as its
//! device exists, or its backend keeps it.
//!
//! ```text
//!   free --- take ---> used --- dropped ---> left --- all grants ended ---> free
//!                                             | ^
//!                                             +-+ take: ends those that the backend has let go of
//! ```

use core::array;
use core::cell::UnsafeCell;
use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU8, AtomicU16, Ordering};

#[cfg(not(test))]
use crate::boot::Boot;
use crate::boot::Frame;
use crate::foreign::{ForeignWindow, Tenancy};
use crate::grant::{Access, DomId, GrantRef, Grants};
use crate::page::{PAGE, SharedPage};
use crate::window::Window;

/// The pages of `DEVICES` devices: `PAGES` for each, and one where its control page appears, on the
/// plane that has such.
#[repr(C, align(4096))]
pub struct DevicePages<const DEVICES: usize, const PAGES: usize> {
    pages: UnsafeCell<[[[u8; PAGE]; PAGES]; DEVICES]>,
    windows: [Window; DEVICES],
}

// SAFETY: the pages are never touched as such, only through `SharedPage`; each set of them has one
// owner (`Slot::state`).
unsafe impl<const DEVICES: usize, const PAGES: usize> Sync for DevicePages<DEVICES, PAGES> {}

impl<const DEVICES: usize, const PAGES: usize> fmt::Debug for DevicePages<DEVICES, PAGES> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DevicePages").finish_non_exhaustive()
    }
}

/// Memory for `DEVICES` devices of `PAGES` pages each, which an application makes with
/// [`device_memory!`](crate::device_memory).
#[derive(Debug)]
pub struct DeviceMemory<const DEVICES: usize, const PAGES: usize> {
    // Apart from what is noted of them here, which would take another page.
    pages: &'static DevicePages<DEVICES, PAGES>,
    slots: [Slot<PAGES>; DEVICES],
}

/// What is noted of the memory of one device.
#[derive(Debug)]
struct Slot<const PAGES: usize> {
    state: AtomicU8,
    /// The grants of its pages.
    references: [AtomicU16; PAGES],
    tenancy: Tenancy,
}

const FREE: u8 = 0;
const USED: u8 = 1;
const LEFT: u8 = 2;

/// Makes a static of memory for devices. It costs nothing in the image's file.
///
/// ```ignore
/// guest_runtime::device_memory!(static MEMORY: NetworkMemory<2>);
/// ```
#[macro_export]
macro_rules! device_memory {
    ($(#[$attribute:meta])* $visibility:vis static $name:ident: $memory:ty) => {
        $(#[$attribute])*
        $visibility static $name: $memory = {
            static PAGES: <$memory as $crate::Paged>::Pages = <$memory>::zeroes();
            // SAFETY: nobody else can name these pages.
            unsafe { <$memory>::over(&PAGES) }
        };
    };
}

/// Names the pages of a type of memory.
#[doc(hidden)]
pub trait Paged {
    /// `DevicePages`
    type Pages;
}

impl<const DEVICES: usize, const PAGES: usize> Paged for DeviceMemory<DEVICES, PAGES> {
    type Pages = DevicePages<DEVICES, PAGES>;
}

impl<const DEVICES: usize, const PAGES: usize> DeviceMemory<DEVICES, PAGES> {
    /// The pages of such memory.
    #[doc(hidden)]
    pub const fn zeroes() -> DevicePages<DEVICES, PAGES> {
        DevicePages {
            pages: UnsafeCell::new([[[0; PAGE]; PAGES]; DEVICES]),
            windows: [const { Window::new() }; DEVICES],
        }
    }

    /// Memory of these pages.
    ///
    /// # Safety
    /// There is no other memory of them, and will be none.
    #[doc(hidden)]
    pub const unsafe fn over(pages: &'static DevicePages<DEVICES, PAGES>) -> Self {
        DeviceMemory { pages, slots: [const { Slot::new() }; DEVICES] }
    }

    /// On the host, where the unit tests run: never freed.
    #[cfg(test)]
    pub(crate) fn leaked() -> &'static Self {
        let pages = Box::leak(Box::new(Self::zeroes()));
        // SAFETY: made just now.
        Box::leak(Box::new(unsafe { Self::over(pages) }))
    }

    /// Takes the memory of one device, cleared, if there is any left.
    fn take(
        &'static self,
        grants: Grants,
    ) -> Option<([SharedPage; PAGES], ForeignWindow, &'static Slot<PAGES>)> {
        for slot in &self.slots {
            slot.end(grants);
        }
        let device = self.slots.iter().position(Slot::is_free)?;
        let slot = &self.slots[device];
        slot.state.store(USED, Ordering::Relaxed);
        let base = self.pages.pages.get().cast::<[u8; PAGE]>().wrapping_add(device * PAGES);
        let pages = array::from_fn(|index| {
            let page = NonNull::new(base.wrapping_add(index)).unwrap_or(NonNull::dangling());
            // SAFETY: a page of a static, aligned by its type, and in bounds as `device` and
            // `index` are; mapped for good, no references (`Sync`). A static's address
            // is not null.
            unsafe { SharedPage::new(page.cast()) }
        });
        for page in pages {
            page.clear();
        }
        let window = ForeignWindow { window: &self.pages.windows[device], tenancy: &slot.tenancy };
        Some((pages, window, slot))
    }
}

impl<const PAGES: usize> Slot<PAGES> {
    const fn new() -> Self {
        Slot {
            state: AtomicU8::new(FREE),
            references: [const { AtomicU16::new(GrantRef::NONE.raw()) }; PAGES],
            tenancy: Tenancy::new(),
        }
    }

    /// Whether a device can have it. Not where the control page of an earlier one could not be
    /// unmapped.
    fn is_free(&self) -> bool {
        self.state.load(Ordering::Relaxed) == FREE && !self.tenancy.is_taken()
    }

    fn reference(&self, index: usize) -> GrantRef {
        GrantRef::from_raw(self.references[index].load(Ordering::Relaxed))
    }

    /// If its device has gone: ends the grants of all pages that the backend does not have mapped.
    /// Without any it is free.
    fn end(&self, grants: Grants) {
        if self.state.load(Ordering::Relaxed) != LEFT {
            return;
        }
        let mut ended = true;
        for (index, place) in self.references.iter().enumerate() {
            let reference = self.reference(index);
            if reference == GrantRef::NONE || grants.end(reference).is_ok() {
                place.store(GrantRef::NONE.raw(), Ordering::Relaxed);
            } else {
                ended = false;
            }
        }
        if ended {
            self.state.store(FREE, Ordering::Relaxed);
        }
    }
}

/// Why a device got no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemoryError {
    /// All of it is taken, or not let go of by earlier backends.
    Taken,
    /// The grant table is full.
    Grants,
}

/// The memory of one device, granted to its backend. Dropping it ends the grants. What the backend
/// has mapped still is not used again until it has let go of that.
#[derive(Debug)]
pub(crate) struct Granted<const PAGES: usize> {
    grants: Grants,
    pages: [SharedPage; PAGES],
    window: ForeignWindow,
    slot: &'static Slot<PAGES>,
}

impl<const PAGES: usize> Granted<PAGES> {
    /// Takes the memory of one device and grants it to `peer`; `access` by the index of the page.
    pub(crate) fn new<const DEVICES: usize>(
        memory: &'static DeviceMemory<DEVICES, PAGES>,
        grants: Grants,
        peer: DomId,
        access: impl Fn(usize) -> Access,
    ) -> Result<Self, MemoryError> {
        let (pages, window, slot) = memory.take(grants).ok_or(MemoryError::Taken)?;
        let granted = Granted { grants, pages, window, slot };
        for (index, page) in pages.iter().enumerate() {
            let frame = own_frame(*page).ok_or(MemoryError::Grants)?;
            let reference =
                grants.grant(peer, frame, access(index)).map_err(|_| MemoryError::Grants)?;
            slot.references[index].store(reference.raw(), Ordering::Relaxed);
        }
        Ok(granted)
    }

    /// The page at `index`, which is below `PAGES`.
    pub(crate) fn page(&self, index: usize) -> SharedPage {
        self.pages[index]
    }

    /// The place of the device's control page.
    pub(crate) fn window(&self) -> ForeignWindow {
        self.window
    }

    /// Its grant reference.
    pub(crate) fn reference(&self, index: usize) -> GrantRef {
        self.slot.reference(index)
    }
}

impl<const PAGES: usize> Drop for Granted<PAGES> {
    fn drop(&mut self) {
        self.slot.state.store(LEFT, Ordering::Relaxed);
        self.slot.end(self.grants);
    }
}

#[cfg(not(test))]
fn own_frame(page: SharedPage) -> Option<Frame> {
    Boot::own_frame(page.address())
}

/// On the host, where the unit tests run, frame numbers are nobody's.
#[cfg(test)]
fn own_frame(_page: SharedPage) -> Option<Frame> {
    Frame::new(1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::test_page::test_page;

    fn granted<const D: usize>(
        memory: &'static DeviceMemory<D, 2>,
        table: SharedPage,
    ) -> Result<Granted<2>, MemoryError> {
        let access = |index| if index == 0 { Access::Write } else { Access::Read };
        Granted::new(memory, Grants::new(table), DomId::new(0).unwrap(), access)
    }

    fn memory() -> &'static DeviceMemory<2, 2> {
        DeviceMemory::leaked()
    }

    #[test]
    fn each_device_has_its_own() {
        let (memory, table) = (memory(), test_page());
        let first = granted(memory, table).unwrap();
        let second = granted(memory, table).unwrap();
        assert_eq!(second.page(0).address() - first.page(1).address(), PAGE);
        assert_eq!(granted(memory, table).unwrap_err(), MemoryError::Taken);
        first.page(1).store_u32(0, 5);
        drop(first);
        let again = granted(memory, table).unwrap();
        assert_eq!(again.page(1).load_u32(0), 0);
        assert_eq!(again.reference(0).number(), 8);
    }

    #[test]
    fn what_a_backend_keeps_is_not_used_again() {
        let (memory, table) = (memory(), test_page());
        let first = granted(memory, table).unwrap();
        table.store_u16(9 * 8, 1 | 1 << 3);
        drop(first);
        let second = granted(memory, table).unwrap();
        assert_eq!(second.reference(1).number(), 10);
        assert_eq!(granted(memory, table).unwrap_err(), MemoryError::Taken);
    }

    #[test]
    fn what_a_backend_lets_go_of_later_is_used_again() {
        let (memory, table) = (memory(), test_page());
        let (first, second) = (granted(memory, table).unwrap(), granted(memory, table).unwrap());
        let address = first.page(0).address();
        table.store_u16(9 * 8, 1 | 1 << 3);
        drop(first);
        assert_eq!(table.load_u16(8 * 8), 0);
        assert_eq!(granted(memory, table).unwrap_err(), MemoryError::Taken);
        table.store_u16(9 * 8, 1);
        let third = granted(memory, table).unwrap();
        assert_eq!(third.page(0).address(), address);
        assert_eq!((third.reference(0).number(), third.reference(1).number()), (8, 9));
        drop((second, third));
        assert!((8..12).all(|entry| table.load_u16(entry * 8) == 0));
    }

    #[test]
    fn a_control_page_that_stays_mapped_blocks_its_own_place_only() {
        let (memory, table) = (memory(), test_page());
        let first = granted(memory, table).unwrap();
        let address = first.page(0).address();
        first.window().tenancy.take();
        drop(first);
        let second = granted(memory, table).unwrap();
        assert_ne!(second.page(0).address(), address);
        assert_eq!(granted(memory, table).unwrap_err(), MemoryError::Taken);
    }

    #[test]
    fn a_full_grant_table_gives_everything_back() {
        let (memory, table) = (memory(), test_page());
        for entry in 8..511 {
            table.store_u16(entry * 8, 1);
        }
        assert_eq!(granted(memory, table).unwrap_err(), MemoryError::Grants);
        assert_eq!(table.load_u16(511 * 8), 0);
        table.store_u16(8 * 8, 0);
        assert!(granted(memory, table).is_ok());
    }
}
