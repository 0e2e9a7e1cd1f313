//! What dom0's kernel says of itself: its log, and on a kernel with lockdep and kmemleak (`lab run
//! --debug-kernel`) what these found.

use std::fs;
use std::time::Duration;

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
];

/// What is no complaint, or not about us.
const KNOWN: &[&str] = &[
    // blkback's own, about a ring that it could not map: any frontend has it warn, on either
    // plane.
    "xen_blkif_disconnect",
    // The loop driver's: it writes to files of a frozen file system, without asking whether it is
    // one, and hangs behind the warning as it should.
    "ext4_journal_check_start",
    // The kernel's own as well: gnttab_unmap_refs_sync() has work on its stack and does not say
    // so. Such work is no fault by itself.
    "but NOT annotated",
    "lookup_object_or_alloc",
];

/// How many lines behind a complaint belong to it: a stack trace.
const TRACE: usize = 60;

/// Fails if the kernel's ring of messages has a complaint. The ring is 128 KiB, some hundred lives
/// of interfaces: what came before that is for [`assert_clean_since_boot`] to see.
#[track_caller]
pub fn assert_clean() {
    assert_no_complaint(&run(&["dmesg"]).ok());
}

/// Fails if there was a complaint at any time since the host has booted.
#[track_caller]
pub fn assert_clean_since_boot() {
    assert_no_complaint(&since_boot());
}

/// All that the kernel has said since it has booted, from the journal.
#[track_caller]
pub fn since_boot() -> String {
    run(&["journalctl", "--sync"]).ok();
    let log = run(&["journalctl", "--dmesg", "--no-pager", "--output=cat", "--all"]).ok();
    // journald says so itself if the ring was full before it came to read.
    let own = run(&["journalctl", "--no-pager", "--boot", "--identifier=systemd-journald"]).ok();
    let missed: Vec<&str> = own.lines().filter(|line| line.contains("Missed ")).collect();
    assert!(missed.is_empty(), "the journal is not whole: {missed:?}");
    log
}

#[track_caller]
fn assert_no_complaint(log: &str) {
    let has = |line: &str, words: &[&str]| words.iter().any(|word| line.contains(word));
    let lines: Vec<&str> = log.lines().collect();
    if let Some(first) = lines.iter().position(|line| has(line, COMPLAINTS) && !has(line, KNOWN)) {
        let shown = &lines[first..lines.len().min(first + TRACE)];
        // The runner leaves a line before each suite.
        let suite = lines[..first].iter().rev().find(|line| line.contains("lightvm-lab: suite"));
        let suite = suite.copied().unwrap_or("before the first suite");
        panic!("dom0's kernel complains ({suite}):\n{}", shown.join("\n"));
    }
}

/// kmemleak takes no block for lost that is younger than five seconds.
const LEAK_AGE: Duration = Duration::from_secs(6);

/// The value of a line of /proc/lockdep_stats, which only a kernel with lockdep has.
#[track_caller]
pub fn lockdep(name: &str) -> u64 {
    let path = "/proc/lockdep_stats";
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("cannot read {path}: {error}"));
    let line = text.lines().find(|line| line.trim_start().starts_with(name));
    let value =
        line.and_then(|line| line.split(':').nth(1)?.split_whitespace().next()?.parse().ok());
    value.unwrap_or_else(|| panic!("{path} does not say {name}:\n{text}"))
}

/// What kmemleak takes for lost, but for what the kernel itself loses. A block has to be found
/// without a reference by two scans.
#[track_caller]
pub fn leaks() -> Vec<String> {
    let path = "/sys/kernel/debug/kmemleak";
    for _ in 0..2 {
        fs::write(path, "scan").unwrap_or_else(|error| panic!("cannot write {path}: {error}"));
        std::thread::sleep(LEAK_AGE);
    }
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("cannot read {path}: {error}"));
    // xenbus_dev_probe() forgets the path of the other end when the driver's probe fails, on either
    // plane.
    let known = |block: &&str| block.contains("xenbus_read_otherend_details");
    let blocks = text.split("unreferenced object").skip(1);
    blocks.filter(|block| !known(block)).map(str::to_owned).collect()
}
