//! `chaos`, and what it prints with `--format json` (docs/chaos-json.md).

use serde::Deserialize;
use serde_json::Value;

use crate::command::{Output, run};

/// A guest as `chaos create` reports it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Created {
    pub domid: u16,
    pub name: String,
    pub uuid: Option<String>,
    pub stats: Option<Stats>,
}

/// What making it cost.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Stats {
    pub hypercalls: Option<u64>,
    pub ioctls: Option<u64>,
    pub xenstore_operations: u64,
    /// Of a guest without Xenstore.
    pub noxs_operations: Option<u64>,
    pub bytes_copied: u64,
}

/// A domain as `chaos list` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Row {
    pub domid: u16,
    pub name: Option<String>,
    pub uuid: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub state: String,
    pub memory_kib: u64,
    pub max_memory_kib: u64,
    pub vcpus: u32,
    pub cpu_time_ns: u64,
}

/// Runs `chaos` with these arguments.
#[track_caller]
pub fn chaos(words: &[&str]) -> Output {
    run(&[&["chaos"], words].concat())
}

/// Runs `chaos --format json`, which must succeed and print one value.
#[track_caller]
pub fn json(words: &[&str]) -> Value {
    let output = chaos(&[&["--format", "json"], words].concat());
    let line = output.line.clone();
    let text = output.ok();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{line}: {error} in {text}"))
}

/// Creates from a configuration file with these options; one entry for each guest.
#[track_caller]
pub fn create(config: &str, options: &[&str]) -> Vec<Created> {
    let output = chaos(&[&["--format", "json", "create", config], options].concat());
    let line = output.line.clone();
    let text = output.ok();
    text.lines()
        .map(|text| {
            serde_json::from_str(text).unwrap_or_else(|error| panic!("{line}: {error} in {text}"))
        })
        .collect()
}

/// All domains.
#[track_caller]
pub fn list() -> Vec<Row> {
    serde_json::from_value(json(&["list"])).unwrap()
}

/// The domain of this name, if there is one.
#[track_caller]
pub fn find(name: &str) -> Option<Row> {
    list().into_iter().find(|row| row.name.as_deref() == Some(name))
}

/// Everything about a guest.
#[track_caller]
pub fn info(guest: &str) -> Value {
    json(&["info", guest])
}
