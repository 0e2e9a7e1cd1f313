//! A small runtime for unikernels on Xen: one static image that boots as a PV and as a PVH guest.
//!
//! ```text
//! #![no_std]
//! #![no_main]
//! use guest_runtime::{Exit, Guest};
//! guest_runtime::main!(run);
//! fn run(guest: Guest) -> Exit { ... }
//! ```
//!
//! Layers, low to high: `page` (shared memory), `hypercall` | `boot`, `window`, `ring`,
//! `front_ring`, `slots`, `clock`, `text` | `event`, `grant` | `channel`, `foreign` | `memory`,
//! `console`, `store` | `plane` | `device` | `net`, `blk` | `control`, `random` | `guest`,
//! `hostile`. `entry` and `trap` are how we get in, `stack` is where we end when we go too far,
//! `report` is how we fail, `fault` how we do so on purpose; `mem` is what the compiler calls. The
//! crate `noxs` has the pages of NoXS.
//!
//! # No interrupts
//! Events stay masked and IF stays 0 from the first instruction to the last; a guest blocks in
//! SCHEDOP_poll and nowhere else. That is not only simple, it is needed: `core` comes compiled for
//! Linux processes, its functions use the red zone below the stack pointer, and an interrupt
//! handler on the same stack would overwrite it. (Exceptions do overwrite it. They do not return.)
//! So there is one thread, nothing interrupts it, and every wait is in `event`.
//!
//! # Memory
//! The image is linked at its physical address, from 0x1000 on, and brings all that it needs, in
//! `.bss`: stack, page tables for PVH, the windows of control pages, and the memory that an
//! application gives its devices. There is no heap. The loader must clear `.bss` as ELF demands.
//! Page 0 is not mapped: it is what a stack that is too small meets, and a null pointer.

#![cfg_attr(not(test), no_std)]
#![cfg_attr(test, allow(dead_code))]
#![warn(missing_docs)]

pub use boot::{Frame, Kind};
pub use clock::Instant;
pub use console::Console;
pub use control::{About, Control, Requested};
pub use device::{DeviceError, Devices, Link};
pub use event::{MAX_SOURCES, Port, Ports, Source, Wake};
pub use guest::{Error, Exit, Guest};
pub use hypercall::Errno;
pub use memory::{DeviceMemory, DevicePages, Paged};
pub use noxs::state::State;
pub use once::Once;
pub use plane::{Class, DeviceId, Noxs, Plane};
pub use random::Random;
pub use store::{Store, StoreError, Watch};

pub mod blk;
mod boot;
pub mod calendar;
mod channel;
mod clock;
mod console;
mod control;
mod device;
mod event;
pub mod fault;
mod foreign;
mod front_ring;
mod grant;
mod guest;
pub mod hostile;
mod hypercall;
mod mem;
mod memory;
pub mod net;
mod once;
mod page;
mod plane;
mod random;
mod ring;
mod slots;
mod stack;
mod store;
mod text;
mod window;

#[cfg(not(test))]
mod cpu;
#[cfg(not(test))]
pub mod entry;
#[cfg(not(test))]
pub mod report;
#[cfg(not(test))]
mod trap;

#[cfg(test)]
mod test_page;

/// Names the application's main function, `fn(Guest) -> Exit`, and makes the image complete.
///
/// `main!(run)` reports panics and exceptions on the console. `main!(run, silent)` crashes without
/// a word, in either type of guest, and saves about 10 KiB, which is what formatting costs.
#[macro_export]
macro_rules! main {
    ($run:path) => {
        $crate::main!(@entry $run, $crate::entry::start);
        #[panic_handler]
        fn panicked(info: &core::panic::PanicInfo<'_>) -> ! {
            $crate::report::panicked(info)
        }
    };
    ($run:path, silent) => {
        $crate::main!(@entry $run, $crate::entry::start_silent);
        #[panic_handler]
        fn panicked(_: &core::panic::PanicInfo<'_>) -> ! {
            $crate::report::crash()
        }
    };
    (@entry $run:path, $start:path) => {
        #[unsafe(no_mangle)]
        extern "C" fn guest_start(info: usize, kind: u32) -> ! {
            // SAFETY: entry.s alone calls this, once, with what the hypervisor passed.
            unsafe { $start(info, kind, $run) }
        }
    };
}
