//! Bytes between the user and a guest's console, in one poll loop.
//!
//! Nothing in it blocks: each side's bytes wait in a buffer until the other side takes them, and a
//! side is only read while its buffer is empty.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{read, write};

/// Ctrl-], as in telnet and xl.
const ESCAPE: u8 = 0x1d;
/// How often the guest's end is looked for, in milliseconds: a guest that has stopped keeps its
/// terminal until it is destroyed.
const LOOK_MS: u8 = 250;
const LOOK: Duration = Duration::from_millis(250);
/// So much can be written to a terminal or a pipe that polls as writable without blocking.
const CHUNK: usize = 256;
/// How long nothing must come from a guest that has stopped.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Why the connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The user typed Ctrl-], or the terminal is gone.
    Detached,
    /// Standard input ended, and the guest has fallen silent.
    InputEnded,
    /// The guest ended.
    GuestEnded,
    /// Nobody reads standard output any more.
    ReaderGone,
    /// A signal came.
    Signal,
}

/// How long to stay once standard input has ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Until nothing has come for so long,
    pub(super) quiet: Duration,
    /// but no longer than this.
    pub(super) linger: Duration,
}

/// The ends of the connection.
pub(super) struct Pump<'a> {
    pub(super) input: BorrowedFd<'a>,
    pub(super) output: BorrowedFd<'a>,
    /// The guest's terminal, not blocking.
    pub(super) guest: BorrowedFd<'a>,
    /// Readable when a signal came.
    pub(super) signals: BorrowedFd<'a>,
    /// Whether a person types: Ctrl-] detaches then.
    pub(super) interactive: bool,
    pub(super) patience: Patience,
    /// Whether the guest has ended.
    pub(super) ended: &'a mut dyn FnMut() -> bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Signals,
    Guest,
    Input,
    Output,
}

/// What has happened so far.
struct State {
    to_guest: Vec<u8>,
    to_user: Vec<u8>,
    input_ended: Option<Instant>,
    last_output: Instant,
    last_look: Instant,
    guest_ended: bool,
}

impl Pump<'_> {
    /// Carries bytes until one side ends it; `first` goes to the user before anything else.
    pub(super) fn run(mut self, first: Vec<u8>) -> Result<End> {
        let now = Instant::now();
        let mut state = State {
            to_guest: Vec::new(),
            to_user: first,
            input_ended: None,
            last_output: now,
            last_look: now,
            guest_ended: false,
        };
        loop {
            for (side, events) in self.wait(&state).context("cannot wait for the console")? {
                let end = match side {
                    Side::Signals => Some(End::Signal),
                    Side::Output => self.write_output(&mut state)?,
                    Side::Guest => self.serve_guest(&mut state, events)?,
                    Side::Input => self.read_input(&mut state)?,
                };
                if let Some(end) = end {
                    return Ok(end);
                }
            }
            if let Some(end) = self.verdict(&mut state) {
                return Ok(end);
            }
        }
    }

    /// The sides with something to do, in the order in which it is done.
    fn wait(&self, state: &State) -> Result<Vec<(Side, PollFlags)>, Errno> {
        let to_guest = !state.to_guest.is_empty();
        let to_user = !state.to_user.is_empty();
        let mut guest = PollFlags::empty();
        guest.set(PollFlags::POLLIN, !to_user);
        guest.set(PollFlags::POLLOUT, to_guest);
        let sides = [
            (Side::Signals, self.signals, PollFlags::POLLIN, true),
            (Side::Output, self.output, PollFlags::POLLOUT, to_user),
            (Side::Guest, self.guest, guest, !guest.is_empty()),
            (Side::Input, self.input, PollFlags::POLLIN, !to_guest && state.input_ended.is_none()),
        ];
        // A side that hangs up is reported whether asked for or not, so one that is of no use now
        // is left out.
        let sides = sides.iter().filter(|(.., wanted)| *wanted);
        let mut fds: Vec<PollFd<'_>> =
            sides.clone().map(|(_, fd, events, _)| PollFd::new(*fd, *events)).collect();
        match poll(&mut fds, PollTimeout::from(LOOK_MS)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
        let ready = sides
            .zip(&fds)
            .map(|((side, ..), fd)| (*side, fd.revents().unwrap_or(PollFlags::empty())));
        Ok(ready.filter(|(_, events)| !events.is_empty()).collect())
    }

    fn write_output(&self, state: &mut State) -> Result<Option<End>> {
        match write(self.output, state.to_user.get(..CHUNK).unwrap_or(&state.to_user)) {
            Ok(written) => _ = state.to_user.drain(..written),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(Errno::EPIPE) => return Ok(Some(End::ReaderGone)),
            Err(error) => return Err(error).context("cannot write to standard output"),
        }
        Ok(None)
    }

    fn serve_guest(&self, state: &mut State, events: PollFlags) -> Result<Option<End>> {
        if !state.to_guest.is_empty() && events.contains(PollFlags::POLLOUT) {
            self.write_guest(state)?;
        }
        if !state.to_user.is_empty() || events == PollFlags::POLLOUT {
            return Ok(None);
        }
        let mut chunk = [0; 4096];
        match read(self.guest, &mut chunk) {
            // xenconsoled has closed its side.
            Ok(0) | Err(Errno::EIO) => return Ok(Some(End::GuestEnded)),
            Ok(length) => {
                state.to_user.extend(chunk.iter().take(length));
                state.last_output = Instant::now();
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(error) => return Err(error).context("cannot read the guest's console"),
        }
        Ok(None)
    }

    fn write_guest(&self, state: &mut State) -> Result<()> {
        match write(self.guest, &state.to_guest) {
            Ok(written) => _ = state.to_guest.drain(..written),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            // The end of the guest, which the next read reports.
            Err(Errno::EIO) => state.to_guest.clear(),
            Err(error) => return Err(error).context("cannot write to the guest's console"),
        }
        Ok(())
    }

    fn read_input(&self, state: &mut State) -> Result<Option<End>> {
        let mut chunk = [0; 1024];
        let length = match read(self.input, &mut chunk) {
            Ok(length) => length,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
            // A terminal that is gone, or a standard input that was closed from the start.
            Err(Errno::EIO | Errno::EBADF) => 0,
            Err(error) => return Err(error).context("cannot read standard input"),
        };
        if length == 0 {
            state.input_ended = Some(Instant::now());
            return Ok(self.interactive.then_some(End::Detached));
        }
        let typed = chunk.get(..length).unwrap_or_default();
        let escape =
            if self.interactive { typed.iter().position(|byte| *byte == ESCAPE) } else { None };
        state.to_guest.extend_from_slice(typed.get(..escape.unwrap_or(length)).unwrap_or_default());
        if escape.is_some() && !state.to_guest.is_empty() {
            self.write_guest(state)?;
        }
        Ok(escape.map(|_| End::Detached))
    }

    /// Whether it is over without any side having said so in this turn.
    fn verdict(&mut self, state: &mut State) -> Option<End> {
        let now = Instant::now();
        if !state.guest_ended && now.duration_since(state.last_look) >= LOOK {
            state.last_look = now;
            state.guest_ended = (self.ended)();
            if state.guest_ended {
                state.last_output = now;
            }
        }
        if !state.to_user.is_empty() {
            return None;
        }
        let silence = now.duration_since(state.last_output);
        if state.guest_ended && silence >= LAST_WORDS {
            return Some(End::GuestEnded);
        }
        let since_end = now.duration_since(state.input_ended?);
        let quiet = silence >= self.patience.quiet && since_end >= self.patience.quiet;
        (quiet || since_end >= self.patience.linger).then_some(End::InputEnded)
    }
}

/// Makes reads and writes of this description return instead of waiting.
pub(super) fn set_nonblocking(fd: impl AsFd) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd.as_fd(), FcntlArg::F_GETFL)?);
    fcntl(fd.as_fd(), FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

#[cfg(test)]
#[path = "pump_tests.rs"]
mod tests;
