//! The grants of the host as the hypervisor counts them, by its debug key `g`: a witness that needs
//! no xenstored.

use crate::debug_keys;

/// What there is of grants at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grants {
    /// Grants of any domain that another one has mapped.
    pub mapped: usize,
    /// The frames of dom0's own table: 512 grants each. It grows when all are given away, and
    /// never shrinks.
    pub frames: u64,
    /// The frames in which Xen tracks what dom0 has mapped of other domains. As many as there were
    /// ever needed at once: dom0 keeps them.
    pub maptrack: u64,
}

/// Asks the hypervisor.
#[track_caller]
pub fn now() -> Grants {
    counted(&debug_keys::press("g"))
}

/// The count in an answer to the debug key.
#[track_caller]
pub fn counted(answer: &str) -> Grants {
    let lines = || answer.lines();
    let parsed = || {
        // Behind "grant-table for remote d0 (v1)" comes "1 frames (64 max), 0 maptrack frames (1024
        // max)".
        let line = lines().skip_while(|line| !line.contains(" remote d0 ")).nth(1)?;
        let (table, maptrack) = line.split_once("), ")?;
        let number = |text: &str| text.split(' ').next()?.parse().ok();
        Some(Grants {
            mapped: lines().filter(|line| line.starts_with("[0x")).count(),
            frames: number(table)?,
            maptrack: number(maptrack)?,
        })
    };
    parsed().unwrap_or_else(|| panic!("not an answer to the debug key g: {answer}"))
}

/// The frame that dom0 has granted under this reference, if somebody has it mapped: its number as
/// Xen prints it.
#[track_caller]
pub fn frame(reference: u32) -> Option<String> {
    let answer = debug_keys::press("g");
    let mut table = answer
        .lines()
        .skip_while(|line| !line.contains(" remote d0 "))
        .skip(1)
        .take_while(|line| !line.contains(" remote "));
    // "[0x003]      1 0x00abcd 0x00000001 ...": reference, who has mapped it, frame.
    let entry = table.find(|line| line.starts_with(&format!("[0x{reference:03x}]")))?;
    entry.split_whitespace().find(|word| word.starts_with("0x")).map(str::to_owned)
}
