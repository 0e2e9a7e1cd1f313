//! Exceptions: a report on the console, then a crash, or the crash alone. There is nothing to come
//! back to.

use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;
use core::fmt::Write;

use crate::boot::{Boot, Kind};
use crate::hypercall::{TrapInfo, set_trap_table};
use crate::report::{crash, crash_with};
use crate::stack;

global_asm!(include_str!("trap.s"), options(att_syntax));

const VECTORS: u8 = 32;
const PAGE_FAULT: u64 = 14;
const STUB: u64 = 16;
/// The bytes at the start of a stub that only PV runs.
const TRAP_NATIVE: u64 = 3;

/// A 64-bit interrupt gate.
#[repr(C)]
#[derive(Clone, Copy)]
struct Gate {
    low: u64,
    high: u64,
}

struct Table(UnsafeCell<[Gate; VECTORS as usize]>);

// SAFETY: written once, before it is loaded; afterwards only the CPU reads it.
unsafe impl Sync for Table {}

static TABLE: Table = Table(UnsafeCell::new([Gate { low: 0, high: 0 }; VECTORS as usize]));

/// What a stub leaves on the stack.
#[repr(C)]
#[derive(Debug)]
struct Frame {
    vector: u64,
    error: u64,
    rip: u64,
    cs: u64,
    flags: u64,
    rsp: u64,
    ss: u64,
}

/// Makes exceptions end in a report.
pub(crate) fn install(kind: Kind) {
    unsafe extern "C" {
        static trap_stubs: [u8; 512];
    }
    let stubs = (&raw const trap_stubs).expose_provenance() as u64;
    match kind {
        Kind::Pv => install_pv(stubs),
        Kind::Pvh => install_pvh(stubs + TRAP_NATIVE, STUB),
    }
}

/// Makes exceptions end in a crash. Xen does that for a PV guest that has no handler; a PVH guest
/// would have a triple fault, of which Xen makes what the toolstack has chosen: by default a
/// reboot.
pub(crate) fn install_silent(kind: Kind) {
    unsafe extern "C" {
        static trap_silent: [u8; 1];
    }
    if kind == Kind::Pvh {
        install_pvh((&raw const trap_silent).expose_provenance() as u64, 0);
    }
}

fn install_pv(stubs: u64) {
    const FLAT_KERNEL_CS: u16 = 0xe033;
    let mut table = [TrapInfo { vector: 0, flags: 0, cs: 0, address: 0 }; VECTORS as usize + 1];
    for (line, vector) in table.iter_mut().zip(0..VECTORS) {
        *line = TrapInfo {
            vector,
            flags: 0,
            cs: FLAT_KERNEL_CS,
            address: stubs + u64::from(vector) * STUB,
        };
    }
    // SAFETY: the stubs take what Xen pushes for the vector of their line. A failure leaves
    // exceptions unreported.
    let _ = unsafe { set_trap_table(&table) };
}

/// Gates to a stub for each vector, `distance` bytes from one to the next.
fn install_pvh(stubs: u64, distance: u64) {
    // Selector 8 (entry.s), present, interrupt gate, on the first stack of the task state segment.
    const ATTRIBUTES: u64 = 0x8e01 << 32 | 8 << 16;
    let mut address = stubs;
    for vector in 0..usize::from(VECTORS) {
        let low = address & 0xffff | (address & 0xffff_0000) << 32 | ATTRIBUTES;
        let gate = TABLE.0.get().cast::<Gate>().wrapping_add(vector);
        // SAFETY: in the table, as `vector` is below its length; no reference to it exists, and it
        // is not loaded yet.
        unsafe { gate.write(Gate { low, high: address >> 32 }) };
        address += distance;
    }
    let base = TABLE.0.get().expose_provenance().to_le_bytes();
    let mut pointer = [0; 10];
    pointer[..2].copy_from_slice(&511u16.to_le_bytes());
    pointer[2..].copy_from_slice(&base);
    // SAFETY: a table of 32 gates whose stubs take what the CPU pushes; it lives as long as the
    // program.
    unsafe {
        asm!("lidt ({})", in(reg) &raw const pointer, options(att_syntax, nostack, preserves_flags))
    };
}

/// Where the silent stub ends.
#[unsafe(no_mangle)]
extern "C" fn trap_crash() -> ! {
    crash()
}

/// Where the stubs end.
#[unsafe(no_mangle)]
extern "C" fn trap_report(frame: &Frame) -> ! {
    let fault = match Boot::kind() {
        // vcpu_info[0].arch.cr2
        Kind::Pv => None,
        Kind::Pvh => {
            let address: u64;
            // SAFETY: reading CR2 changes nothing, and a PVH guest's kernel may.
            unsafe {
                asm!(
                    "mov %cr2, {}", out(reg) address,
                    options(att_syntax, nomem, nostack, preserves_flags)
                )
            };
            Some(address)
        }
    };
    crash_with(|console, info| {
        let fault = fault.unwrap_or_else(|| info.load_u64(16));
        let Frame { vector, error, rip, rsp, .. } = frame;
        if *vector == PAGE_FAULT && stack::is_overflow(fault, *rsp) {
            let _ = console.write_str("stack overflow: ");
        }
        let _ = write!(
            console,
            "exception {vector}, error {error:#x}, at {rip:#x}, stack {rsp:#x}, cr2 {fault:#x}"
        );
    })
}
