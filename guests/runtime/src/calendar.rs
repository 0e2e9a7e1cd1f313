//! Dates: what day and hour it is, from the time since 1970 began. UTC, in the Gregorian calendar.

use core::fmt;
use core::time::Duration;

const DAYS: [&str; 7] =
    ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// A date and a time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    year: u64,
    month: usize,
    day: u64,
    weekday: usize,
    second: u64,
}

impl From<Duration> for Date {
    fn from(since_1970: Duration) -> Date {
        let seconds = since_1970.as_secs();
        let (mut day, mut year) = (seconds / 86400, 1970);
        let weekday = index(day % 7);
        // 400 years always have the same number of days.
        const CYCLE: u64 = 146_097;
        year += day / CYCLE * 400;
        day %= CYCLE;
        while day >= days_in_year(year) {
            day -= days_in_year(year);
            year += 1;
        }
        let mut month = 0;
        while day >= days_in_month(year, month) {
            day -= days_in_month(year, month);
            month += 1;
        }
        Date { year, month, day: day + 1, weekday, second: seconds % 86400 }
    }
}

impl fmt::Display for Date {
    /// As in RFC 867: `Sunday, November 22, 2026 17:05:12-UTC`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Date { year, month, day, weekday, second } = self;
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(
            f,
            "{}, {} {day}, {year} {hour:02}:{minute:02}:{second:02}-UTC",
            DAYS[*weekday], MONTHS[*month]
        )
    }
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400)
}

fn days_in_year(year: u64) -> u64 {
    365 + u64::from(is_leap(year))
}

/// `month` counts from 0.
fn days_in_month(year: u64, month: usize) -> u64 {
    match month {
        1 => 28 + u64::from(is_leap(year)),
        3 | 5 | 8 | 10 => 30,
        _ => 31,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "below 7")]
fn index(number: u64) -> usize {
    number as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_dates() {
        let date = |seconds| Date::from(Duration::from_secs(seconds)).to_string();
        assert_eq!(date(0), "Thursday, January 1, 1970 00:00:00-UTC");
        assert_eq!(date(951_782_399), "Monday, February 28, 2000 23:59:59-UTC");
        assert_eq!(date(951_782_400), "Tuesday, February 29, 2000 00:00:00-UTC");
        assert_eq!(date(1_795_367_112), "Sunday, November 22, 2026 17:05:12-UTC");
        assert_eq!(date(4_107_542_400), "Monday, March 1, 2100 00:00:00-UTC");
    }

    proptest! {
        #[test]
        fn any_time_is_a_date(seconds: u64) {
            let date = Date::from(Duration::from_secs(seconds));
            let days = 1..=days_in_month(date.year, date.month);
            prop_assert!(date.month < 12 && days.contains(&date.day));
            let next = Date::from(Duration::from_secs(seconds.saturating_add(86400)));
            prop_assert!(seconds > u64::MAX - 86400 || next.weekday == (date.weekday + 1) % 7);
        }
    }
}
