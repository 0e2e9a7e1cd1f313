//! The time in which we have been watching.
//!
//! A host is judged by how long it says nothing. While we ourselves do not run (the job is stopped
//! with Ctrl-Z, the terminal takes no output after Ctrl-S) nothing can be heard from it, so that
//! time must not count.

use std::time::{Duration, Instant};

/// The longest that one turn of the loop counts for. A turn waits half a second for events at most;
/// the rest is for a machine that is busy.
const LONGEST_TURN: Duration = Duration::from_secs(5);

/// Goes on with each turn of the loop, and stands still while there is none.
#[derive(Debug)]
pub(crate) struct Clock {
    last: Instant,
    watched: Duration,
}

impl Clock {
    pub(crate) fn new(now: Instant) -> Self {
        Clock { last: now, watched: Duration::ZERO }
    }

    /// Another turn begins.
    pub(crate) fn turn(&mut self, now: Instant) {
        self.watched += now.saturating_duration_since(self.last).min(LONGEST_TURN);
        self.last = now;
    }

    /// How long we have been watching, until the last turn.
    pub(crate) fn now(&self) -> Duration {
        self.watched
    }

    /// How long ago `then` was by this clock.
    pub(crate) fn since(&self, then: Duration) -> Duration {
        self.watched.saturating_sub(then)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Clock;

    #[test]
    fn an_hour_in_which_we_were_stopped_counts_for_nothing() {
        let seconds = Duration::from_secs;
        let start = Instant::now();
        let mut clock = Clock::new(start);
        clock.turn(start + seconds(1));
        let heard = clock.now();
        clock.turn(start + seconds(2));
        // Ctrl-Z, and fg an hour later.
        clock.turn(start + seconds(3600));
        assert_eq!(clock.since(heard), seconds(6));
        // A host that is silent while we do watch is found.
        for turn in 1..=300 {
            clock.turn(start + seconds(3600) + Duration::from_millis(500) * turn);
        }
        assert_eq!(clock.since(heard), seconds(156));
    }
}
