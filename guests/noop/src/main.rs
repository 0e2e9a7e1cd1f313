//! The smallest guest: boots, blocks, and goes when it is asked to.

#![no_std]
#![no_main]

use guest_runtime::{Control, Exit, Guest};

guest_runtime::main!(run, silent);

fn run(mut guest: Guest) -> Exit {
    let Some(mut plane) = guest.plane() else { guest.wait_forever() };
    let Ok(mut control) = Control::open(&mut plane) else { guest.wait_forever() };
    loop {
        guest.wait(&mut [&mut plane], None);
        if let Some(exit) = control.request(&mut plane) {
            return exit;
        }
    }
}
