//! A guest configuration from any text: no panic, and what is read is written and read back to the
//! same.

#![no_main]

use h2::GuestConfig;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match GuestConfig::from_json(text, "fuzz.json") {
        Ok(config) => {
            let written = config.to_json().expect("texts from JSON are UTF-8");
            assert_eq!(
                GuestConfig::from_json(&written, "again").expect("what was written is right"),
                config
            );
        }
        Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
    }
});
