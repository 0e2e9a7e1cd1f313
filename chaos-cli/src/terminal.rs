//! The user's terminal in raw mode, for as long as the guard lives.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use nix::sys::termios::{self, SetArg, Termios};

/// A terminal whose keys go through unchanged. Dropping it restores what was set before.
#[derive(Debug)]
pub(crate) struct RawMode {
    terminal: OwnedFd,
    before: Termios,
}

impl RawMode {
    /// Puts the terminal into raw mode. What was typed ahead is kept.
    pub(crate) fn enter(terminal: impl AsFd) -> Result<Self> {
        let terminal = terminal
            .as_fd()
            .try_clone_to_owned()
            .context("cannot duplicate the terminal's descriptor")?;
        let before =
            termios::tcgetattr(&terminal).context("cannot read the terminal's settings")?;
        let mut raw = before.clone();
        termios::cfmakeraw(&mut raw);
        termios::tcsetattr(&terminal, SetArg::TCSANOW, &raw)
            .context("cannot put the terminal into raw mode")?;
        Ok(Self { terminal, before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        if let Err(error) = termios::tcsetattr(&self.terminal, SetArg::TCSANOW, &self.before) {
            log::warn!("cannot restore the terminal's settings: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::pty::openpty;
    use nix::sys::termios::LocalFlags;

    use super::*;

    #[test]
    fn restores_what_was_set() {
        let pty = openpty(None, None).unwrap();
        let canonical =
            || termios::tcgetattr(&pty.slave).unwrap().local_flags.contains(LocalFlags::ICANON);
        assert!(canonical());
        let raw = RawMode::enter(&pty.slave).unwrap();
        assert!(!canonical());
        drop(raw);
        assert!(canonical());
    }
}
