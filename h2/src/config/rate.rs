//! The limit on what a guest may send on an interface, in the words of xl.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use super::error::ValueError;

/// How much a guest may send: a credit of bytes that is refilled at an interval, which is how
/// netback counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    bytes_per_second: u64,
    interval_us: u32,
}

impl Rate {
    pub(super) const NOUN: &'static str = "a rate";
    pub(super) const RIGHT: &'static str =
        "a number with a unit per second, as in 10Mb/s, 250KB/s or 1GB/s@20ms";

    /// The interval of a rate that names none, in microseconds.
    pub const DEFAULT_INTERVAL_US: u32 = 50_000;

    /// Bytes in a second.
    #[must_use]
    pub const fn bytes_per_second(self) -> u64 {
        self.bytes_per_second
    }

    /// The length of the interval in microseconds.
    #[must_use]
    pub const fn interval_us(self) -> u32 {
        self.interval_us
    }

    /// The credit in bytes for one interval.
    #[must_use]
    pub fn bytes_per_interval(self) -> u64 {
        let bytes = u128::from(self.bytes_per_second) * u128::from(self.interval_us) / 1_000_000;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

impl FromStr for Rate {
    type Err = ValueError;

    /// Reads `NUMBER[G|M|K](b|B)/s[@NUMBER[s|ms|us]]`: bits or bytes, powers of 1000, seconds where
    /// no unit is given.
    fn from_str(text: &str) -> Result<Self, ValueError> {
        parse(text)
            .ok_or_else(|| ValueError::not(format_args!("{text:?}"), Rate::NOUN, Rate::RIGHT))
    }
}

fn parse(text: &str) -> Option<Rate> {
    let (amount, interval) =
        text.split_once('@').map_or((text, None), |(amount, interval)| (amount, Some(interval)));
    let (number, unit) = split_number(amount)?;
    let bits = match unit {
        "b/s" => 1,
        "Kb/s" => 1_000,
        "Mb/s" => 1_000_000,
        "Gb/s" => 1_000_000_000,
        "B/s" => 8,
        "KB/s" => 8_000,
        "MB/s" => 8_000_000,
        "GB/s" => 8_000_000_000,
        _ => return None,
    };
    let bytes_per_second = number.checked_mul(bits)? / 8;
    let interval_us = match interval.map(split_number) {
        None => Rate::DEFAULT_INTERVAL_US,
        Some(interval) => {
            let (number, unit) = interval?;
            let us = match unit {
                "us" => 1,
                "ms" => 1_000,
                "s" | "" => 1_000_000,
                _ => return None,
            };
            u32::try_from(number.checked_mul(us)?).ok()?
        }
    };
    let rate = Rate { bytes_per_second, interval_us };
    (rate.bytes_per_interval() > 0).then_some(rate)
}

fn split_number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at_checked(end)?;
    Some((digits.parse().ok()?, unit))
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}B/s@{}us", self.bytes_per_second, self.interval_us)
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        let rate: Rate = "10Mb/s".parse().unwrap();
        assert_eq!(
            (rate.bytes_per_second(), rate.interval_us(), rate.bytes_per_interval()),
            (1_250_000, 50_000, 62_500)
        );
        let rate: Rate = "1MB/s@20ms".parse().unwrap();
        assert_eq!(
            (rate.bytes_per_second(), rate.interval_us(), rate.bytes_per_interval()),
            (1_000_000, 20_000, 20_000)
        );
        assert_eq!("250KB/s@2".parse::<Rate>().unwrap().interval_us(), 2_000_000);
        assert_eq!(rate.to_string().parse::<Rate>().unwrap(), rate);
    }

    #[test]
    fn what_is_no_rate() {
        for bad in [
            "",
            "10",
            "10Mb",
            "Mb/s",
            "10Mb/s@",
            "10mb/s",
            "-1Mb/s",
            "0B/s",
            "1B/s@1us",
            "10Mb/s@5000s",
            "99999999999999999999B/s",
            "10000000000GB/s",
        ] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
    }
}
