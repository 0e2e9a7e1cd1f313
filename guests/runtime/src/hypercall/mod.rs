//! Hypercalls: the call itself, and one typed function for each operation that the runtime uses.
//!
//! Numbers and structures are those of Xen's public headers (xen.h, sched.h, event_channel.h,
//! memory.h, grant_table.h, hvm/hvm_op.h, hvm/params.h), which are a stable ABI. `event`, `grant`
//! and `memory` have those of the headers of their names; what is left is here. Neighbours:
//! everything else in this crate.

use core::fmt;

use crate::event::Port;

pub(crate) mod event;
pub(crate) mod grant;
pub(crate) mod memory;

/// What a hypercall failed with: a positive errno of Xen's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i64);

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Xen error {}", self.0)
    }
}

impl core::error::Error for Errno {}

const SET_TRAP_TABLE: usize = 0;
const MEMORY_OP: usize = 12;
const UPDATE_VA_MAPPING: usize = 14;
const GRANT_TABLE_OP: usize = 20;
const SCHED_OP: usize = 29;
const EVENT_CHANNEL_OP: usize = 32;
const HVM_OP: usize = 34;

const DOMID_SELF: u16 = 0x7ff0;

/// Why a guest stops: `SHUTDOWN_*` in sched.h.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reason {
    PowerOff = 0,
    Reboot = 1,
    Crash = 3,
}

/// `HVM_PARAM_*` in hvm/params.h.
#[derive(Clone, Copy, Debug)]
pub(crate) enum HvmParam {
    StorePfn = 1,
    StorePort = 2,
    ConsolePfn = 17,
    ConsolePort = 18,
}

/// A line of the table that HYPERVISOR_set_trap_table takes: `struct trap_info`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct TrapInfo {
    pub(crate) vector: u8,
    pub(crate) flags: u8,
    pub(crate) cs: u16,
    pub(crate) address: u64,
}

const _: () = assert!(size_of::<TrapInfo>() == 16);

/// SCHEDOP_shutdown: the domain stops here.
pub(crate) fn shutdown(reason: Reason) -> ! {
    let argument = reason as u32;
    loop {
        // SAFETY: `argument` is the `struct sched_shutdown` that the operation reads, and it does
        // not return.
        let _ = unsafe { call::<SCHED_OP>([2, address(&argument), 0]) };
    }
}

/// SCHEDOP_poll: blocks until one of `ports` is pending, or `deadline` (system time, ns; 0, and
/// what is beyond Xen's signed numbers: none), or without a reason. With no port and no deadline:
/// until some event arrives.
pub(crate) fn poll(ports: &[Port], deadline: u64) {
    #[repr(C)]
    struct Poll {
        ports: u64,
        count: u32,
        deadline: u64,
    }
    const _: () = assert!(size_of::<Poll>() == 24);
    // Xen takes at most 128 ports; waking early is allowed, so fewer than asked for would not be.
    let count = u32::try_from(ports.len()).unwrap_or(u32::MAX);
    let deadline = timeout(deadline);
    let argument = Poll { ports: ports.as_ptr().expose_provenance() as u64, count, deadline };
    // SAFETY: `argument` is the structure that the operation reads, with a pointer to `count`
    // ports, which are integers of 32 bits. A failure (a port that is not valid) returns at
    // once: the caller sees a wake without a reason.
    let _ = unsafe { call::<SCHED_OP>([3, address(&argument), 0]) };
}

/// A deadline as SCHEDOP_poll takes it: what is none as a signed number would be over already, and
/// is 300 years away.
fn timeout(deadline: u64) -> u64 {
    if i64::try_from(deadline).is_ok() { deadline } else { 0 }
}

/// HYPERVISOR_set_trap_table, PV. The table ends with a line of zeroes.
///
/// # Safety
/// The addresses in the table are trap handlers.
pub(crate) unsafe fn set_trap_table(table: &[TrapInfo]) -> Result<(), Errno> {
    // SAFETY: the caller's promise for the handlers; the table is what the operation reads.
    unsafe { call::<SET_TRAP_TABLE>([table.as_ptr().expose_provenance() as u64, 0, 0]) }.map(drop)
}

/// HVMOP_get_param, PVH.
pub(crate) fn hvm_param(param: HvmParam) -> Result<u64, Errno> {
    #[repr(C)]
    struct Param {
        domid: u16,
        pad: u16,
        index: u32,
        value: u64,
    }
    const _: () = assert!(size_of::<Param>() == 16);
    let mut argument = Param { domid: DOMID_SELF, pad: 0, index: param as u32, value: 0 };
    // SAFETY: `argument` is the structure that the operation reads and writes.
    unsafe { call::<HVM_OP>([1, address_mut(&mut argument), 0]) }?;
    Ok(argument.value)
}

/// The address of an argument, for Xen to read it: exposed, or the compiler might keep the argument
/// in registers.
fn address<T>(argument: &T) -> u64 {
    core::ptr::from_ref(argument).expose_provenance() as u64
}

/// The address of what Xen reads and writes.
fn address_mut<T>(argument: &mut T) -> u64 {
    core::ptr::from_mut(argument).expose_provenance() as u64
}

/// Calls entry `NUMBER` of the hypercall page. Returns what the operation does: 0 for most.
///
/// # Safety
/// The arguments are what the hypercall expects, and what it does to this domain is sound.
#[cfg(not(test))]
unsafe fn call<const NUMBER: usize>(arguments: [u64; 3]) -> Result<u64, Errno> {
    use core::arch::asm;

    unsafe extern "C" {
        static hypercall_page: [u8; 4096];
    }
    let result: i64;
    // SAFETY: the page was filled by Xen (PV: by the domain builder, PVH: in `entry`), each entry
    // has 32 bytes. It uses the stack and the registers below, which are given up. What it does
    // is the caller's promise.
    unsafe {
        asm!("call {page} + {offset}", page = sym hypercall_page, offset = const NUMBER * 32,
            out("rax") result, inout("rdi") arguments[0] => _, inout("rsi") arguments[1] => _,
            inout("rdx") arguments[2] => _, out("rcx") _,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
    u64::try_from(result).map_err(|_| Errno(-result))
}

/// On the host, where the unit tests run, there is no Xen: ENOSYS.
///
/// # Safety
/// None needed: nothing happens.
#[cfg(test)]
unsafe fn call<const NUMBER: usize>(_arguments: [u64; 3]) -> Result<u64, Errno> {
    Err(Errno(38))
}

#[cfg(test)]
mod tests {
    use super::timeout;

    /// A wait until `now() + Duration::MAX` was a loop.
    #[test]
    fn what_never_comes_is_no_deadline() {
        assert_eq!(timeout(5), 5);
        assert_eq!(timeout(i64::MAX.cast_unsigned()), i64::MAX.cast_unsigned());
        assert_eq!(timeout(1 << 63), 0);
        assert_eq!(timeout(u64::MAX), 0);
    }
}
