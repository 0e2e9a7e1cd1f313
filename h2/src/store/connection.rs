//! The byte stream to xenstored: whole messages in and out, with a bound on every wait.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::noxs_backend::NODE;

use super::wire::{HEADER, Header, MAX_PAYLOAD};

const DEVICE: &str = "/dev/xen/xenbus";

/// What is read at once, at most. It holds a whole message, and the answers to a batch of writes.
const BUFFER: usize = 2 * (HEADER + MAX_PAYLOAD);

/// A connection to xenstored.
#[derive(Debug)]
pub(super) struct Connection {
    file: File,
    /// The kernel's driver takes one message a write, and drops what is behind it.
    one_by_one: bool,
    /// Bytes that have come and belong to messages that nobody has asked for yet.
    buffer: Vec<u8>,
}

/// Where the daemon of this domain listens: libxenstore's rules.
pub(super) fn socket() -> PathBuf {
    let folder = || {
        std::env::var_os("XENSTORED_RUNDIR")
            .map_or_else(|| PathBuf::from("/run/xenstored"), PathBuf::from)
    };
    std::env::var_os("XENSTORED_PATH").map_or_else(|| folder().join("socket"), PathBuf::from)
}

impl Connection {
    /// Connects to the daemon's socket or, where it runs in another domain, over the kernel's
    /// driver. The error comes with what was tried.
    pub(super) fn open() -> Result<Self, (String, io::Error)> {
        let path = socket();
        let named = |error| (path.display().to_string(), error);
        match UnixStream::connect(&path) {
            Ok(stream) => Self::over(stream).map_err(named),
            // No daemon in this domain: there may be one in another, behind the kernel's driver.
            // Not on a host for NoXS, unless its administrator says so: the kernel
            // never gives up a request that nobody answers.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !Path::new(NODE).exists() => {
                Self::driver(Path::new(DEVICE))
                    .map_err(|error| (format!("no socket {}, and {DEVICE}", path.display()), error))
            }
            Err(_) if fs::metadata(&path).is_ok_and(|data| data.file_type().is_char_device()) => {
                Self::driver(&path).map_err(named)
            }
            Err(error) => Err(named(error)),
        }
    }

    fn driver(path: &Path) -> io::Result<Self> {
        let file =
            OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        Ok(Self { file, one_by_one: true, buffer: Vec::new() })
    }

    pub(super) fn over(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { file: File::from(OwnedFd::from(stream)), one_by_one: false, buffer: Vec::new() })
    }

    /// Sends messages, until `end` at the latest.
    pub(super) fn send(&mut self, messages: &[&[u8]], end: Instant) -> io::Result<()> {
        if self.one_by_one {
            return messages.iter().try_for_each(|message| self.write(message, end));
        }
        self.write(&messages.concat(), end)
    }

    fn write(&mut self, mut bytes: &[u8], end: Instant) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.file.write(bytes) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero)),
                Ok(sent) => bytes = bytes.get(sent..).unwrap_or_default(),
                Err(error) if not_now(&error) => self.wait(PollFlags::POLLOUT, end)?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The next message, until `end` at the latest.
    pub(super) fn receive(&mut self, end: Instant) -> io::Result<(Header, Vec<u8>)> {
        let header = Header::decode(self.first::<HEADER>(end)?)?;
        self.fill(HEADER + header.length, end)?;
        let payload = self.buffer.get(HEADER..HEADER + header.length).unwrap_or_default().to_vec();
        self.buffer.drain(..HEADER + header.length);
        Ok((header, payload))
    }

    /// Waits until there is something to receive: `false` if there was nothing until `end`.
    pub(super) fn wait_for_message(&self, end: Instant) -> io::Result<bool> {
        if !self.buffer.is_empty() {
            return Ok(true);
        }
        match self.wait(PollFlags::POLLIN, end) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A copy of the first bytes, which stay in the buffer.
    fn first<const N: usize>(&mut self, end: Instant) -> io::Result<[u8; N]> {
        self.fill(N, end)?;
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.buffer.get(..N).unwrap_or(&[0; N]));
        Ok(bytes)
    }

    /// Reads until the buffer holds `wanted` bytes.
    fn fill(&mut self, wanted: usize, end: Instant) -> io::Result<()> {
        while self.buffer.len() < wanted {
            let mut bytes = [0; BUFFER];
            match self.file.read(&mut bytes) {
                Ok(0) => {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "xenstored hung up"));
                }
                Ok(read) => self.buffer.extend_from_slice(bytes.get(..read).unwrap_or_default()),
                Err(error) if not_now(&error) => self.wait(PollFlags::POLLIN, end)?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits until the stream is ready, at most until `end`.
    fn wait(&self, flags: PollFlags, end: Instant) -> io::Result<()> {
        loop {
            // Rounded up: the rest of a millisecond must not become a busy loop.
            let left = end.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(self.file.as_fd(), flags)], timeout) {
                Ok(0) if Instant::now() >= end => {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time"));
                }
                // A signal that the program handles is not the daemon's failure.
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => return Ok(()),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Whether to try again once the stream is ready.
fn not_now(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
