//! Guests on the network, seen from dom0.

use std::fs;
use std::io::Read;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::{console, echo, run, wait};

/// The bridge that all guests are on.
pub const BRIDGE: &str = "xenbr0";

/// The address of dom0 on it.
pub const DOM0: &str = "10.77.0.1";

/// A network that dom0 has on the bridge beside its own, for more guests than that has addresses;
/// gone when dropped.
#[derive(Debug)]
pub struct Subnet(());

impl Subnet {
    const DOM0: &str = "10.78.0.1/16";

    /// Dom0 learns the guests' addresses from what they announce: to ask, it would have to wake all
    /// of them.
    const ANNOUNCED: &str = "/proc/sys/net/ipv4/conf/xenbr0/arp_accept";

    /// Gives dom0 its address there.
    #[track_caller]
    pub fn join() -> Self {
        fs::write(Self::ANNOUNCED, "1").unwrap();
        run(&["ip", "address", "add", Self::DOM0, "dev", BRIDGE]).ok();
        Self(())
    }

    /// The address of guest number `number`.
    pub fn address(&self, number: usize) -> String {
        format!("10.78.{}.{}", 1 + number / 250, 1 + number % 250)
    }
}

impl Drop for Subnet {
    fn drop(&mut self) {
        let _ = fs::write(Self::ANNOUNCED, "0");
        let _ = std::process::Command::new("ip")
            .args(["address", "del", Self::DOM0, "dev", BRIDGE])
            .status();
    }
}

/// Waits until a guest answers.
#[track_caller]
pub fn ping(address: &str) {
    // One every fifth of a second until one is answered.
    wait::until(&format!("{address} does not answer"), || {
        run(&["ping", "-c", "1", "-i", "0.2", "-w", "20", address]).status.success()
    });
}

/// Waits until daytime has said that its interface is up.
#[track_caller]
pub fn up(name: &str, vif: u32, address: &str) {
    console::wait_for(name, &format!("vif {vif} "));
    let line = console::wait_for(name, address);
    assert!(line.contains(&format!("vif {vif} ")), "{line}");
}

/// The port of the daytime service (RFC 867).
const DAYTIME: u16 = 13;

/// How far a guest's clock may be from dom0's, in seconds.
const CLOCK_SLACK: u64 = 5;

/// Asks a daytime guest for the time, which must be that of dom0, between the question and the
/// answer.
#[track_caller]
pub fn daytime(address: &str) {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let (before, mut text) = (now(), String::new());
    echo::connect(address, DAYTIME).read_to_string(&mut text).unwrap();
    let (time, after) = (seconds(&text), now());
    let time = time.unwrap_or_else(|| panic!("{address} gives no time: {text:?}"));
    assert!(
        (before - CLOCK_SLACK..=after + CLOCK_SLACK).contains(&time),
        "{address} says {text:?}, {time}; in dom0 it was {before} to {after}"
    );
}

/// The seconds since 1970 of a line such as `Sunday, November 22, 2026 17:05:12-UTC`.
pub fn seconds(line: &str) -> Option<u64> {
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
    let words: Vec<&str> = line.split([' ', ',']).filter(|word| !word.is_empty()).collect();
    let [_, month, day, year, time] = words[..] else { return None };
    let month = MONTHS.iter().position(|name| *name == month)?;
    let (day, year) = (day.parse::<u64>().ok()?, year.parse::<u64>().ok()?);
    let time: Vec<u64> = time
        .trim_end()
        .strip_suffix("-UTC")?
        .split(':')
        .filter_map(|part| part.parse().ok())
        .collect();
    let [hour, minute, second] = time[..] else { return None };
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let february = 28 + u64::from(is_leap(year));
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let years: u64 = (1970..year).map(|year| 365 + u64::from(is_leap(year))).sum();
    let days = years + lengths[..month].iter().sum::<u64>() + day.checked_sub(1)?;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}
