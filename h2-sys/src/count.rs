//! Counts the hypercalls of the process where every one of them passes: the Xen libraries issue
//! each hypercall, and each mapping of foreign memory, as an ioctl on a file under /dev/xen.
//!
//! With the feature `count`, this crate defines the symbol `ioctl`, which the shared Xen libraries
//! then resolve to, in place of the C library's. It counts and passes on to the kernel. So a
//! program gets figures that hold for what libxenctrl and libxenguest do inside, too. Only a
//! program's owner can decide to replace a symbol of the C library, so the feature is off by
//! default and belongs to binaries.

use std::ffi::{c_int, c_long, c_ulong, c_void};
use std::sync::atomic::{AtomicU64, Ordering};

/// `IOCTL_PRIVCMD_HYPERCALL` of <xen/sys/privcmd.h>: `_IOC(_IOC_NONE, 'P', 0,
/// sizeof(privcmd_hypercall_t))`.
const PRIVCMD_HYPERCALL: c_ulong = 0x0030_5000;

static HYPERCALLS: AtomicU64 = AtomicU64::new(0);
static IOCTLS: AtomicU64 = AtomicU64::new(0);

/// Hypercalls that this process has issued through /dev/xen/privcmd or /dev/xen/hypercall.
#[must_use]
pub fn hypercalls() -> u64 {
    HYPERCALLS.load(Ordering::Relaxed)
}

/// All ioctls of this process, hypercalls included.
#[must_use]
pub fn ioctls() -> u64 {
    IOCTLS.load(Ordering::Relaxed)
}

/// The C library's `ioctl`, counted. C declares it variadic with at most one argument behind the
/// request; on x86-64 such an argument is passed like a named one.
///
/// # Safety
/// As ioctl(2): `argument` must be what `request` asks for on `fd`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ioctl(fd: c_int, request: c_ulong, argument: *mut c_void) -> c_int {
    IOCTLS.fetch_add(1, Ordering::Relaxed);
    if request == PRIVCMD_HYPERCALL {
        HYPERCALLS.fetch_add(1, Ordering::Relaxed);
    }
    // SAFETY: the caller upholds ioctl's contract, and syscall(2) passes the three words on
    // unchanged; it sets errno as the C library's ioctl does.
    let result: c_long = unsafe { libc::syscall(libc::SYS_ioctl, fd, request, argument) };
    // An ioctl's result is an int: the kernel never returns more.
    c_int::try_from(result).unwrap_or(-1)
}
