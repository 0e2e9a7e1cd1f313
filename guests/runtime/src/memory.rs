//! Memory that devices share with their backends: static, page by page, and granted as long as its
//! device exists.

use core::array;
use core::cell::UnsafeCell;
use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};

#[cfg(not(test))]
use crate::boot::Boot;
use crate::boot::Frame;
use crate::foreign::{ForeignWindow, Tenancy};
use crate::grant::{Access, DomId, GrantRef, Grants};
use crate::page::{PAGE, SharedPage};
use crate::window::Window;

/// Memory for `DEVICES` devices of `PAGES` pages each, to be made by an application as a static.
#[repr(C, align(4096))]
pub struct DeviceMemory<const DEVICES: usize, const PAGES: usize> {
    pages: UnsafeCell<[[[u8; PAGE]; PAGES]; DEVICES]>,
    /// Where their control pages appear, on the plane that has such.
    windows: [Window; DEVICES],
    tenancies: [Tenancy; DEVICES],
    taken: [AtomicBool; DEVICES],
}

// SAFETY: the pages are never touched as such, only through `SharedPage`; each set of them has one
// owner (`taken`).
unsafe impl<const DEVICES: usize, const PAGES: usize> Sync for DeviceMemory<DEVICES, PAGES> {}

impl<const DEVICES: usize, const PAGES: usize> fmt::Debug for DeviceMemory<DEVICES, PAGES> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceMemory").field("taken", &self.taken).finish_non_exhaustive()
    }
}

impl<const DEVICES: usize, const PAGES: usize> Default for DeviceMemory<DEVICES, PAGES> {
    fn default() -> Self {
        DeviceMemory::new()
    }
}

impl<const DEVICES: usize, const PAGES: usize> DeviceMemory<DEVICES, PAGES> {
    /// Zeroes, which cost nothing in the image's file.
    pub const fn new() -> Self {
        let taken = [const { AtomicBool::new(false) }; DEVICES];
        let (windows, tenancies) =
            ([const { Window::new() }; DEVICES], [const { Tenancy::new() }; DEVICES]);
        DeviceMemory {
            pages: UnsafeCell::new([[[0; PAGE]; PAGES]; DEVICES]),
            windows,
            tenancies,
            taken,
        }
    }

    /// Takes the memory of one device, cleared, if there is any left.
    fn take(&'static self) -> Option<([SharedPage; PAGES], ForeignWindow, &'static AtomicBool)> {
        let free = |taken: &AtomicBool| !taken.swap(true, Ordering::Relaxed);
        let device = self.taken.iter().position(free)?;
        let base = self.pages.get().cast::<[u8; PAGE]>().wrapping_add(device * PAGES);
        let pages = array::from_fn(|index| {
            let page = NonNull::new(base.wrapping_add(index)).unwrap_or(NonNull::dangling());
            // SAFETY: a page of this static, aligned by its type, and in bounds as `device` and
            // `index` are; mapped for good, no references (`Sync`). A static's address
            // is not null.
            unsafe { SharedPage::new(page.cast()) }
        });
        for page in pages {
            page.clear();
        }
        let window =
            ForeignWindow { window: &self.windows[device], tenancy: &self.tenancies[device] };
        Some((pages, window, &self.taken[device]))
    }
}

/// Why a device got no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemoryError {
    /// All of it is taken, or was not let go by an earlier backend.
    Taken,
    /// The grant table is full.
    Grants,
}

/// The memory of one device, granted to its backend. Dropping it ends the grants; if the backend
/// has a page mapped still, the memory is not used again.
#[derive(Debug)]
pub(crate) struct Granted<const PAGES: usize> {
    grants: Grants,
    pages: [SharedPage; PAGES],
    /// The first `count` pages are granted.
    count: usize,
    references: [GrantRef; PAGES],
    window: ForeignWindow,
    taken: &'static AtomicBool,
}

impl<const PAGES: usize> Granted<PAGES> {
    /// Takes the memory of one device and grants it to `peer`; `access` by the index of the page.
    pub(crate) fn new<const DEVICES: usize>(
        memory: &'static DeviceMemory<DEVICES, PAGES>,
        grants: Grants,
        peer: DomId,
        access: impl Fn(usize) -> Access,
    ) -> Result<Self, MemoryError> {
        let (pages, window, taken) = memory.take().ok_or(MemoryError::Taken)?;
        let mut granted =
            Granted { grants, pages, count: 0, references: [GrantRef::NONE; PAGES], window, taken };
        for (index, page) in pages.iter().enumerate() {
            let frame = own_frame(*page).ok_or(MemoryError::Grants)?;
            granted.references[index] =
                grants.grant(peer, frame, access(index)).map_err(|_| MemoryError::Grants)?;
            granted.count += 1;
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
        self.references[index]
    }
}

impl<const PAGES: usize> Drop for Granted<PAGES> {
    fn drop(&mut self) {
        let mut ended = true;
        for reference in self.references.iter().take(self.count) {
            ended &= self.grants.end(*reference).is_ok();
        }
        if ended {
            self.taken.store(false, Ordering::Relaxed);
        }
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
        Box::leak(Box::new(DeviceMemory::new()))
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
