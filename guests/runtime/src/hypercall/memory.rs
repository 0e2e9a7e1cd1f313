//! HYPERVISOR_memory_op (memory.h) and HYPERVISOR_update_va_mapping: what lies where in this
//! guest's memory.

use noxs::hypercall::{NoxsOp, XENMEM_NOXS_OP};

use super::{DOMID_SELF, Errno, MEMORY_OP, UPDATE_VA_MAPPING, address, address_mut, call};

/// `XENMAPSPACE_*` in memory.h: what `add_to_physmap` puts somewhere.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Space {
    SharedInfo = 0,
    /// Its first page.
    GrantTable = 1,
}

/// HYPERVISOR_update_va_mapping, PV: `va`'s page table entry becomes `entry`.
///
/// # Safety
/// No reference to the page at `va` exists, and what `entry` names may be accessed there.
pub(crate) unsafe fn update_va_mapping(va: u64, entry: u64) -> Result<(), Errno> {
    const UVMF_INVLPG: u64 = 2;
    // SAFETY: the caller's promise.
    unsafe { call::<UPDATE_VA_MAPPING>([va, entry, UVMF_INVLPG]) }.map(drop)
}

/// XENMEM_add_to_physmap, PVH: the page of `space` takes the place of frame `gfn`.
///
/// # Safety
/// No reference to the memory of that frame exists.
pub(crate) unsafe fn add_to_physmap(space: Space, gfn: u64) -> Result<(), Errno> {
    #[repr(C)]
    struct AddToPhysmap {
        domid: u16,
        size: u16,
        space: u32,
        index: u64,
        gfn: u64,
    }
    const _: () = assert!(size_of::<AddToPhysmap>() == 24);
    let argument = AddToPhysmap { domid: DOMID_SELF, size: 0, space: space as u32, index: 0, gfn };
    // SAFETY: `argument` is the structure that the operation reads; the frame is the caller's
    // promise.
    unsafe { call::<MEMORY_OP>([7, address(&argument), 0]) }.map(drop)
}

/// XENMEM_decrease_reservation, PVH: gives the memory of frame `gfn` back. Nothing is at that frame
/// then.
///
/// # Safety
/// Nobody accesses that frame until something is mapped there.
pub(crate) unsafe fn give_back(gfn: u64) -> Result<(), Errno> {
    #[repr(C)]
    struct Reservation {
        frames: u64,
        count: u64,
        order: u32,
        flags: u32,
        domid: u16,
    }
    const _: () = assert!(size_of::<Reservation>() == 32);
    let frames = address(&gfn);
    let argument = Reservation { frames, count: 1, order: 0, flags: 0, domid: DOMID_SELF };
    // SAFETY: `argument` is the structure that the operation reads, with a pointer to one frame
    // number; the frame is the caller's promise.
    let given = unsafe { call::<MEMORY_OP>([1, address(&argument), 0]) }?;
    given_back(given)
}

/// What XENMEM_decrease_reservation returns: how many it took, which is none of a frame that has no
/// memory, or whose memory Xen cannot take.
fn given_back(count: u64) -> Result<(), Errno> {
    /// EBUSY
    const BUSY: Errno = Errno(16);
    if count == 1 { Ok(()) } else { Err(BUSY) }
}

/// XENMEM_noxs_op: asks what Xen speaks of NoXS (`OP_QUERY`), or for the device page (`OP_MAP`).
///
/// # Safety
/// For `OP_MAP` in a PVH guest: no reference to the memory of `argument.frame` exists.
pub(crate) unsafe fn noxs(argument: &mut NoxsOp) -> Result<(), Errno> {
    // SAFETY: `argument` is the structure that the operation reads and writes; the frame is the
    // caller's promise.
    unsafe { call::<MEMORY_OP>([XENMEM_NOXS_OP.into(), address_mut(argument), 0]) }.map(drop)
}

#[cfg(test)]
mod tests {
    use super::given_back;

    #[test]
    fn a_frame_that_xen_did_not_take_is_an_error() {
        assert!(given_back(1).is_ok());
        assert!(given_back(0).is_err());
    }
}
