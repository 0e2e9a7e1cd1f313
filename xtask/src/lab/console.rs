//! The host's serial console: Xen's messages and those of dom0's kernel. It tells how far the boot
//! is, and how a host died.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::plain::plain;

/// What a dying host says, and what it means.
const DEATHS: &[(&str, &str)] = &[
    ("Panic on CPU", "Xen panicked"),
    ("Manual reset required", "Xen panicked"),
    ("Kernel panic - not syncing", "dom0's kernel panicked"),
    ("Hardware Dom0 crashed", "dom0 crashed"),
    ("lightvm-lab: cannot", "the lab's first process failed"),
];

/// What shows that a phase of the boot is over, and the phase's name.
const PHASES: &[(&str, &str)] = &[
    ("", "firmware"),
    ("Serial input to DOM0", "Xen"),
    ("lightvm-lab: init", "kernel"),
    ("lightvm-lab: systemd", "initramfs"),
];

/// How many lines are kept to be shown.
const KEPT: usize = 40;

/// The console as read so far.
#[derive(Debug)]
pub(crate) struct Console {
    log: File,
    partial: Vec<u8>,
    last: std::collections::VecDeque<String>,
    phases: Vec<(&'static str, Instant)>,
    death: Option<&'static str>,
}

impl Console {
    /// A console that writes all it reads to `log`.
    pub(crate) fn new(log: &Path) -> Result<Self> {
        let log = File::create(log).with_context(|| format!("cannot make {}", log.display()))?;
        Ok(Console {
            log,
            partial: Vec::new(),
            last: std::collections::VecDeque::new(),
            phases: Vec::new(),
            death: None,
        })
    }

    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        self.log.write_all(bytes).context("cannot write the console's log")?;
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.partial.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                let line = std::mem::take(&mut self.partial);
                self.line(shown(&line));
            }
        }
        Ok(())
    }

    /// What killed the host, if its console says that it is dead.
    pub(crate) fn death(&self) -> Option<&'static str> {
        self.death
    }

    /// The phases of the boot that are over, each with the time of its end.
    pub(crate) fn phases(&self) -> &[(&'static str, Instant)] {
        &self.phases
    }

    /// The last lines.
    pub(crate) fn tail(&self) -> Vec<String> {
        let rest = Some(shown(&self.partial)).filter(|text| !text.is_empty());
        self.last.iter().cloned().chain(rest).collect()
    }

    fn line(&mut self, line: String) {
        while let Some((text, name)) = PHASES.get(self.phases.len()) {
            if !line.contains(text) {
                break;
            }
            self.phases.push((name, Instant::now()));
        }
        if self.death.is_none() {
            self.death =
                DEATHS.iter().find(|(text, _)| line.contains(text)).map(|(_, meaning)| *meaning);
        }
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }
}

/// A line as it may be shown: the firmware colours it.
fn shown(line: &[u8]) -> String {
    plain(&String::from_utf8_lossy(line)).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::Console;

    #[test]
    fn a_panic_is_recognised_across_reads() {
        let dir = tempfile::tempdir().unwrap();
        let mut console = Console::new(&dir.path().join("log")).unwrap();
        console.feed(b"(XEN) Pan").unwrap();
        assert_eq!(console.death(), None);
        console.feed(b"ic on CPU 0:\r\n\x1b[2Jrest").unwrap();
        assert_eq!(console.death(), Some("Xen panicked"));
        assert_eq!(console.tail(), ["(XEN) Panic on CPU 0:", "rest"]);
        assert_eq!(console.phases().len(), 1);
    }
}
