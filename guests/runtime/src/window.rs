//! Where shared pages appear in the guest's memory.
//!
//! Those that stay for good have a place of their own, `Fixed`, that costs no memory: a PV guest
//! maps them over the page tables that only PVH needs, a PVH guest at frames where no guest has
//! RAM. PVH reaches its rings where they are. Control pages, which come and go (`foreign`), take
//! the place of a page of our own image, a `Window`.

use core::cell::UnsafeCell;
use core::ptr::NonNull;

use noxs::hypercall::{NoxsOp, OP_MAP};
use noxs::page::ReadOnlyPage;

use crate::Error;
use crate::boot::{Frame, Kind};
use crate::hypercall::grant::grant_table_frame;
use crate::hypercall::memory::{self, Space, add_to_physmap, update_va_mapping};
use crate::page::{PAGE, SharedPage};

/// Rights of a PV guest's page: present, writable, user (its kernel runs in ring 3), accessed,
/// dirty.
pub(crate) const WRITABLE: u64 = 0x67;
/// Present, user, accessed.
const READABLE: u64 = 0x25;

/// A page of the image that gives its address to a page of another domain's.
#[repr(C, align(4096))]
#[derive(Debug)]
pub(crate) struct Window(UnsafeCell<[u8; PAGE]>);

// SAFETY: the contents are never touched as such; whoever maps something there does it through
// `SharedPage`.
unsafe impl Sync for Window {}

impl Window {
    pub(crate) const fn new() -> Self {
        Window(UnsafeCell::new([0; PAGE]))
    }

    pub(crate) fn base(&'static self) -> NonNull<u8> {
        NonNull::from(&self.0).cast()
    }

    /// Its address: virtual in a PV guest, in a PVH guest physical, too.
    pub(crate) fn address(&'static self) -> usize {
        self.base().addr().get()
    }
}

/// The places of the pages that are mapped for good. Each has one user, which maps one page there,
/// perhaps again.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fixed {
    SharedInfo,
    GrantTable,
    /// Xenstore's ring or NoXS's device page: a guest has one of the two.
    Plane,
    Console,
}

impl Fixed {
    /// PVH: the first of the frames, 1 MiB above that of a local APIC. There is neither RAM nor a
    /// device in any Xen guest; and Xen needs no more tables for them where toolstacks put special
    /// pages, just above.
    const FRAMES: u32 = 0xf_ef00;

    /// Maps the shared info page. `frame` is its machine frame, for PV.
    pub(crate) fn map_shared_info(kind: Kind, frame: Frame) -> Result<SharedPage, Error> {
        let place = Fixed::SharedInfo;
        match kind {
            Kind::Pv => place.map_machine_frame(frame, WRITABLE),
            Kind::Pvh => place.map_space(Space::SharedInfo),
        }?;
        // SAFETY: aligned (`base`), mapped writable for good just now, and no references (`Fixed`).
        Ok(unsafe { SharedPage::new(place.base(kind)) })
    }

    /// Maps the first page of the grant table.
    pub(crate) fn map_grant_table(kind: Kind) -> Result<SharedPage, Error> {
        let place = Fixed::GrantTable;
        match kind {
            Kind::Pv => {
                let frame = Frame::new(grant_table_frame().map_err(Error::Map)?)
                    .ok_or(Error::GrantTable)?;
                place.map_machine_frame(frame, WRITABLE)
            }
            Kind::Pvh => place.map_space(Space::GrantTable),
        }?;
        // SAFETY: as for the shared info page.
        Ok(unsafe { SharedPage::new(place.base(kind)) })
    }

    /// Maps a ring: here for PV, where it lies for PVH.
    pub(crate) fn map_ring(self, kind: Kind, frame: Frame) -> Result<SharedPage, Error> {
        let base = match kind {
            Kind::Pv => {
                self.map_machine_frame(frame, WRITABLE)?;
                self.base(kind)
            }
            Kind::Pvh => frame.identity_address().ok_or(Error::Frame(frame))?,
        };
        // SAFETY: for PV as above. For PVH: aligned, as it comes from a frame number; mapped for
        // good by entry.s; Xen's parameter says that this page is a ring, so it is none of the
        // image's.
        Ok(unsafe { SharedPage::new(base) })
    }

    /// Maps this guest's device page, which is to be read only.
    pub(crate) fn map_device_page(kind: Kind) -> Result<ReadOnlyPage<'static>, Error> {
        let place = Fixed::Plane;
        let mut map = NoxsOp { op: OP_MAP, abi: noxs::ABI, ..NoxsOp::default() };
        if kind == Kind::Pvh {
            map.frame = place.frame();
        }
        // SAFETY: nobody has a reference to what is at that frame (`Fixed`).
        unsafe { memory::noxs(&mut map) }.map_err(Error::Map)?;
        if kind == Kind::Pv {
            let frame = Frame::new(map.frame).ok_or(Error::DevicePage)?;
            place.map_machine_frame(frame, READABLE)?;
        }
        // SAFETY: aligned (`base`), mapped readable for good just now, and no other user (`Fixed`).
        Ok(unsafe { ReadOnlyPage::new(place.base(kind)) })
    }

    /// PVH.
    fn frame(self) -> u64 {
        u64::from(Fixed::FRAMES) + self as u64
    }

    fn base(self, kind: Kind) -> NonNull<u8> {
        match kind {
            Kind::Pv => tables()[self as usize].base(),
            Kind::Pvh => {
                let address = (Fixed::FRAMES as usize + self as usize) * PAGE;
                NonNull::new(core::ptr::with_exposed_provenance_mut(address))
                    .unwrap_or(NonNull::dangling())
            }
        }
    }

    /// PVH.
    fn map_space(self, space: Space) -> Result<(), Error> {
        // SAFETY: nobody has a reference to what is at that frame (`Fixed`).
        unsafe { add_to_physmap(space, self.frame()) }.map_err(Error::Map)
    }

    /// PV.
    fn map_machine_frame(self, frame: Frame, rights: u64) -> Result<(), Error> {
        let entry = frame.machine_address().ok_or(Error::Frame(frame))? | rights;
        // SAFETY: nobody has a reference to that page: a PV guest does not use these tables, and
        // the place has one user (`Fixed`). Xen checks that the frame may be mapped.
        unsafe { update_va_mapping(self.base(Kind::Pv).addr().get() as u64, entry) }
            .map_err(Error::Map)
    }
}

/// The pages of PVH's page tables (entry.s), one for each place.
#[cfg(not(test))]
fn tables() -> &'static [Window; 4] {
    unsafe extern "C" {
        static boot_tables: [Window; 4];
    }
    // SAFETY: four pages of .bss, and a `Window`'s contents are never touched as such.
    unsafe { &boot_tables }
}

/// On the host, where the unit tests run, there are no such tables.
#[cfg(test)]
fn tables() -> &'static [Window; 4] {
    static TABLES: [Window; 4] = [const { Window::new() }; 4];
    &TABLES
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn each_place_is_a_page_of_its_own() {
        let places = [Fixed::SharedInfo, Fixed::GrantTable, Fixed::Plane, Fixed::Console];
        for (index, place) in places.into_iter().enumerate() {
            assert_eq!(place as usize, index);
            let base = place.base(Kind::Pvh);
            assert_eq!(base.addr().get(), 0xfef0_0000 + index * PAGE);
            let frame = Frame::new(place.frame()).unwrap();
            assert_eq!(frame.identity_address(), Some(base));
        }
        assert_eq!(tables().len(), places.len());
    }
}
