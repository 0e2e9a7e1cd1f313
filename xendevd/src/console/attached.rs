//! A program that is attached to a guest's console: it gets what the guest prints from then on, and
//! its bytes are the guest's input.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

/// Who is behind by so many bytes, in our memory beside those in the socket, has stopped reading.
const MAX_BEHIND: usize = 64 << 10;

/// One client.
#[derive(Debug)]
pub(super) struct Attached {
    stream: UnixStream,
    /// What it has not taken yet.
    behind: Vec<u8>,
}

/// What a client has sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// These bytes.
    Bytes(Vec<u8>),
    /// Nothing yet.
    Nothing,
    /// It has gone.
    End,
}

impl Attached {
    /// Takes over a connection that does not block.
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { stream, behind: Vec::new() }
    }

    /// Gives it what the guest has printed. Whether it stays: one that is too far behind does not.
    pub(super) fn print(&mut self, bytes: &[u8]) -> bool {
        if self.behind.len() + bytes.len() > MAX_BEHIND {
            return false;
        }
        self.behind.extend_from_slice(bytes);
        self.flush()
    }

    /// Whether it has not taken everything.
    pub(super) fn is_behind(&self) -> bool {
        !self.behind.is_empty()
    }

    /// Writes what it takes. Whether it stays.
    pub(super) fn flush(&mut self) -> bool {
        let mut done = 0;
        let stays = loop {
            let rest = self.behind.get(done..).unwrap_or_default();
            if rest.is_empty() {
                break true;
            }
            match self.stream.write(rest) {
                Ok(0) => break false,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break false,
            }
        };
        self.behind.drain(..done.min(self.behind.len()));
        stays
    }

    /// Reads what it has sent, `most` bytes at most.
    pub(super) fn read(&mut self, most: usize) -> Sent {
        let mut buffer = vec![0; most];
        loop {
            return match self.stream.read(&mut buffer) {
                Ok(0) => Sent::End,
                Ok(count) => {
                    buffer.truncate(count);
                    Sent::Bytes(buffer)
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Sent::Nothing,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => Sent::End,
            };
        }
    }
}

impl AsFd for Attached {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_read_is_dropped() {
        let (mut near, far) = UnixStream::pair().unwrap();
        far.set_nonblocking(true).unwrap();
        let mut client = Attached::new(far);
        assert!(client.print(b"hello") && !client.is_behind());
        let mut took = 5;
        while client.print(&[b'x'; 2048]) {
            took += 2048;
            assert!(took < 64 << 20, "it is never dropped");
        }
        assert!(client.is_behind());
        // Whoever reads in time gets every byte that was taken.
        drop(client);
        let mut all = Vec::new();
        near.read_to_end(&mut all).unwrap();
        assert!(all.starts_with(b"hellox") && all.len() <= took);
    }

    #[test]
    fn who_reads_late_gets_everything_in_order() {
        let (mut near, far) = UnixStream::pair().unwrap();
        far.set_nonblocking(true).unwrap();
        let mut client = Attached::new(far);
        let mut sent = Vec::new();
        while !client.is_behind() {
            let piece = vec![u8::try_from(sent.len() / 2048 % 251).unwrap(); 2048];
            assert!(client.print(&piece));
            sent.extend(piece);
        }
        let mut got = vec![0; sent.len()];
        std::thread::scope(|scope| {
            scope.spawn(|| near.read_exact(&mut got).unwrap());
            while client.is_behind() {
                assert!(client.flush());
                std::thread::yield_now();
            }
        });
        assert!(got == sent);
        assert_eq!(client.read(16), Sent::Nothing);
        near.write_all(b"input").unwrap();
        assert_eq!(client.read(3), Sent::Bytes(b"inp".to_vec()));
        drop(near);
        assert_eq!((client.read(16), client.read(16)), (Sent::Bytes(b"ut".to_vec()), Sent::End));
    }
}
