//! The smallest guest: boots, blocks, and goes when it is asked to.

#![no_std]
#![no_main]

use guest_runtime::{Control, Exit, Guest};

guest_runtime::main!(run, silent);

fn run(mut guest: Guest) -> Exit {
    let Some(mut store) = guest.store() else { guest.wait_forever() };
    let Ok(mut control) = Control::open(&mut store) else { guest.wait_forever() };
    loop {
        guest.wait(&mut [&mut store], None);
        if let Some(exit) = control.request(&mut store) {
            return exit;
        }
    }
}
