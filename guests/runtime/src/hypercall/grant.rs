//! HYPERVISOR_grant_table_op (grant_table.h): our own grant table, and mapping what others grant.

use super::{DOMID_SELF, Errno, GRANT_TABLE_OP, address_mut, call};

/// GNTTABOP_setup_table, PV: the machine frame of the grant table's first page.
pub(crate) fn grant_table_frame() -> Result<u64, Errno> {
    #[repr(C)]
    struct SetupTable {
        domid: u16,
        count: u32,
        status: i16,
        frames: u64,
    }
    const _: () = assert!(size_of::<SetupTable>() == 24);
    let mut frame = 0u64;
    let mut argument =
        SetupTable { domid: DOMID_SELF, count: 1, status: 0, frames: address_mut(&mut frame) };
    // SAFETY: `argument` is the one structure that the operation reads and writes, with a pointer
    // to `count` frame numbers.
    unsafe { call::<GRANT_TABLE_OP>([2, address_mut(&mut argument), 1]) }?;
    status(argument.status)?;
    Ok(frame)
}

/// Names a page of another domain's that is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handle(u32);

/// GNTTABOP_map_grant_ref: the page that domain `peer` grants as `reference` appears at `place`,
/// readable and writable. `place` is an address (PV: virtual, PVH: physical).
///
/// # Safety
/// No reference to the memory at `place` exists.
pub(crate) unsafe fn map_grant(place: u64, peer: u16, reference: u32) -> Result<Handle, Errno> {
    /// `GNTMAP_host_map`
    const HOST_MAP: u32 = 1 << 1;
    #[repr(C)]
    struct Map {
        place: u64,
        flags: u32,
        reference: u32,
        peer: u16,
        status: i16,
        handle: u32,
        bus_address: u64,
    }
    const _: () = assert!(size_of::<Map>() == 32);
    let mut argument =
        Map { place, flags: HOST_MAP, reference, peer, status: 0, handle: 0, bus_address: 0 };
    // SAFETY: `argument` is the one structure that the operation reads and writes; the place is the
    // caller's promise.
    unsafe { call::<GRANT_TABLE_OP>([0, address_mut(&mut argument), 1]) }?;
    status(argument.status)?;
    Ok(Handle(argument.handle))
}

/// GNTTABOP_unmap_grant_ref: ends what `map_grant` began. Nothing is at `place` then.
///
/// # Safety
/// Nobody accesses `place` until something is mapped there again.
pub(crate) unsafe fn unmap_grant(place: u64, handle: Handle) -> Result<(), Errno> {
    #[repr(C)]
    struct Unmap {
        place: u64,
        bus_address: u64,
        handle: u32,
        status: i16,
    }
    const _: () = assert!(size_of::<Unmap>() == 24);
    let mut argument = Unmap { place, bus_address: 0, handle: handle.0, status: 0 };
    // SAFETY: `argument` is the one structure that the operation reads and writes; the place is the
    // caller's promise.
    unsafe { call::<GRANT_TABLE_OP>([1, address_mut(&mut argument), 1]) }?;
    status(argument.status)
}

/// `GNTST_*`: 0, or negative.
fn status(status: i16) -> Result<(), Errno> {
    if status == 0 { Ok(()) } else { Err(Errno(-i64::from(status))) }
}
