//! Keys from any bytes: no panic, and what is read is written back to the same bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use noxs::keys::{KeyList, Keys};
use noxs::state::Side;

fuzz_target!(|data: &[u8]| {
    if let Ok(list) = KeyList::parse(data) {
        let mut keys = Keys::for_side(Side::Frontend);
        for (key, value) in list.iter() {
            keys.set(key, value).expect("what was read can be written");
        }
        assert_eq!(keys.as_bytes(), data);
    }
});
