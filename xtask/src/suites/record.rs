//! What has run on a host, by the marks in its script's output.

use std::io::{self, Write};
use std::time::Instant;

use super::script::{BEGINS, ENDED};
use crate::count::{Counts, Prefixed, closing_line};

/// One suite of a host.
#[derive(Debug)]
struct Entry {
    name: String,
    counts: Counts,
    started: Option<Instant>,
    /// How many seconds it took.
    took: Option<u64>,
}

/// Passes the script's output on, line by line, and keeps what became of each suite.
#[derive(Debug)]
pub(super) struct Record<W> {
    to: Prefixed<W>,
    line: Vec<u8>,
    entries: Vec<Entry>,
    current: Option<usize>,
}

impl<W: Write> Record<W> {
    pub(super) fn new(host: &str, suites: impl IntoIterator<Item = String>, to: W) -> Self {
        let entry = |name| Entry { name, counts: Counts::default(), started: None, took: None };
        Record {
            to: Prefixed::new(host, to),
            line: Vec::new(),
            entries: suites.into_iter().map(entry).collect(),
            current: None,
        }
    }

    /// The counts, and what is to be said of suites that did not get to their end: each is a
    /// failure. `died` is what became of the host.
    pub(super) fn close(self, died: Option<&str>) -> (Counts, Vec<String>) {
        let mut counts = Counts::default();
        let mut missing = Vec::new();
        for entry in self.entries {
            counts.add(entry.counts);
            if entry.took.is_none() {
                counts.failed += 1;
                let what = if entry.started.is_some() { "did not end" } else { "did not run" };
                missing.push(format!("{} {what}", entry.name));
            }
        }
        // A host that dies behind its last suite has failed all the same.
        if died.is_some() && missing.is_empty() && counts.failed == 0 {
            counts.failed = 1;
        }
        (counts, missing)
    }

    /// How long each suite took that has ended.
    pub(super) fn times(&self) -> String {
        let time = |entry: &Entry| Some(format!("{} {}", entry.name, entry.took?));
        self.entries.iter().filter_map(time).collect::<Vec<_>>().join(", ")
    }

    fn line(&mut self) {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).trim().to_owned();
        if let Some(mark) = line.strip_prefix(BEGINS) {
            let (name, status) = match mark.split_once(ENDED) {
                Some((name, status)) => (name, Some(status)),
                None => (mark, None),
            };
            let Some(at) = self.entries.iter().position(|entry| entry.name == name) else {
                return;
            };
            let entry = &mut self.entries[at];
            match (status, entry.started) {
                (None, _) => {
                    entry.started = Some(Instant::now());
                    self.current = Some(at);
                }
                (Some(status), Some(started)) => {
                    entry.took = Some(started.elapsed().as_secs());
                    // A suite that failed without a word, or passed without a test, is no success.
                    let counts = &mut entry.counts;
                    if counts.failed == 0 && (status != "0" || *counts == Counts::default()) {
                        counts.failed = 1;
                    }
                    self.current = None;
                }
                (Some(_), None) => {}
            }
        } else if let (Some(at), Some(counts)) = (self.current, closing_line(&line)) {
            self.entries[at].counts.add(counts);
        }
    }
}

impl<W: Write> Write for Record<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.to.write_all(bytes)?;
        for byte in bytes {
            self.line.push(*byte);
            if *byte == b'\n' {
                self.line();
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::{Counts, Record};

    fn record(output: &str, died: Option<&str>) -> (Counts, Vec<String>) {
        let suites = ["cost", "create", "kernel_log"].map(str::to_owned);
        let mut record = Record::new("debian", suites, Vec::new());
        record.write_all(output.as_bytes()).unwrap();
        record.close(died)
    }

    const OK: &str = "test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out\n";

    #[test]
    fn all_that_ended_is_counted() {
        let output = ["cost", "create", "kernel_log"]
            .map(|name| format!("-- {name}\n{OK}-- {name} ended 0\n"))
            .concat();
        let counts = Counts { passed: 6, failed: 0, skipped: 3 };
        assert_eq!(record(&output, None), (counts, Vec::new()));
        assert_eq!(record(&output, Some("panicked")).0.failed, 1);
    }

    #[test]
    fn what_did_not_run_or_end_counts_as_failed_by_name() {
        let output = format!("-- cost\n{OK}-- cost ended 0\n-- create\ntest a ... ok\n");
        let (counts, missing) = record(&output, Some("dom0 hung"));
        assert_eq!(counts, Counts { passed: 2, failed: 2, skipped: 1 });
        assert_eq!(missing, ["create did not end", "kernel_log did not run"]);
        // A host that was never up.
        let (counts, missing) = record("", Some("timed out"));
        assert_eq!((counts.failed, missing.len()), (3, 3));
    }

    #[test]
    fn a_status_without_a_result_is_a_failure() {
        let output = "-- cost\n-- cost ended 101\n-- create\n-- create ended 0\n\
                      -- kernel_log\ntest result: FAILED. 1 passed; 1 failed\n\
                      -- kernel_log ended 101\n";
        assert_eq!(record(output, None).0, Counts { passed: 1, failed: 3, skipped: 0 });
    }
}
