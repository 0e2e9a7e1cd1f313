//! Whether xenstored answers: one request over a connection of its own, with a bound. libxenstore itself waits for ever, also on
//! a daemon that was never started, since the kernel accepts requests for it all the same.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::error::OpenError;

/// How long xenstored may take for one request.
pub(super) const LIMIT: Duration = Duration::from_secs(5);

/// XS_DIRECTORY of "/" (xen/include/public/io/xs_wire.h): type 1, request 0, transaction 0, two bytes behind the header.
const REQUEST: [u8; 18] = *b"\x01\0\0\0\0\0\0\0\0\0\0\0\x02\0\0\0/\0";
const DEVICE: &str = "/dev/xen/xenbus";

fn socket() -> PathBuf {
    std::env::var_os("XENSTORED_PATH").map_or_else(
        || {
            std::env::var_os("XENSTORED_RUNDIR")
                .map_or_else(|| PathBuf::from("/run/xenstored"), PathBuf::from)
                .join("socket")
        },
        PathBuf::from,
    )
}

pub(super) fn probe() -> Result<(), OpenError> {
    let socket = socket();
    match UnixStream::connect(&socket) {
        Ok(stream) => ask(stream).map_err(|error| not_answering(&socket.display().to_string(), &error)),
        // No daemon in this domain: there may be one in another, behind the kernel's driver.
        Err(error) if error.kind() == io::ErrorKind::NotFound => OpenOptions::new()
            .read(true)
            .write(true)
            .open(DEVICE)
            .and_then(ask)
            .map_err(|error| not_answering(&format!("no socket {}, and {DEVICE}", socket.display()), &error)),
        Err(error) => Err(not_answering(&socket.display().to_string(), &error)),
    }
}

fn not_answering(what: &str, error: &io::Error) -> OpenError {
    OpenError::StoreNotAnswering { reason: format!("{what}: {error}") }
}

fn ask(mut stream: impl Read + Write + AsFd) -> io::Result<()> {
    stream.write_all(&REQUEST)?;
    let end = Instant::now() + LIMIT;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(stream.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) => {
                let reason = format!("no answer within {} s", LIMIT.as_secs());
                return Err(io::Error::new(io::ErrorKind::TimedOut, reason));
            }
            Ok(_) => break,
            // A signal that the program handles is not the daemon's failure.
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    let mut header = [0u8; 16];
    stream.read_exact(&mut header)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_that_answers() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(&[0; 16]).unwrap();
        ask(ours).unwrap();
        let mut request = [0; 18];
        theirs.read_exact(&mut request).unwrap();
        assert_eq!(request, REQUEST);
    }

    #[test]
    fn a_daemon_that_hangs_up() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(ask(ours).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
