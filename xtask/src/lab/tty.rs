//! This terminal, while a shell in dom0 uses it.

use std::io::{IsTerminal, Read, Stdin, stdin};
use std::sync::mpsc::SyncSender;
use std::thread;

use anyhow::{Context, Result};
use nix::sys::termios::{self, SetArg, Termios};

use super::session::Event;

/// Ctrl-] ends the session even when dom0 answers no more, as in telnet and virsh.
const ESCAPE: u8 = 0x1d;

/// The terminal in raw mode: every key goes to dom0. Dropped, it is as it was.
#[derive(Debug)]
pub(crate) struct Raw {
    input: Stdin,
    before: Option<Termios>,
}

impl Raw {
    /// Puts the terminal into raw mode, if there is one.
    pub(crate) fn enter() -> Result<Self> {
        let input = stdin();
        if !input.is_terminal() {
            return Ok(Raw { input, before: None });
        }
        let before = termios::tcgetattr(&input).context("cannot read the terminal's settings")?;
        let mut raw = before.clone();
        termios::cfmakeraw(&mut raw);
        termios::tcsetattr(&input, SetArg::TCSADRAIN, &raw)
            .context("cannot change the terminal's settings")?;
        Ok(Raw { input, before: Some(before) })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = termios::tcsetattr(&self.input, SetArg::TCSADRAIN, before);
        }
    }
}

/// Rows and columns of this terminal.
pub(crate) fn size() -> (u16, u16) {
    match terminal_size::terminal_size() {
        Some((terminal_size::Width(columns), terminal_size::Height(rows))) => (rows, columns),
        None => (24, 80),
    }
}

/// Sends what is typed as events, from a thread of its own.
pub(crate) fn read_keys(events: SyncSender<Event>) {
    thread::spawn(move || {
        let mut buffer = [0; 1024];
        loop {
            let event = match stdin().read(&mut buffer) {
                // The end of a piped input is the end of the shell's input.
                Ok(0) | Err(_) => Event::Typed(vec![4]),
                Ok(count) if buffer[..count].contains(&ESCAPE) => Event::Escape,
                Ok(count) => Event::Typed(buffer[..count].to_vec()),
            };
            let last =
                matches!(&event, Event::Typed(bytes) if bytes == &[4]) && !stdin().is_terminal();
            if events.send(event).is_err() || last {
                break;
            }
        }
    });
}
