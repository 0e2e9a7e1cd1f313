//! How fast guests that end are started again: a guest that crashes as soon as it runs must not
//! keep the host busy.
//!
//! A life of a minute or more is a good one. After short ones in a row the pauses become longer: 1,
//! 2, 4, ... 60 s; the first crash, and the first ten reboots, cost none. A guest is known by its
//! UUID, since each life has a domain of its own.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use h2::{DomId, ShutdownReason};
use uuid::Uuid;

/// A life that was at least this long forgives those before it.
const GOOD_LIFE: Duration = Duration::from_secs(60);

/// The longest pause.
const LONGEST: Duration = Duration::from_secs(60);

/// So many quick ends in a row cost no pause.
const FREE_CRASHES: u32 = 1;
const FREE_REBOOTS: u32 = 10;

/// So often a restart that fails is tried.
const TRIES: u32 = 8;

/// The guests that have ended lately.
#[derive(Debug, Default)]
pub struct Pace {
    guests: HashMap<Uuid, Guest>,
}

#[derive(Debug, Default)]
struct Guest {
    /// When we started it the last time.
    started: Option<Instant>,
    crashes: u32,
    reboots: u32,
    plan: Option<Plan>,
    failures: u32,
}

/// What is to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// The domain that has ended.
    pub domain: DomId,
    /// Quick ends in a row, this one included.
    pub in_a_row: u32,
    /// When it is time; `None` if it has failed too often.
    pub at: Option<Instant>,
    /// This end has just been seen for the first time.
    pub is_new: bool,
}

/// The pause before the try of this number, counted from zero: none, 1, 2, 4 ... 60 s.
fn pause(number: u32) -> Duration {
    match number.checked_sub(1) {
        None => Duration::ZERO,
        Some(doublings) => Duration::from_secs(1 << doublings.min(6)).min(LONGEST),
    }
}

impl Pace {
    /// A guest has ended: when to act. The same end gets the same answer, however often it is asked
    /// about.
    pub fn plan(
        &mut self,
        uuid: Uuid,
        domain: DomId,
        reason: ShutdownReason,
        now: Instant,
    ) -> Plan {
        let guest = self.guests.entry(uuid).or_default();
        if let Some(plan) = guest.plan.as_mut().filter(|plan| plan.domain == domain) {
            plan.is_new = false;
            return *plan;
        }
        let was_good =
            guest.started.is_none_or(|started| now.saturating_duration_since(started) >= GOOD_LIFE);
        if was_good {
            (guest.crashes, guest.reboots) = (0, 0);
        }
        guest.failures = 0;
        let asked_for = matches!(reason, ShutdownReason::Reboot | ShutdownReason::PowerOff);
        let (count, free) = if asked_for {
            (&mut guest.reboots, FREE_REBOOTS)
        } else {
            (&mut guest.crashes, FREE_CRASHES)
        };
        *count = count.saturating_add(1);
        let wait = pause(count.saturating_sub(free));
        let plan = Plan { domain, in_a_row: *count, at: Some(now + wait), is_new: true };
        guest.plan = Some(plan);
        plan
    }

    /// The guest runs again.
    pub fn started(&mut self, uuid: Uuid, now: Instant) {
        if let Some(guest) = self.guests.get_mut(&uuid) {
            guest.started = Some(now);
            guest.plan = None;
            guest.failures = 0;
        }
    }

    /// Somebody else has the guest in hand: it is looked at again soon.
    pub fn busy(&mut self, uuid: Uuid, now: Instant) {
        if let Some(plan) = self.guests.get_mut(&uuid).and_then(|guest| guest.plan.as_mut()) {
            plan.at = Some(now + Duration::from_secs(1));
        }
    }

    /// It did not work. When to try again, or `None` if that makes no sense any more.
    pub fn failed(&mut self, uuid: Uuid, may_pass: bool, now: Instant) -> Option<Instant> {
        let guest = self.guests.get_mut(&uuid)?;
        guest.failures = guest.failures.saturating_add(1);
        let again = (may_pass && guest.failures < TRIES).then(|| now + pause(guest.failures));
        if let Some(plan) = guest.plan.as_mut() {
            plan.at = again;
        }
        again
    }

    /// Those that have failed for good are tried again.
    pub fn retry(&mut self, now: Instant) {
        for guest in self.guests.values_mut() {
            if let Some(plan) = guest.plan.as_mut().filter(|plan| plan.at.is_none()) {
                plan.at = Some(now);
                guest.failures = 0;
            }
        }
    }

    /// Forgets guests that nobody need remember: of those that have ended, `ended` is all there
    /// are.
    pub fn forget(&mut self, ended: &[Uuid], now: Instant) {
        self.guests.retain(|uuid, guest| {
            if !ended.contains(uuid) {
                guest.plan = None;
            }
            guest.plan.is_some()
                || guest
                    .started
                    .is_some_and(|started| now.saturating_duration_since(started) < GOOD_LIFE)
        });
    }

    /// When something is due next.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.guests.values().filter_map(|guest| guest.plan?.at).min()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const GUEST: Uuid = Uuid::from_u128(1);

    /// The pauses, in seconds, before each of these lives; a life is a reason and its length in
    /// seconds.
    fn pauses(lives: &[(ShutdownReason, u64)]) -> Vec<u64> {
        let mut pace = Pace::default();
        let mut now = Instant::now();
        let mut waits = Vec::new();
        for (number, (reason, life)) in (1u16..).zip(lives) {
            now += Duration::from_secs(*life);
            let plan = pace.plan(GUEST, DomId::new(number).unwrap(), *reason, now);
            assert!(plan.is_new);
            let at = plan.at.unwrap();
            assert_eq!(
                pace.plan(GUEST, DomId::new(number).unwrap(), *reason, now),
                Plan { is_new: false, ..plan }
            );
            assert_eq!(pace.next(), Some(at));
            waits.push((at - now).as_secs());
            now = at;
            pace.started(GUEST, now);
        }
        waits
    }

    #[test]
    fn crashes_are_slowed_down() {
        let lives = vec![(ShutdownReason::Crash, 2); 10];
        assert_eq!(pauses(&lives), [0, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }

    #[test]
    fn ten_reboots_are_free() {
        let lives = vec![(ShutdownReason::Reboot, 2); 14];
        assert_eq!(pauses(&lives)[8..], [0, 0, 1, 2, 4, 8]);
    }

    #[test]
    fn a_good_life_forgives() {
        let crash = |life| (ShutdownReason::Crash, life);
        assert_eq!(pauses(&[crash(1), crash(1), crash(59), crash(60), crash(1)]), [0, 1, 2, 0, 1]);
    }

    #[test]
    fn crashes_and_reboots_count_by_themselves() {
        let lives = [ShutdownReason::Crash, ShutdownReason::Reboot, ShutdownReason::Watchdog]
            .map(|reason| (reason, 1));
        assert_eq!(pauses(&lives), [0, 0, 1]);
    }

    #[test]
    fn failures_are_tried_again_and_not_for_ever() {
        let mut pace = Pace::default();
        let (now, domain) = (Instant::now(), DomId::new(5).unwrap());
        pace.plan(GUEST, domain, ShutdownReason::Crash, now);
        let tries: Vec<_> = (0..TRIES)
            .map(|_| pace.failed(GUEST, true, now).map(|at| (at - now).as_secs()))
            .collect();
        assert_eq!(tries, [Some(1), Some(2), Some(4), Some(8), Some(16), Some(32), Some(60), None]);
        assert_eq!(pace.plan(GUEST, domain, ShutdownReason::Crash, now).at, None);
        pace.forget(&[GUEST], now);
        pace.retry(now);
        assert_eq!(pace.next(), Some(now));
        assert_eq!(pace.failed(GUEST, false, now), None, "what cannot pass is not tried again");
    }

    #[test]
    fn who_is_gone_is_forgotten() {
        let mut pace = Pace::default();
        let now = Instant::now();
        pace.plan(GUEST, DomId::new(5).unwrap(), ShutdownReason::Crash, now);
        pace.started(GUEST, now);
        pace.forget(&[], now + GOOD_LIFE / 2);
        assert_eq!(pace.guests.len(), 1, "its next end may be a quick one");
        pace.forget(&[], now + GOOD_LIFE);
        assert!(pace.guests.is_empty());
    }
}
