//! What the commands print, as plain data: the JSON form is the serialised struct
//! (docs/chaos-json.md is its schema, and part of what scripts rely on), the text form is made from
//! the same struct.

mod created;
mod details;
mod device;
mod guest;
mod host;
mod noxs;
mod small;

use std::time::Duration;

pub(crate) use self::created::{Checked, Created, Stats};
pub(crate) use self::details::{Affinity, Details, Share};
pub(crate) use self::device::{DeviceRow, devices_table};
pub(crate) use self::guest::{GuestRow, table};
pub(crate) use self::host::Host;
pub(crate) use self::noxs::noxs_text;
pub(crate) use self::small::{Ended, Rebooted, Sched};

/// The time in nanoseconds; all of u64 is 584 years.
pub(crate) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The number of a memory size in MiB, to the nearest.
fn mib(kib: u64) -> u64 {
    kib.saturating_add(512) / 1024
}

/// Seconds with milliseconds behind the point.
fn seconds(ns: u64) -> String {
    let ms = ns.saturating_add(500_000) / 1_000_000;
    format!("{}.{:03} s", ms / 1000, ms % 1000)
}

/// Milliseconds with microseconds behind the point.
fn milliseconds(ns: u64) -> String {
    let us = ns.saturating_add(500) / 1000;
    format!("{}.{:03} ms", us / 1000, us % 1000)
}
