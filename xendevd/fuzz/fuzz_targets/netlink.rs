//! Any bytes as the kernel's answer: no panic.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = xendevd::net::parse_replies(bytes);
});
