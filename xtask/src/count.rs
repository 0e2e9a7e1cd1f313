//! Counts what test programs report while their output passes through.

use std::fmt;
use std::io::{self, Write};
use std::time::Instant;

use anyhow::{Result, bail};

/// Numbers of tests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
    /// Suites that have passed before with the same inputs.
    pub(crate) known: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: Counts) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.known += other.known;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} passed, {} failed", self.passed, self.failed)?;
        for (number, what) in [(self.skipped, "skipped"), (self.known, "long suites not run again")]
        {
            if number > 0 {
                write!(formatter, ", {number} {what}")?;
            }
        }
        Ok(())
    }
}

/// Puts a word before each line, and the seconds since the first: lines of several sources come one
/// by one and can be told apart, and what takes long is seen.
#[derive(Debug)]
pub(crate) struct Prefixed<W> {
    prefix: &'static str,
    to: W,
    line: Vec<u8>,
    start: Instant,
}

impl<W: Write> Prefixed<W> {
    pub(crate) fn new(prefix: &'static str, to: W) -> Self {
        Prefixed { prefix, to, line: Vec::new(), start: Instant::now() }
    }
}

impl<W: Write> Write for Prefixed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for byte in bytes {
            self.line.push(*byte);
            if *byte == b'\n' {
                // One write a line, so that nobody else's gets between.
                let prefix = format!("[{} {:3}] ", self.prefix, self.start.elapsed().as_secs());
                let line = [prefix.as_bytes(), &self.line].concat();
                self.line.clear();
                self.to.write_all(&line)?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Passes everything on and reads libtest's closing lines on the way.
#[derive(Debug)]
pub(crate) struct Counter<W> {
    to: W,
    line: Vec<u8>,
    counts: Counts,
}

impl<W: Write> Counter<W> {
    pub(crate) fn new(to: W) -> Self {
        Counter { to, line: Vec::new(), counts: Counts::default() }
    }

    /// The counts of a run that ended like this. A run that failed without a failed test did not
    /// get to its tests.
    pub(crate) fn ended(self, ended: Result<()>) -> Result<Counts> {
        match ended {
            Err(error) if self.counts.failed == 0 => Err(error),
            Ok(()) if self.counts == Counts::default() => bail!("no test ran"),
            _ => Ok(self.counts),
        }
    }

    fn line(&mut self) {
        let line = String::from_utf8_lossy(&self.line).into_owned();
        self.line.clear();
        if let Some(counts) = closing_line(&line) {
            self.counts.add(counts);
        }
    }
}

impl<W: Write> Write for Counter<W> {
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

/// The numbers of `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; ...`.
fn closing_line(line: &str) -> Option<Counts> {
    let (_, numbers) = line.trim().strip_prefix("test result: ")?.split_once(". ")?;
    let mut counts = Counts::default();
    for part in numbers.split("; ") {
        let (number, what) = part.split_once(' ')?;
        match what {
            "passed" => counts.passed = number.parse().ok()?,
            "failed" => counts.failed = number.parse().ok()?,
            "ignored" => counts.skipped = number.parse().ok()?,
            _ => {}
        }
    }
    Some(counts)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::{Counter, Counts};

    #[test]
    fn closing_lines_are_added_up() {
        let mut counter = Counter::new(Vec::new());
        for part in [
            "test a ... ok\ntest result: ok. 3 passed; 0 failed; 1 ignored; 0 measured\n",
            "test result: FAILED. 1 passed; 2 failed; 0 ignored; ",
            "0 measured; 0 filtered out\n",
        ] {
            counter.write_all(part.as_bytes()).unwrap();
        }
        let counts = counter.ended(Err(anyhow::anyhow!("failed"))).unwrap();
        assert_eq!(counts, Counts { passed: 4, failed: 2, skipped: 1, known: 0 });
        assert_eq!(counts.to_string(), "4 passed, 2 failed, 1 skipped");
    }

    #[test]
    fn a_run_without_tests_is_no_success() {
        assert!(Counter::new(Vec::new()).ended(Ok(())).is_err());
        assert!(Counter::new(Vec::new()).ended(Err(anyhow::anyhow!("does not compile"))).is_err());
    }
}
