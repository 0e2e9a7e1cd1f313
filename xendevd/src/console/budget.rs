//! How much a guest may print: as much as it likes for a while, and a steady amount after that.

use std::time::{Duration, Instant};

/// A visit costs this much at least, in bytes: a guest that sends an event for every byte makes as
/// much work as one that fills its ring.
const LEAST: u64 = 512;

/// A bucket of bytes that fills at a steady rate.
#[derive(Debug)]
pub(super) struct Budget {
    /// The bytes that there are; below zero what was taken in advance.
    level: i64,
    burst: i64,
    /// Bytes a second.
    rate: i64,
    since: Instant,
}

impl Budget {
    /// A full one.
    pub(super) fn new(burst: u32, rate: u32, now: Instant) -> Self {
        Self {
            level: i64::from(burst),
            burst: i64::from(burst),
            rate: i64::from(rate.max(1)),
            since: now,
        }
    }

    fn fill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.since);
        let millis = i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX);
        let more = self.rate.saturating_mul(millis) / 1000;
        if more > 0 {
            self.level = self.level.saturating_add(more).min(self.burst);
            self.since = now;
        }
    }

    /// How long there is nothing left; zero if there is something.
    pub(super) fn wait(&mut self, now: Instant) -> Duration {
        self.fill(now);
        match u64::try_from(self.level) {
            Ok(1..) => Duration::ZERO,
            // Rounded up to the next moment at which there is something worth a visit.
            _ => {
                let missing = self.level.unsigned_abs() + LEAST;
                Duration::from_millis(
                    missing.saturating_mul(1000).div_ceil(self.rate.unsigned_abs()).max(1),
                )
            }
        }
    }

    /// A visit has taken so many bytes.
    pub(super) fn charge(&mut self, bytes: usize) {
        let bytes =
            i64::try_from(u64::try_from(bytes).unwrap_or(u64::MAX).max(LEAST)).unwrap_or(i64::MAX);
        self.level = self.level.saturating_sub(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_free_and_then_there_is_a_rate() {
        let start = Instant::now();
        let mut budget = Budget::new(4096, 1024, start);
        for _ in 0..2 {
            assert_eq!(budget.wait(start), Duration::ZERO);
            budget.charge(2048);
        }
        assert_eq!(budget.wait(start), Duration::from_millis(500));
        assert!(
            budget.wait(start + Duration::from_millis(499)) > Duration::ZERO || budget.level > 0
        );
        assert_eq!(budget.wait(start + Duration::from_millis(500)), Duration::ZERO);
        budget.charge(2048);
        let later = start + Duration::from_millis(500);
        assert!(budget.wait(later) >= Duration::from_millis(1500));
        assert_eq!(budget.wait(later + Duration::from_secs(1000)), Duration::ZERO);
        assert_eq!(budget.level, 4096, "it does not overflow");
    }

    #[test]
    fn many_small_visits_cost_as_much_as_their_work() {
        let now = Instant::now();
        let mut budget = Budget::new(4096, 1024, now);
        for _ in 0..8 {
            assert_eq!(budget.wait(now), Duration::ZERO);
            budget.charge(1);
        }
        assert!(budget.wait(now) > Duration::ZERO);
    }

    /// What one million small waits give is what one long wait gives.
    #[test]
    fn no_rounding_is_in_the_guests_favour() {
        let start = Instant::now();
        let mut budget = Budget::new(1024, 1000, start);
        let mut visits = 0;
        for millisecond in 0..10_000 {
            if budget.wait(start + Duration::from_millis(millisecond)).is_zero() {
                budget.charge(2048);
                visits += 1;
            }
        }
        assert!((4..=7).contains(&visits), "{visits} visits of 2 KiB in 10 s at 1 kB/s");
    }
}
