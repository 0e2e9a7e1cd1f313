//! What a guest printed before we came: xenconsoled's log, or what is left in the ring, joined with
//! what waits in the terminal.
//!
//! The two overlap. The log holds everything up to the moment of reading it; the terminal gives
//! what no reader has taken yet, which may begin anywhere in the log, and ends later than the log,
//! or earlier if xenconsoled has not passed everything on.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// When nothing comes for so long, the terminal is taken to be empty.
const GAP_MS: u8 = 50;
/// How long and how much is read at most: a guest that prints without pause must not keep us here.
const LIMIT: Duration = Duration::from_millis(500);
const MAX_BYTES: usize = 1024 * 1024;

/// Reads what waits in the terminal.
pub(super) fn drain(mut guest: &File) -> Result<Vec<u8>> {
    let start = Instant::now();
    let mut waiting = Vec::new();
    let mut chunk = [0; 4096];
    while start.elapsed() < LIMIT && waiting.len() < MAX_BYTES {
        match poll(&mut [PollFd::new(guest.as_fd(), PollFlags::POLLIN)], PollTimeout::from(GAP_MS))
        {
            Ok(0) => break,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("cannot wait for the guest's console"),
        }
        match guest.read(&mut chunk) {
            Ok(0) => break,
            Ok(length) => waiting.extend(chunk.iter().take(length)),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) => {}
            // The end of the guest; the pump finds it, too.
            Err(error) if error.raw_os_error() == Some(Errno::EIO as i32) => break,
            Err(error) => return Err(error).context("cannot read the guest's console"),
        }
    }
    Ok(waiting)
}

/// The part of `before` that stands before `waiting`.
pub(super) fn older<'a>(before: &'a [u8], waiting: &[u8]) -> &'a [u8] {
    if waiting.is_empty() {
        return before;
    }
    if let Some(at) = last_position(before, waiting) {
        return before.get(..at).unwrap_or_default();
    }
    if !before.is_empty() && last_position(waiting, before).is_some() {
        return &[];
    }
    let overlap = (1..waiting.len().min(before.len()))
        .rev()
        .find(|length| waiting.get(..*length).is_some_and(|start| before.ends_with(start)));
    before.get(..before.len() - overlap.unwrap_or(0)).unwrap_or_default()
}

fn last_position(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).rposition(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(before: &str, waiting: &str, expected: &str) {
        let shown = [older(before.as_bytes(), waiting.as_bytes()), waiting.as_bytes()].concat();
        assert_eq!(String::from_utf8_lossy(&shown), expected);
    }

    #[test]
    fn nothing_on_either_side() {
        check("", "", "");
        check("boot\n", "", "boot\n");
        check("", "boot\n", "boot\n");
    }

    #[test]
    fn nobody_has_read_the_terminal_yet() {
        check("boot\nup\n", "boot\nup\n", "boot\nup\n");
        check("boot\nup\n", "boot\nup\nmore\n", "boot\nup\nmore\n");
    }

    #[test]
    fn another_reader_took_the_beginning() {
        check("boot\nup\n", "up\n", "boot\nup\n");
        check("boot\nup\n", "up\nmore\n", "boot\nup\nmore\n");
        check("boot\n", "more\n", "boot\nmore\n");
    }

    #[test]
    fn ring_is_shorter_than_the_terminal() {
        check("up\n", "boot\nup\nmore\n", "boot\nup\nmore\n");
    }

    #[test]
    fn terminal_lags_behind_the_log() {
        // "up" comes through the terminal later.
        check("boot\nup\n", "boot\n", "boot\n");
    }

    #[test]
    fn drain_ends_at_a_gap() {
        let pty = nix::pty::openpty(None, None).unwrap();
        nix::unistd::write(&pty.slave, b"hello").unwrap();
        assert_eq!(drain(&File::from(pty.master)).unwrap(), b"hello");
    }
}
