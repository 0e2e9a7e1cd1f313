//! System time: Xen's clock, in nanoseconds since the host booted, which the timeouts of
//! SCHEDOP_poll are told in.
//!
//! Read from `vcpu_info[0].time` in the shared info page and the time stamp counter. The time of
//! day is that and the wall clock at the host's boot, `wc_sec` and `wc_nsec`.

use core::arch::asm;
use core::ops::Add;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use crate::page::SharedPage;

/// An instant of system time: nanoseconds since the host booted. One that is read later is never
/// less. What is added saturates; an instant beyond 292 years is never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(u64);

impl Instant {
    /// Nanoseconds since the host booted.
    pub fn as_nanos(self) -> u64 {
        self.0
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, duration: Duration) -> Instant {
        Instant(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

// struct vcpu_time_info in xen.h, of virtual CPU 0, by offset in the shared info page.
const TIME: usize = 32;
const VERSION: usize = TIME;
const TSC_TIMESTAMP: usize = TIME + 8;
const SYSTEM_TIME: usize = TIME + 16;
const TSC_TO_SYSTEM_MUL: usize = TIME + 24;
const TSC_SHIFT: usize = TIME + 28;

// struct shared_info: the wall clock at system time 0.
const WALL_VERSION: usize = 3072;
const WALL_SECONDS: usize = 3076;
const WALL_NANOS: usize = 3080;
const WALL_SECONDS_HIGH: usize = 3084;

/// Reads the clock from the shared info page `info`.
pub(crate) fn now(info: SharedPage) -> Instant {
    static LAST: AtomicU64 = AtomicU64::new(0);
    Instant(later(&LAST, read(info)))
}

/// The later of `time` and what was read last. Xen sets the clock's parameters anew each time that
/// it runs the CPU, and by those a tick may be worth a little less than by the ones before.
fn later(last: &AtomicU64, time: u64) -> u64 {
    // There is one thread.
    let time = time.max(last.load(Ordering::Relaxed));
    last.store(time, Ordering::Relaxed);
    time
}

fn read(info: SharedPage) -> u64 {
    loop {
        let version = info.load_u32(VERSION);
        let then = info.load_u64(TSC_TIMESTAMP);
        let system = info.load_u64(SYSTEM_TIME);
        let mul = info.load_u32(TSC_TO_SYSTEM_MUL);
        let shift = i8::from_le_bytes([info.load_u32(TSC_SHIFT).to_le_bytes()[0]]);
        let tsc = time_stamp();
        // Odd: being written. Changed: it was written meanwhile. Xen writes it between two runs of
        // this CPU, so this repeats once at most.
        if version & 1 == 0 && info.load_u32(VERSION) == version {
            return system.wrapping_add(scale(elapsed(then, tsc), mul, shift));
        }
    }
}

/// The time since 1970 began.
pub(crate) fn wall(info: SharedPage) -> Duration {
    loop {
        let version = info.load_u32(WALL_VERSION);
        let seconds = u64::from(info.load_u32(WALL_SECONDS))
            | u64::from(info.load_u32(WALL_SECONDS_HIGH)) << 32;
        let nanos = info.load_u32(WALL_NANOS);
        // As above; Xen writes it when the host's clock is set.
        if version & 1 == 0 && info.load_u32(WALL_VERSION) == version {
            let boot =
                Duration::from_secs(seconds).saturating_add(Duration::from_nanos(nanos.into()));
            return boot.saturating_add(Duration::from_nanos(now(info).0));
        }
    }
}

/// Ticks from `then` to `now`, modulo 2^64: where Xen emulates the counter, `then` may be from
/// before the domain, and so below zero. A `now` before `then` counts as `then`.
fn elapsed(then: u64, now: u64) -> u64 {
    let ticks = now.wrapping_sub(then);
    if ticks > u64::MAX / 2 { 0 } else { ticks }
}

/// Ticks to nanoseconds: `ticks` * 2^`shift` * `mul` / 2^32.
fn scale(ticks: u64, mul: u32, shift: i8) -> u64 {
    let by = u32::from(shift.unsigned_abs());
    let shifted = if shift < 0 { ticks.checked_shr(by) } else { ticks.checked_shl(by) };
    let product = u128::from(shifted.unwrap_or(0)) * u128::from(mul);
    u64::try_from(product >> 32).unwrap_or(u64::MAX)
}

/// The time stamp counter, not before what was loaded before: RDTSC alone may be executed earlier.
pub(crate) fn time_stamp() -> u64 {
    let (low, high): (u64, u64);
    // SAFETY: neither has a precondition where CR4.TSD is clear, as it is for a guest's kernel. The
    // compiler moves no load over it, as it may access memory for all that it knows.
    unsafe {
        asm!("lfence", "rdtsc", out("rax") low, out("rdx") high, options(nostack, preserves_flags));
    }
    high << 32 | low
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_page::test_page;

    #[test]
    fn the_day_is_the_wall_clock_at_boot_and_the_time_since() {
        let info = test_page();
        info.store_u64(SYSTEM_TIME, 1_500_000_000);
        info.store_u32(WALL_SECONDS, 7);
        info.store_u32(WALL_SECONDS_HIGH, 1);
        info.store_u32(WALL_NANOS, 250_000_000);
        // No scale: the counter adds nothing.
        assert_eq!(wall(info), Duration::new((1 << 32) + 8, 750_000_000));
    }

    #[test]
    fn scales() {
        assert_eq!(scale(1000, 1 << 31, 0), 500);
        assert_eq!(scale(1000, 1 << 31, 1), 1000);
        assert_eq!(scale(1000, 1 << 31, -1), 250);
        assert_eq!(scale(u64::MAX, u32::MAX, 0), u64::MAX - (1 << 32));
        assert_eq!(scale(1, u32::MAX, -128), 0);
    }

    /// With an emulated counter the clock stood still for the first second of a guest's life.
    #[test]
    fn elapses_from_before_zero() {
        assert_eq!(elapsed(5, 12), 7);
        assert_eq!(elapsed(0u64.wrapping_sub(100), 12), 112);
        assert_eq!(elapsed(12, 5), 0);
    }

    #[test]
    fn time_never_goes_back() {
        let last = AtomicU64::new(0);
        assert_eq!(later(&last, 1000), 1000);
        assert_eq!(later(&last, 999), 1000);
        assert_eq!(later(&last, 1001), 1001);
    }

    #[test]
    fn the_counter_goes_up() {
        let first = time_stamp();
        assert!(time_stamp() > first);
    }

    #[test]
    fn deadlines_saturate() {
        assert_eq!(Instant(5) + Duration::from_nanos(6), Instant(11));
        assert_eq!(Instant(5) + Duration::MAX, Instant(u64::MAX));
    }
}
