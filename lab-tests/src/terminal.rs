//! A program on a terminal of its own, driven as a person would.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::wait::{BOUND, wait_until};

/// What Ctrl-] sends.
pub const ESCAPE: &[u8] = b"\x1d";

/// A program and the other end of its terminal.
#[derive(Debug)]
pub struct Terminal {
    line: String,
    child: Child,
    master: File,
    seen: String,
    /// What was expected before ends here.
    at: usize,
    /// What was taken before ends here.
    taken: usize,
}

impl Terminal {
    /// Starts a program on a new terminal.
    #[track_caller]
    pub fn start(words: &[&str]) -> Self {
        let pty = nix::pty::openpty(None, None).unwrap();
        let end = || Stdio::from(pty.slave.try_clone().unwrap());
        let child = Command::new(words[0])
            .args(&words[1..])
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn();
        let child = child.unwrap_or_else(|error| panic!("cannot run {words:?}: {error}"));
        Self {
            line: words.join(" "),
            child,
            master: File::from(pty.master),
            seen: String::new(),
            at: 0,
            taken: 0,
        }
    }

    /// Types something.
    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.master
            .write_all(bytes)
            .unwrap_or_else(|error| panic!("{}: {error}; shown: {:?}", self.line, self.seen));
    }

    /// Waits until the program has shown this text behind what was expected before.
    #[track_caller]
    pub fn expect(&mut self, part: &str) {
        let end = Instant::now() + BOUND;
        loop {
            if let Some(found) = self.seen.get(self.at..).and_then(|rest| rest.find(part)) {
                self.at += found + part.len();
                return;
            }
            let more = Instant::now() < end && self.read();
            assert!(more, "{} has not shown {part:?}; shown: {:?}", self.line, self.seen);
        }
    }

    /// What the program has shown since this was last asked, up to what was expected.
    pub fn taken(&mut self) -> String {
        let text = self.seen.get(self.taken..self.at).unwrap_or_default().to_owned();
        self.taken = self.at;
        text
    }

    /// Waits for the program's end.
    #[track_caller]
    pub fn wait(mut self) -> ExitStatus {
        // What it still has to say must be taken, or it would wait for us.
        while self.read() && self.child.try_wait().unwrap().is_none() {}
        let line = self.line.clone();
        wait_until(&format!("{line} has not ended"), || self.child.try_wait().unwrap())
    }

    /// Takes what is shown next. Whether there is a program left to show something.
    fn read(&mut self) -> bool {
        let timeout = PollTimeout::try_from(Duration::from_millis(200)).unwrap();
        if poll(&mut [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)], timeout).unwrap() == 0 {
            return self.child.try_wait().unwrap().is_none();
        }
        let mut chunk = [0; 4096];
        // The error is that of a terminal whose last user is gone.
        let Ok(length) = self.master.read(&mut chunk) else { return false };
        self.seen.push_str(&String::from_utf8_lossy(&chunk[..length]));
        length > 0
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
