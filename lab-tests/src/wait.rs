//! Waiting for what happens by itself: always with a bound, and the bound decides nothing but how
//! long a failure takes.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long something may take that the host does on its own.
pub const BOUND: Duration = Duration::from_secs(240);

/// Long enough not to be in the way of what is waited for, on a host with few processors.
const LOOK: Duration = Duration::from_millis(50);

/// Looks again and again until there is something to see.
#[track_caller]
pub fn wait_until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < BOUND, "waited for {BOUND:?}, but: {what}");
        sleep(LOOK);
    }
}

/// Waits until a condition holds.
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    wait_until(what, || holds().then_some(()));
}
