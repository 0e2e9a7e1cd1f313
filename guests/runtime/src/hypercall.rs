//! Hypercalls: the call itself, and one typed function for each operation that the runtime uses.
//!
//! Numbers and structures are those of Xen's public headers (xen.h, sched.h, event_channel.h, memory.h,
//! grant_table.h, hvm/hvm_op.h, hvm/params.h), which are a stable ABI. Neighbours: everything else in this crate.

use core::fmt;

use crate::event::Port;

/// What a hypercall failed with: a positive errno of Xen's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i64);

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Xen error {}", self.0)
    }
}

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

/// `XENMAPSPACE_*` in memory.h: what `add_to_physmap` puts somewhere.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Space {
    SharedInfo = 0,
    /// Its first page.
    GrantTable = 1,
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
        // SAFETY: `argument` is the `struct sched_shutdown` that the operation reads, and it does not return.
        let _ = unsafe { call::<SCHED_OP>([2, address(&argument), 0]) };
    }
}

/// SCHEDOP_poll: blocks until one of `ports` is pending, or `deadline` (system time, ns; 0: none), or
/// without a reason. With no port and no deadline: until some event arrives.
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
    let argument = Poll { ports: ports.as_ptr().expose_provenance() as u64, count, deadline };
    // SAFETY: `argument` is the structure that the operation reads, with a pointer to `count` ports, which are
    // integers of 32 bits. A failure (a port that is not valid) returns at once: the caller sees a wake without a reason.
    let _ = unsafe { call::<SCHED_OP>([3, address(&argument), 0]) };
}

/// EVTCHNOP_send: tells the other end of `port`.
pub(crate) fn notify(port: Port) {
    let argument = port.number();
    // SAFETY: `argument` is the `struct evtchn_send` that the operation reads. A failure means that the other end is
    // gone, and nobody is left to be told.
    let _ = unsafe { call::<EVENT_CHANNEL_OP>([4, address(&argument), 0]) };
}

/// EVTCHNOP_alloc_unbound: a port of ours that domain `peer` may bind to. The number is Xen's.
pub(crate) fn alloc_unbound(peer: u16) -> Result<u32, Errno> {
    #[repr(C)]
    struct AllocUnbound {
        domid: u16,
        peer: u16,
        port: u32,
    }
    const _: () = assert!(size_of::<AllocUnbound>() == 8);
    let mut argument = AllocUnbound { domid: DOMID_SELF, peer, port: 0 };
    // SAFETY: `argument` is the structure that the operation reads and writes.
    unsafe { call::<EVENT_CHANNEL_OP>([6, address_mut(&mut argument), 0]) }?;
    Ok(argument.port)
}

/// EVTCHNOP_close.
pub(crate) fn close_port(port: Port) {
    let argument = port.number();
    // SAFETY: `argument` is the `struct evtchn_close` that the operation reads. It fails for a port that is not open only.
    let _ = unsafe { call::<EVENT_CHANNEL_OP>([3, address(&argument), 0]) };
}

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
    let mut argument = SetupTable { domid: DOMID_SELF, count: 1, status: 0, frames: address_mut(&mut frame) };
    // SAFETY: `argument` is the one structure that the operation reads and writes, with a pointer to `count` frame numbers.
    unsafe { call::<GRANT_TABLE_OP>([2, address_mut(&mut argument), 1]) }?;
    if argument.status != 0 {
        return Err(Errno(-i64::from(argument.status)));
    }
    Ok(frame)
}

/// HYPERVISOR_update_va_mapping, PV: `va`'s page table entry becomes `entry`.
///
/// # Safety
/// No reference to the page at `va` exists, and what `entry` names may be accessed there.
pub(crate) unsafe fn update_va_mapping(va: u64, entry: u64) -> Result<(), Errno> {
    const UVMF_INVLPG: u64 = 2;
    // SAFETY: the caller's promise.
    unsafe { call::<UPDATE_VA_MAPPING>([va, entry, UVMF_INVLPG]) }
}

/// HYPERVISOR_set_trap_table, PV. The table ends with a line of zeroes.
///
/// # Safety
/// The addresses in the table are trap handlers.
pub(crate) unsafe fn set_trap_table(table: &[TrapInfo]) -> Result<(), Errno> {
    // SAFETY: the caller's promise for the handlers; the table is what the operation reads.
    unsafe { call::<SET_TRAP_TABLE>([table.as_ptr().expose_provenance() as u64, 0, 0]) }
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
    // SAFETY: `argument` is the structure that the operation reads; the frame is the caller's promise.
    unsafe { call::<MEMORY_OP>([7, address(&argument), 0]) }
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

/// The address of an argument, for Xen to read it: exposed, or the compiler might keep the argument in registers.
fn address<T>(argument: &T) -> u64 {
    core::ptr::from_ref(argument).expose_provenance() as u64
}

/// The address of what Xen reads and writes.
fn address_mut<T>(argument: &mut T) -> u64 {
    core::ptr::from_mut(argument).expose_provenance() as u64
}

/// Calls entry `NUMBER` of the hypercall page. No operation that we use returns a value above zero that anyone needs.
///
/// # Safety
/// The arguments are what the hypercall expects, and what it does to this domain is sound.
#[cfg(not(test))]
unsafe fn call<const NUMBER: usize>(arguments: [u64; 3]) -> Result<(), Errno> {
    use core::arch::asm;

    unsafe extern "C" {
        static hypercall_page: [u8; 4096];
    }
    let result: i64;
    // SAFETY: the page was filled by Xen (PV: by the domain builder, PVH: in `entry`), each entry has 32 bytes. It
    // uses the stack and the registers below, which are given up. What it does is the caller's promise.
    unsafe {
        asm!("call {page} + {offset}", page = sym hypercall_page, offset = const NUMBER * 32,
            out("rax") result, inout("rdi") arguments[0] => _, inout("rsi") arguments[1] => _,
            inout("rdx") arguments[2] => _, out("rcx") _, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
    if result < 0 { Err(Errno(-result)) } else { Ok(()) }
}

/// On the host, where the unit tests run, there is no Xen: ENOSYS.
///
/// # Safety
/// None needed: nothing happens.
#[cfg(test)]
unsafe fn call<const NUMBER: usize>(_arguments: [u64; 3]) -> Result<(), Errno> {
    Err(Errno(38))
}
