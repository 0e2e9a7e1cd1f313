//! Counts what test programs report while their output passes through.

use std::fmt;
use std::io::{self, Write};
use std::time::Instant;

use anyhow::{Result, bail};

use crate::plain::plain;

/// Numbers of tests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: Counts) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} passed, {} failed", self.passed, self.failed)?;
        match self.skipped {
            0 => Ok(()),
            skipped => write!(formatter, ", {skipped} skipped"),
        }
    }
}

/// Puts a word before each line, and the seconds since the first: lines of several sources come one
/// by one and can be told apart, and what takes long is seen. What a terminal would obey is left
/// out: tests show what guests print.
#[derive(Debug)]
pub(crate) struct Prefixed<W> {
    prefix: String,
    to: W,
    line: Vec<u8>,
    start: Instant,
}

impl<W: Write> Prefixed<W> {
    pub(crate) fn new(prefix: &str, to: W) -> Self {
        Prefixed { prefix: prefix.to_owned(), to, line: Vec::new(), start: Instant::now() }
    }
}

impl<W: Write> Write for Prefixed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for byte in bytes {
            self.line.push(*byte);
            if *byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                let line = plain(&String::from_utf8_lossy(&line));
                let seconds = self.start.elapsed().as_secs();
                // One write a line, so that nobody else's gets between.
                self.to.write_all(format!("[{} {seconds:3}] {line}\n", self.prefix).as_bytes())?;
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
pub(crate) fn closing_line(line: &str) -> Option<Counts> {
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

    use super::{Counter, Counts, Prefixed};

    #[test]
    fn each_line_is_one_write_with_its_source() {
        let mut prefixed = Prefixed::new("noxs", Vec::new());
        prefixed.write_all(b"a\nb \x1b[1mc\x1b[0m\r\npartial").unwrap();
        assert_eq!(String::from_utf8(prefixed.to).unwrap(), "[noxs   0] a\n[noxs   0] b c\n");
    }

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
        assert_eq!(counts, Counts { passed: 4, failed: 2, skipped: 1 });
        assert_eq!(counts.to_string(), "4 passed, 2 failed, 1 skipped");
    }

    #[test]
    fn a_run_without_tests_is_no_success() {
        assert!(Counter::new(Vec::new()).ended(Ok(())).is_err());
        assert!(Counter::new(Vec::new()).ended(Err(anyhow::anyhow!("does not compile"))).is_err());
    }
}
