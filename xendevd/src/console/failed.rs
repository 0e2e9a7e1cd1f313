//! A console that cannot be served now: tried again soon, then more and more seldom.

use std::time::{Duration, Instant};

/// A guest is being finished while its record is there already, so the first tries may come too
/// soon: that is nothing to tell.
const PATIENCE: Duration = Duration::from_secs(2);

const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LAST_PAUSE: Duration = Duration::from_secs(2);

/// What is known of one.
#[derive(Debug)]
pub(super) struct Failed {
    since: Instant,
    pause: Duration,
    /// When it is tried again.
    pub(super) next: Instant,
    told: bool,
}

impl Failed {
    /// It has just failed for the first time; it is tried again after `FIRST_PAUSE`.
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, pause: FIRST_PAUSE, next: now + FIRST_PAUSE, told: false }
    }

    /// It has failed again. Whether that is to be told: once, and not too soon.
    pub(super) fn again(&mut self, now: Instant) -> bool {
        self.pause = (self.pause * 2).min(LAST_PAUSE);
        self.next = now + self.pause;
        let tells = !self.told && now >= self.since + PATIENCE;
        self.told |= tells;
        tells
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_once_and_tried_for_ever() {
        let start = Instant::now();
        let mut failed = Failed::new(start);
        let (mut tries, mut told) = (0, 0);
        while failed.next < start + Duration::from_secs(60) {
            let now = failed.next;
            told += u32::from(failed.again(now));
            tries += 1;
        }
        assert_eq!(told, 1);
        assert!((30..50).contains(&tries), "{tries}");
    }
}
