//! Waiting for what happens by itself: always with a bound, and the bound decides nothing but how
//! long a failure takes.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long something may take that the host does on its own.
pub const BOUND: Duration = Duration::from_secs(240);

/// The least time between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// Looks again and again until there is something to see. A look that starts a program takes the
/// host's one processor from what is waited for, so the pause behind it is as long as the look.
#[track_caller]
pub fn wait_until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        let began = Instant::now();
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < BOUND, "waited for {BOUND:?}, but: {what}");
        sleep(LOOK.max(began.elapsed()));
    }
}

/// Waits until a condition holds.
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    wait_until(what, || holds().then_some(()));
}
