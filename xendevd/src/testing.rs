//! What several unit tests need.

#![allow(clippy::unwrap_used)]

use std::thread;

use nix::sched::{CloneFlags, unshare};

use crate::net::Links;

/// Runs a test in a network of its own, which only root may make.
pub(crate) fn private_network(test: impl FnOnce(&mut Links) + Send) {
    // The namespace is the thread's, and goes with it.
    thread::scope(|scope| {
        let run = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            test(&mut Links::open().unwrap());
        });
        if let Err(panic) = run.join() {
            std::panic::resume_unwind(panic);
        }
    });
}
