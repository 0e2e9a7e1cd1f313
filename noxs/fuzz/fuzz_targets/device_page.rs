//! A device page of any bytes behind a right header: no panic, and every entry has a class that is
//! one.

#![no_main]

use libfuzzer_sys::fuzz_target;
use noxs::device::Class;
use noxs::device_page::DevicePage;
use noxs::page::PageBuffer;

fuzz_target!(|data: &[u8]| {
    let mut bytes = [0; 4096];
    let length = data.len().min(4096 - 20);
    bytes[..20].copy_from_slice(b"NoXS-dev\x01\0\0\0\x40\0\x20\0\x7e\0\0\0");
    bytes[20..20 + length].copy_from_slice(&data[..length]);
    let buffer = PageBuffer::from_bytes(bytes);
    let page = DevicePage::open(buffer.shared().read_only()).expect("the header is right");
    for entry in page.entries() {
        assert_eq!(Class::new(entry.device.class.as_str()), Ok(entry.device.class));
        assert!(!entry.sequence.is_multiple_of(2));
    }
});
