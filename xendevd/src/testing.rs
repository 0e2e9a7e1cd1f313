//! What several unit tests need.

use std::thread;

use nix::sched::{CloneFlags, unshare};

use crate::net::Links;

/// Runs a test in a network of its own. Where this user may not have one (no user namespaces),
/// there is nothing to test; the lab's suite `hotplug` tests the same on a real host.
pub(crate) fn private_network(test: impl FnOnce(&mut Links) + Send) {
    // The namespace is the thread's, and goes with it. A user namespace, which who is not root
    // needs, takes a process of one thread.
    thread::scope(|scope| {
        let run = scope.spawn(|| {
            if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
                eprintln!("no network of one's own: {error}");
                return;
            }
            if let Ok(mut links) = Links::open() {
                test(&mut links);
            }
        });
        if let Err(panic) = run.join() {
            std::panic::resume_unwind(panic);
        }
    });
}
