//! From the first instruction (entry.s) to the application's main function, for `main!`.

use core::arch::global_asm;

use crate::boot::{Boot, Kind};
use crate::cpu;
use crate::guest::{Exit, Guest};
use crate::hypercall::{Reason, shutdown};
use crate::trap;

global_asm!(include_str!("entry.s"), options(att_syntax));

/// Runs the application; exceptions are reported.
///
/// # Safety
/// Called once, by entry.s, with the address of the start info and the guest's kind.
pub unsafe fn start(info: usize, kind: u32, run: fn(Guest) -> Exit) -> ! {
    // SAFETY: the caller's promise.
    unsafe { begin(info, kind) };
    trap::install();
    finish(run)
}

/// Runs the application; exceptions are not reported.
///
/// # Safety
/// As `start`.
pub unsafe fn start_silent(info: usize, kind: u32, run: fn(Guest) -> Exit) -> ! {
    // SAFETY: the caller's promise.
    unsafe { begin(info, kind) };
    finish(run)
}

/// Makes hypercalls work.
///
/// # Safety
/// As `start`.
unsafe fn begin(info: usize, kind: u32) {
    // SAFETY: the caller's promise.
    unsafe { Boot::remember(info, kind) };
    if Boot::kind() == Kind::Pvh && cpu::fill_hypercall_page().is_err() {
        // Without hypercalls there is no way to say so, nor to stop but this one: a triple fault,
        // which ends the domain.
        halt();
    }
}

fn finish(run: fn(Guest) -> Exit) -> ! {
    match Guest::open() {
        Ok(guest) => shutdown(run(guest).reason()),
        Err(_) => shutdown(Reason::Crash),
    }
}

fn halt() -> ! {
    // SAFETY: an undefined instruction; without an IDT it ends the domain.
    unsafe { core::arch::asm!("ud2", options(noreturn)) }
}
