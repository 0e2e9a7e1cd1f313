//! From the first instruction (entry.s) to the application's main function, for `main!`.

use core::arch::global_asm;

use crate::boot::{Boot, Kind};
use crate::cpu;
use crate::guest::{Exit, Guest};
use crate::hypercall::shutdown;
use crate::report::crash;
use crate::{stack, trap};

global_asm!(include_str!("entry.s"), options(att_syntax));

/// Runs the application; exceptions are reported.
///
/// # Safety
/// Called once, by entry.s, with the address of the start info and the guest's kind.
pub unsafe fn start(info: usize, kind: u32, run: fn(Guest) -> Exit) -> ! {
    // SAFETY: the caller's promise.
    let kind = unsafe { begin(info, kind) };
    trap::install(kind);
    finish(run)
}

/// Runs the application; exceptions are not reported, but crash the guest all the same.
///
/// # Safety
/// As `start`.
pub unsafe fn start_silent(info: usize, kind: u32, run: fn(Guest) -> Exit) -> ! {
    // SAFETY: the caller's promise.
    let kind = unsafe { begin(info, kind) };
    trap::install_silent(kind);
    finish(run)
}

/// Makes hypercalls work, and the stack's guard.
///
/// # Safety
/// As `start`.
unsafe fn begin(info: usize, kind: u32) -> Kind {
    // SAFETY: the caller's promise.
    unsafe { Boot::remember(info, kind) };
    let kind = Boot::kind();
    if kind == Kind::Pvh && cpu::fill_hypercall_page().is_err() {
        // Without hypercalls there is no way to say so, nor to stop but this one.
        triple_fault();
    }
    if stack::guard(kind).is_err() {
        crash();
    }
    kind
}

fn finish(run: fn(Guest) -> Exit) -> ! {
    match Guest::open() {
        Ok(guest) => shutdown(run(guest).reason()),
        Err(_) => crash(),
    }
}

/// Ends a PVH domain that has no IDT yet: as a crash if its toolstack has set
/// HVM_PARAM_TRIPLE_FAULT_REASON, otherwise as a reboot.
fn triple_fault() -> ! {
    // SAFETY: an undefined instruction, with nobody to handle it.
    unsafe { core::arch::asm!("ud2", options(noreturn)) }
}
