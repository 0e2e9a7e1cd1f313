//! The stack, and the page below it, which nobody has mapped: an application that needs more stack
//! than it has ends there, before it writes over anything (guest.ld).
//!
//! The guard is page 0. PVH's page tables leave it out (entry.s), a PV guest unmaps it here. Code
//! that Rust makes touches each page of a large frame in turn, so that no frame reaches beyond the
//! guard; and even below page 0 nothing is mapped.
//!
//! What happens then: on PVH the exception gets the stack from its top and is reported. On PV Xen
//! cannot put the exception's frame on the stack, and crashes the domain.

use crate::boot::Kind;
use crate::hypercall::{Errno, memory};
use crate::page::PAGE;

/// The guard's address, and that of the stack's last byte behind it.
const GUARD: u64 = 0;
const STACK: u64 = GUARD + PAGE as u64;

/// What a function may use below the stack pointer without moving it: the ABI's red zone.
const RED_ZONE: u64 = 128;

/// Makes the guard.
pub(crate) fn guard(kind: Kind) -> Result<(), Errno> {
    match kind {
        // SAFETY: nothing of this program is in page 0.
        Kind::Pv => unsafe { memory::update_va_mapping(GUARD, 0) },
        Kind::Pvh => Ok(()),
    }
}

/// Whether a page fault at `address` with the stack pointer at `stack` is due to a stack that is
/// too small. A null pointer meets the same page, but with the stack pointer above.
pub(crate) fn is_overflow(address: u64, stack: u64) -> bool {
    (GUARD..STACK).contains(&address) && stack <= STACK + RED_ZONE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_pointers_are_no_overflow() {
        // A call, a large frame, a leaf function's red zone.
        assert!(is_overflow(0xff8, 0x1000));
        assert!(is_overflow(0x40, 0x40));
        assert!(is_overflow(0xff0, 0x1070));
        // A null pointer, and a fault elsewhere.
        assert!(!is_overflow(0x10, 0x3f00));
        assert!(!is_overflow(0x8000_0000, 0x1000));
    }
}
