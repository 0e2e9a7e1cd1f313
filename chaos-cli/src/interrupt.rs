//! Signals that ask this process to stop, held back so that they come between two steps and never
//! in the middle of one.
//!
//! They are blocked and read from a descriptor; there is no handler, so no system call is cut short
//! by them.

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::failure::Interrupted;

/// While it lives, SIGINT, SIGTERM and SIGHUP wait until they are asked for. When it is dropped,
/// one that came and was not asked for has its usual effect.
#[derive(Debug)]
pub(crate) struct Interrupt {
    signals: SignalFd,
    before: SigSet,
    caught: Cell<Option<u8>>,
}

impl Interrupt {
    /// Starts to hold the signals back. To be called by the main thread; it has no others that take
    /// signals.
    pub(crate) fn catch() -> Result<Self> {
        let ignored = ignored();
        let stopping = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter();
        let held: SigSet = stopping.filter(|signal| !ignored.contains(*signal)).collect();
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let signals =
            SignalFd::with_flags(&held, flags).context("cannot open a descriptor for signals")?;
        let before = SigSet::thread_get_mask().context("cannot read the signal mask")?;
        held.thread_block().context("cannot hold signals back")?;
        Ok(Self { signals, before, caught: Cell::new(None) })
    }

    /// The signal that came, if one came.
    pub(crate) fn caught(&self) -> Option<Interrupted> {
        if self.caught.get().is_none()
            && let Ok(Some(signal)) = self.signals.read_signal()
        {
            self.caught.set(u8::try_from(signal.ssi_signo).ok());
        }
        self.caught.get().map(Interrupted::by)
    }

    /// Fails if a signal came.
    pub(crate) fn check(&self) -> Result<(), Interrupted> {
        self.caught().map_or(Ok(()), Err)
    }

    /// Becomes readable when a signal comes.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        // Once stopping, further requests to stop say nothing new, and must not end the process
        // before its last words.
        while self.caught.get().is_some() && matches!(self.signals.read_signal(), Ok(Some(_))) {}
        if let Err(error) = self.before.thread_set_mask() {
            log::warn!("cannot let signals through again: {error}");
        }
    }
}

/// The signals that whoever started this process, nohup for one, made it ignore.
fn ignored() -> SigSet {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    mask(&status).unwrap_or_else(SigSet::empty)
}

/// The mask of ignored signals in the text of proc_pid_status(5): bit N-1 stands for signal N.
fn mask(status: &str) -> Option<SigSet> {
    let bits = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    let bits = u64::from_str_radix(bits.trim(), 16).ok()?;
    let is_set = |signal: &Signal| {
        bits.checked_shr((*signal as u32).saturating_sub(1)).is_some_and(|bits| bits & 1 == 1)
    };
    Some(Signal::iterator().filter(is_set).collect())
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::raise;

    use super::*;

    #[test]
    fn ignored_signals_in_the_status() {
        let ignored =
            mask("Name:\tchaos\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001003\n").unwrap();
        assert_eq!(
            ignored.iter().collect::<Vec<_>>(),
            [Signal::SIGHUP, Signal::SIGINT, Signal::SIGPIPE]
        );
        assert!(mask("Name:\tchaos\n").is_none());
        // Rust's start-up code ignores SIGPIPE.
        assert!(self::ignored().contains(Signal::SIGPIPE));
    }

    #[test]
    fn remembers_the_signal() {
        let interrupt = Interrupt::catch().unwrap();
        assert!(interrupt.check().is_ok());
        // To this thread alone.
        raise(Signal::SIGTERM).unwrap();
        for _ in 0..2 {
            assert_eq!(interrupt.caught().map(|caught| caught.signal()), Some(15));
        }
        assert_eq!(
            interrupt.check().map_err(|error| error.to_string()),
            Err("terminated".to_owned())
        );
        raise(Signal::SIGHUP).unwrap();
        drop(interrupt);
        assert!(!SigSet::thread_get_mask().unwrap().contains(Signal::SIGTERM));
    }
}
