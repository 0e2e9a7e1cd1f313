//! A kernel image from any bytes, for both types of guest: no panic, and no memory beyond the
//! bound.

#![no_main]

use h2::config::GuestType;
use h2::image::KernelImage;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for kind in GuestType::ALL {
        let _ = KernelImage::from_bytes(data.to_vec(), "fuzz", *kind);
    }
});
