//! A guest that has the faults that its command line names, and reports none: what happens to one
//! without a console, as `noop` is.

#![no_std]
#![no_main]

use guest_runtime::fault::Fault;
use guest_runtime::{Exit, Guest};

guest_runtime::main!(run, silent);

fn run(guest: Guest) -> Exit {
    if guest.cmdline().split_whitespace().any(|word| word == "panic") {
        panic!("nobody hears this");
    }
    if let Some(fault) = guest.cmdline().split_whitespace().find_map(Fault::named) {
        fault.raise();
    }
    guest.wait_forever()
}
