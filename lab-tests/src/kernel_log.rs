//! What dom0's kernel says of itself: its log, and on a kernel with lockdep and kmemleak (`lab run --debug-kernel`) what these found.

use std::fs;

use crate::command::run;

/// What the kernel prints when something is wrong with itself.
const COMPLAINTS: &[&str] = &[
    "BUG:",
    "Oops",
    "WARNING:",
    "INFO: possible",
    "INFO: task ",
    "INFO: trying to register",
    "general protection",
    "refcount_t:",
    "segfault",
    "list_add corruption",
    "list_del corruption",
    "ODEBUG:",
    "kmemleak:",
];

/// What is no complaint, or not about us.
const KNOWN: &[&str] = &[
    // blkback's own, about a ring that it could not map: any frontend has it warn, on either plane.
    "xen_blkif_disconnect",
    // What kmemleak says when it starts.
    "kmemleak: Kernel memory leak detector initialized",
    "kmemleak: Automatic memory scanning thread started",
];

/// The complaints in the log so far.
#[track_caller]
pub fn complaints() -> Vec<String> {
    let log = run(&["dmesg"]).ok();
    let bad = |line: &&str| COMPLAINTS.iter().any(|word| line.contains(word));
    let known = |line: &&str| KNOWN.iter().any(|word| line.contains(word));
    log.lines().filter(bad).filter(|line| !known(line)).map(str::to_owned).collect()
}

/// Fails if there are any.
#[track_caller]
pub fn assert_clean() {
    let found = complaints();
    assert_eq!(found, Vec::<String>::new(), "of dom0's kernel:\n{}", run(&["dmesg"]).ok());
}

/// The value of a line of /proc/lockdep_stats, which only a kernel with lockdep has.
#[track_caller]
pub fn lockdep(name: &str) -> u64 {
    let path = "/proc/lockdep_stats";
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("cannot read {path}: {error}"));
    let line = text.lines().find(|line| line.trim_start().starts_with(name));
    let value = line.and_then(|line| line.split(':').nth(1)?.split_whitespace().next()?.parse().ok());
    value.unwrap_or_else(|| panic!("{path} does not say {name}:\n{text}"))
}

/// What kmemleak takes for lost. A block has to be found without a reference by two scans, some seconds apart.
#[track_caller]
pub fn leaks() -> String {
    let path = "/sys/kernel/debug/kmemleak";
    for _ in 0..2 {
        fs::write(path, "scan").unwrap_or_else(|error| panic!("cannot write {path}: {error}"));
        std::thread::sleep(std::time::Duration::from_secs(6));
    }
    fs::read_to_string(path).unwrap_or_else(|error| panic!("cannot read {path}: {error}"))
}
