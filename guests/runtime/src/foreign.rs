//! A page of another domain's, granted to us and mapped for a while.
//!
//! It takes the place of a window's page. For PV Xen changes the page table entry, and afterwards
//! we put our own page back. A PVH guest gives the window's memory back to Xen once, as memory that
//! lay under a mapping would be lost; between two mappings there is nothing at that frame.

use core::sync::atomic::{AtomicBool, Ordering};

#[cfg(not(test))]
use crate::boot::Boot;
use crate::boot::{Frame, Kind};
use crate::grant::DomId;
use crate::hypercall::{Errno, grant, memory};
use crate::page::SharedPage;
use crate::window::{WRITABLE, Window};

/// A place for one page of another domain's at a time: a window, and what is there. Two things, as
/// what lies beside a window in one would have a page of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ForeignWindow {
    pub(crate) window: &'static Window,
    pub(crate) tenancy: &'static Tenancy,
}

/// What is at a window.
#[derive(Debug)]
pub(crate) struct Tenancy {
    /// Somebody has a page here.
    taken: AtomicBool,
    /// PVH: the memory was given back.
    empty: AtomicBool,
}

impl Tenancy {
    pub(crate) const fn new() -> Self {
        Tenancy { taken: AtomicBool::new(false), empty: AtomicBool::new(false) }
    }

    /// Whether there is a page, or one that could not be unmapped.
    pub(crate) fn is_taken(&self) -> bool {
        self.taken.load(Ordering::Relaxed)
    }

    /// Takes the place; false if somebody has it.
    pub(crate) fn take(&self) -> bool {
        !self.taken.swap(true, Ordering::Relaxed)
    }
}

/// Why a page of another domain's cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ForeignError {
    /// There is a page here already, or one that could not be unmapped.
    Taken,
    /// Xen refused.
    Xen(Errno),
}

/// A page of another domain's in a window; unmapped on drop.
#[derive(Debug)]
pub(crate) struct ForeignPage {
    place: Option<Place>,
    page: SharedPage,
}

#[derive(Debug)]
struct Place {
    kind: Kind,
    window: ForeignWindow,
    handle: grant::Handle,
}

impl ForeignPage {
    /// Maps what `peer` grants as `reference`, readable and writable.
    #[cfg(not(test))]
    pub(crate) fn map(
        kind: Kind,
        window: ForeignWindow,
        peer: DomId,
        reference: u32,
    ) -> Result<Self, ForeignError> {
        if !window.tenancy.take() {
            return Err(ForeignError::Taken);
        }
        let mapped = Self::map_at(kind, window, peer, reference);
        if mapped.is_err() {
            window.tenancy.taken.store(false, Ordering::Relaxed);
        }
        mapped.map_err(ForeignError::Xen)
    }

    /// On the host, where the unit tests run: a page that the test has granted.
    #[cfg(test)]
    pub(crate) fn map(
        _: Kind,
        _: ForeignWindow,
        _: DomId,
        reference: u32,
    ) -> Result<Self, ForeignError> {
        const NO_SUCH_GRANT: ForeignError = ForeignError::Xen(Errno(3));
        Ok(ForeignPage {
            place: None,
            page: crate::test_page::granted(reference).ok_or(NO_SUCH_GRANT)?,
        })
    }

    #[cfg(not(test))]
    fn map_at(
        kind: Kind,
        window: ForeignWindow,
        peer: DomId,
        reference: u32,
    ) -> Result<ForeignPage, Errno> {
        let address = window.window.address();
        if kind == Kind::Pvh && !window.tenancy.empty.load(Ordering::Relaxed) {
            // SAFETY: nobody has a reference to a window's page (`Window`), and nothing is mapped
            // here (`taken`).
            unsafe { memory::give_back((address / crate::page::PAGE) as u64) }?;
            window.tenancy.empty.store(true, Ordering::Relaxed);
        }
        // SAFETY: as above; addresses are physical addresses.
        let handle = unsafe { grant::map_grant(address as u64, peer.number(), reference) }?;
        // SAFETY: aligned by its type, mapped by Xen just now, no references (`Window`). It is
        // mapped until `drop`, and whoever has a copy of this view gives it up before
        // (`page`).
        let page = unsafe { SharedPage::new(window.window.base()) };
        Ok(ForeignPage { place: Some(Place { kind, window, handle }), page })
    }

    /// The page. What is made of it must not be used after this is dropped.
    pub(crate) fn page(&self) -> SharedPage {
        self.page
    }
}

impl Drop for ForeignPage {
    fn drop(&mut self) {
        let Some(Place { kind, window, handle }) = self.place.take() else { return };
        let address = window.window.address();
        // SAFETY: nobody uses the view any more (`page`); nobody but this module uses a window's
        // page.
        if unsafe { grant::unmap_grant(address as u64, handle) }.is_err() {
            // Whatever is there now, the window is not used again.
            return;
        }
        if kind == Kind::Pv
            && let Some(frame) = own_frame(address).and_then(Frame::machine_address)
        {
            // SAFETY: the window's own page, to which nobody has a reference. If this fails nothing
            // is there until the next mapping, and nobody looks.
            let _ = unsafe { memory::update_va_mapping(address as u64, frame | WRITABLE) };
        }
        window.tenancy.taken.store(false, Ordering::Relaxed);
    }
}

#[cfg(not(test))]
fn own_frame(address: usize) -> Option<Frame> {
    Boot::own_frame(address)
}

/// On the host, where the unit tests run, frame numbers are nobody's.
#[cfg(test)]
fn own_frame(_address: usize) -> Option<Frame> {
    None
}
