//! One guest in a list.

use h2::DomainInfo;
use serde::Serialize;

use super::{mib, nanoseconds};
use crate::table::{Align, layout};

/// A guest as `chaos list` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct GuestRow {
    pub(crate) domid: u16,
    pub(crate) name: Option<String>,
    pub(crate) uuid: String,
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) state: &'static str,
    pub(crate) memory_kib: u64,
    pub(crate) max_memory_kib: u64,
    pub(crate) vcpus: u32,
    pub(crate) cpu_time_ns: u64,
}

impl GuestRow {
    pub(crate) fn new(info: &DomainInfo, name: Option<String>) -> Self {
        Self {
            domid: info.id.get(),
            name,
            uuid: info.handle.to_string(),
            kind: info.kind.as_str(),
            state: info.state.as_str(),
            memory_kib: info.memory.get(),
            max_memory_kib: info.max_memory.get(),
            vcpus: info.vcpus,
            cpu_time_ns: nanoseconds(info.cpu_time),
        }
    }
}

/// The table of `chaos list`, with the columns that users of xl know.
pub(crate) fn table(guests: &[GuestRow]) -> String {
    let columns = [
        ("Name", Align::Left),
        ("ID", Align::Right),
        ("Mem(MiB)", Align::Right),
        ("VCPUs", Align::Right),
        ("State", Align::Left),
        ("Type", Align::Left),
        ("Time(s)", Align::Right),
    ];
    let rows: Vec<Vec<String>> = guests
        .iter()
        .map(|guest| {
            vec![
                guest.name.as_deref().map_or_else(|| "(no name)".to_owned(), printable),
                guest.domid.to_string(),
                mib(guest.memory_kib).to_string(),
                guest.vcpus.to_string(),
                letters(guest.state).to_owned(),
                guest.kind.to_owned(),
                tenths(guest.cpu_time_ns),
            ]
        })
        .collect();
    layout(&columns, &rows)
}

/// The state as xl writes it.
fn letters(state: &str) -> &'static str {
    match state {
        "running" => "r-----",
        "blocked" => "-b----",
        "paused" => "--p---",
        "shutdown" => "---s--",
        "crashed" => "----c-",
        "dying" => "-----d",
        _ => "------",
    }
}

/// Names of guests that others made may hold anything; a terminal must not act on it.
pub(super) fn printable(name: &str) -> String {
    name.chars().map(|char| if char.is_control() { '?' } else { char }).collect()
}

fn tenths(ns: u64) -> String {
    let tenths = ns.saturating_add(50_000_000) / 100_000_000;
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use h2::{DomainState, ShutdownReason};

    use super::*;

    fn example() -> GuestRow {
        GuestRow {
            domid: 5,
            name: Some("web0".into()),
            uuid: "6f9c1d1e-30a0-4e5c-8d0e-000000000001".into(),
            kind: "pvh",
            state: "blocked",
            memory_kib: 16_384,
            max_memory_kib: 17_408,
            vcpus: 2,
            cpu_time_ns: 1_250_000_000,
        }
    }

    #[test]
    fn schema() {
        assert_eq!(
            serde_json::to_string(&[example(), GuestRow { name: None, ..example() }]).unwrap(),
            "[{\"domid\":5,\"name\":\"web0\",\"uuid\":\"6f9c1d1e-30a0-4e5c-8d0e-000000000001\",\
             \"type\":\"pvh\",\"state\":\"blocked\",\
             \"memory_kib\":16384,\"max_memory_kib\":17408,\"vcpus\":2,\"cpu_time_ns\":1250000000},\
             {\"domid\":5,\"name\":null,\"uuid\":\"6f9c1d1e-30a0-4e5c-8d0e-000000000001\",\
             \"type\":\"pvh\",\"state\":\"blocked\",\
             \"memory_kib\":16384,\"max_memory_kib\":17408,\"vcpus\":2,\"cpu_time_ns\":1250000000}]"
        );
    }

    #[test]
    fn text() {
        let nameless = GuestRow { domid: 12, name: None, state: "crashed", ..example() };
        assert_eq!(
            table(&[example(), nameless]),
            "Name       ID  Mem(MiB)  VCPUs  State   Type  Time(s)\n\
             web0        5        16      2  -b----  pvh       1.3\n\
             (no name)  12        16      2  ----c-  pvh       1.3\n"
        );
    }

    #[test]
    fn every_state_has_its_letter() {
        let words = [
            (DomainState::Running, "r-----"),
            (DomainState::Ready, "------"),
            (DomainState::Blocked, "-b----"),
            (DomainState::Paused, "--p---"),
            (DomainState::Shutdown(ShutdownReason::PowerOff), "---s--"),
            (DomainState::Shutdown(ShutdownReason::Crash), "----c-"),
            (DomainState::Dying, "-----d"),
        ];
        for (state, expected) in words {
            assert_eq!(letters(state.as_str()), expected, "{state:?}");
        }
    }

    #[test]
    fn a_name_cannot_move_the_cursor() {
        assert_eq!(printable("a\x1b[2Jb\n"), "a?[2Jb?");
    }
}
