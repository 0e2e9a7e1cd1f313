//! A control page of any bytes behind a right header: no panic, and a snapshot is never longer than
//! its region.

#![no_main]

use libfuzzer_sys::fuzz_target;
use noxs::control_page::ControlPage;
use noxs::page::PageBuffer;
use noxs::state::{Side, State};

fuzz_target!(|data: &[u8]| {
    let mut bytes = [0; 4096];
    let length = data.len().min(4096 - 12);
    bytes[..12].copy_from_slice(b"NoXS-ctl\x01\0\0\0");
    bytes[12..12 + length].copy_from_slice(&data[..length]);
    let buffer = PageBuffer::from_bytes(bytes);
    let page = ControlPage::open(buffer.shared()).expect("the header is right");
    for side in [Side::Backend, Side::Frontend] {
        if let Ok(keys) = page.snapshot(side) {
            assert!(keys.as_bytes().len() <= side.capacity());
        }
        for last in State::ALL {
            let _ = page.change(side, last);
        }
    }
});
