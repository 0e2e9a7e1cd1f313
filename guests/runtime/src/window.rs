//! Where shared pages appear in the guest's memory.
//!
//! The shared info page, the grant table, the device page, each control page, and for PV each ring,
//! takes the place of a page of our own image. PVH reaches its rings where they are: the first and
//! the fourth GiB are mapped one to one (entry.s). All but the control pages, which `foreign` maps
//! and unmaps, stay for good.

use core::cell::UnsafeCell;
use core::ptr::NonNull;

use noxs::hypercall::{NoxsOp, OP_MAP};

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

/// A page of the image that gives its address to a shared page.
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

    /// Maps the shared info page here. `frame` is its machine frame, for PV.
    pub(crate) fn map_shared_info(
        &'static self,
        kind: Kind,
        frame: Frame,
    ) -> Result<SharedPage, Error> {
        match kind {
            Kind::Pv => self.map_machine_frame(frame, WRITABLE),
            Kind::Pvh => self.map_space(Space::SharedInfo),
        }
    }

    /// Maps the first page of the grant table here.
    pub(crate) fn map_grant_table(&'static self, kind: Kind) -> Result<SharedPage, Error> {
        match kind {
            Kind::Pv => {
                let frame = Frame::new(grant_table_frame().map_err(Error::Map)?)
                    .ok_or(Error::GrantTable)?;
                self.map_machine_frame(frame, WRITABLE)
            }
            Kind::Pvh => self.map_space(Space::GrantTable),
        }
    }

    /// Maps a ring: here for PV, where it lies for PVH.
    pub(crate) fn map_ring(&'static self, kind: Kind, frame: Frame) -> Result<SharedPage, Error> {
        match kind {
            Kind::Pv => self.map_machine_frame(frame, WRITABLE),
            Kind::Pvh => {
                let base = frame.identity_address().ok_or(Error::Frame(frame))?;
                // SAFETY: aligned, as it comes from a frame number; mapped for good by entry.s;
                // Xen's parameter says that this page is a ring, so it is none of
                // the image's.
                Ok(unsafe { SharedPage::new(base) })
            }
        }
    }

    /// Maps this guest's device page, which is to be read only.
    pub(crate) fn map_device_page(&'static self, kind: Kind) -> Result<SharedPage, Error> {
        let mut map = NoxsOp { op: OP_MAP, abi: noxs::ABI, ..NoxsOp::default() };
        if kind == Kind::Pvh {
            map.frame = (self.address() / PAGE) as u64;
        }
        // SAFETY: nobody has a reference to this window's page (`Window`); addresses are physical
        // addresses.
        unsafe { memory::noxs(&mut map) }.map_err(Error::Map)?;
        match kind {
            Kind::Pv => {
                self.map_machine_frame(Frame::new(map.frame).ok_or(Error::DevicePage)?, READABLE)
            }
            // SAFETY: aligned by its type, mapped for good by Xen's page above, no references
            // (`Window`); whoever gets this reads only.
            Kind::Pvh => Ok(unsafe { SharedPage::new(self.base()) }),
        }
    }

    fn map_space(&'static self, space: Space) -> Result<SharedPage, Error> {
        let gfn = self.address() / PAGE;
        // SAFETY: nobody has a reference to this window's page (`Window`); addresses are physical
        // addresses.
        unsafe { add_to_physmap(space, gfn as u64) }.map_err(Error::Map)?;
        // SAFETY: aligned by its type, mapped for good by Xen's page above, no references
        // (`Window`).
        Ok(unsafe { SharedPage::new(self.base()) })
    }

    fn map_machine_frame(&'static self, frame: Frame, rights: u64) -> Result<SharedPage, Error> {
        let entry = frame.machine_address().ok_or(Error::Frame(frame))? | rights;
        // SAFETY: nobody has a reference to this window's page (`Window`); Xen checks that the
        // frame may be mapped.
        unsafe { update_va_mapping(self.address() as u64, entry) }.map_err(Error::Map)?;
        // SAFETY: aligned by its type, mapped for good just now, no references (`Window`).
        Ok(unsafe { SharedPage::new(self.base()) })
    }
}
