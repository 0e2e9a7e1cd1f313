//! A client's bytes, in pieces: no panic, no frame above its limit, and what is read as a request
//! is written and read back to the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use xendevd::protocol::{Frames, MAX_REQUEST, Request};

fuzz_target!(|pieces: Vec<&[u8]>| {
    let mut frames = Frames::default();
    for piece in pieces {
        frames.push(piece);
        while let Ok(Some(frame)) = frames.next(MAX_REQUEST) {
            assert!(frame.len() <= MAX_REQUEST);
            if let Ok(command) = Request::parse(&frame) {
                let written =
                    serde_json::to_vec(&Request::new(command)).expect("a request is JSON");
                assert_eq!(Request::parse(&written), Ok(command));
            }
        }
    }
});
