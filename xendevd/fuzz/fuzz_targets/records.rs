//! Any bytes as a guest's record, and any name of a file as that of one: no panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use xendevd::guests::{domain_of, parse};

fuzz_target!(|input: (&str, &[u8])| {
    let (name, bytes) = input;
    if let Some(domain) = domain_of(name) {
        assert!(
            name.trim_start_matches('0').starts_with(&format!("{domain}.json"))
                || domain.get() == 0
        );
    }
    let _ = parse(bytes);
});
