//! `xl`, the independent witness of what exists.

use crate::command::{Output, run};

/// A domain as `xl list` shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub name: String,
    pub id: u16,
    pub memory_mib: u64,
    pub vcpus: u32,
    /// Six places: running, blocked, paused, shutdown, crashed, dying.
    pub state: String,
    pub time: f64,
}

/// Runs `xl` with these arguments.
#[track_caller]
pub fn xl(words: &[&str]) -> Output {
    run(&[&["xl"], words].concat())
}

/// All domains.
#[track_caller]
pub fn list() -> Vec<Row> {
    xl(&["list"]).ok().lines().skip(1).map(row).collect()
}

/// The domain of this name, if there is one.
#[track_caller]
pub fn find(name: &str) -> Option<Row> {
    list().into_iter().find(|row| row.name == name)
}

/// The free memory of the host in MiB.
#[track_caller]
pub fn free_memory() -> u64 {
    let info = xl(&["info"]).ok();
    let line = info
        .lines()
        .find(|line| line.starts_with("free_memory"))
        .expect("xl info tells the free memory");
    line.rsplit(' ')
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("xl info: {line}"))
}

/// A name may hold spaces, so the columns are counted from the right.
fn row(line: &str) -> Row {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (name, columns) = words.split_at(words.len().saturating_sub(5));
    let parsed = || {
        let [id, memory, vcpus, state, time] = columns else { return None };
        Some(Row {
            name: name.join(" "),
            id: id.parse().ok()?,
            memory_mib: memory.parse().ok()?,
            vcpus: vcpus.parse().ok()?,
            state: (*state).to_owned(),
            time: time.parse().ok()?,
        })
    };
    parsed().unwrap_or_else(|| panic!("not a line of xl list: {line:?}"))
}
