//! One guest's console: its ring, its socket, and the programs that are attached to it.

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::fmt;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use nix::sys::epoll::EpollFlags;

use super::attached::{Attached, Sent};
use super::budget::Budget;
use super::tally::Tally;
use crate::guests::Record;
use crate::server::{check, listen};

/// What a guest may print at once, in bytes, and then in each second: the messages of a boot come
/// at once, and a flood costs little.
const BURST: u32 = 256 << 10;
const RATE: u32 = 128 << 10;

/// The input that waits for a guest, in bytes; who sends more is not read until the guest has read.
const MAX_INPUT: usize = 1024;

/// The most programs at a guest's console.
const MAX_CLIENTS: usize = 16;

/// What went wrong with a ring.
pub(super) type RingError = Box<dyn Error + Send + Sync>;

/// A guest's console ring, and the event channel beside it.
pub(super) trait Ring: fmt::Debug + AsFd {
    /// Takes what the guest has printed: as much as a ring has, or nothing.
    fn read(&mut self) -> Result<Vec<u8>, RingError>;
    /// Gives the guest input; how much there was room for.
    fn write(&mut self, bytes: &[u8]) -> Result<usize, RingError>;
    /// Takes the event; the next one comes only after this.
    fn acknowledge(&mut self) -> Result<(), RingError>;
}

impl Ring for h2::GuestConsole {
    fn read(&mut self) -> Result<Vec<u8>, RingError> {
        Ok(self.read()?)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<usize, RingError> {
        Ok(self.write(bytes)?)
    }

    fn acknowledge(&mut self) -> Result<(), RingError> {
        self.acknowledge()?;
        Ok(())
    }
}

/// A guest whose console is served.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) record: Record,
    pub(super) ring: Box<dyn Ring>,
    pub(super) listener: Option<UnixListener>,
    pub(super) clients: BTreeMap<u32, Attached>,
    pub(super) budget: Budget,
    /// It stands in line, or waits for its budget.
    pub(super) in_line: bool,
    pub(super) tally: Arc<Tally>,
    input: VecDeque<u8>,
    path: PathBuf,
}

impl Guest {
    /// Begins to listen for those who want to attach. Without a socket the guest is served all the
    /// same.
    pub(super) fn new(record: Record, ring: Box<dyn Ring>, path: &Path, now: Instant) -> Self {
        let listener = match listen(path) {
            Ok(listener) => Some(listener),
            Err(error) => {
                log::error!(
                    "nobody can attach to the console of {}: {}: {error}",
                    record.name,
                    path.display()
                );
                None
            }
        };
        let tally = Arc::new(Tally { guest: record.name.clone(), ..Tally::default() });
        Self {
            record,
            ring,
            listener,
            clients: BTreeMap::new(),
            budget: Budget::new(BURST, RATE, now),
            in_line: false,
            tally,
            input: VecDeque::new(),
            path: path.to_owned(),
        }
    }

    /// It has another name from now on.
    pub(super) fn rename(&mut self, record: Record) {
        let (from, now) = (&self.tally, Ordering::Relaxed);
        let tally = Tally {
            guest: record.name.clone(),
            attached: from.attached.load(now).into(),
            printed: from.printed.load(now).into(),
            throttled: from.throttled.load(now).into(),
        };
        self.tally = Arc::new(tally);
        self.record = record;
    }

    /// Takes who wants to attach. `None` if there is nobody, or nobody more is let in.
    pub(super) fn accept(&mut self) -> Option<Attached> {
        let stream = match self.listener.as_ref()?.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Err(error) => {
                log::warn!("nobody can attach to the console of {}: {error}", self.record.name);
                return None;
            }
        };
        if let Err(error) = check(&stream) {
            log::warn!("a program was not let to the console of {}: {error}", self.record.name);
            return None;
        }
        (self.clients.len() < MAX_CLIENTS).then(|| Attached::new(stream))
    }

    /// What a client is waited for.
    pub(super) fn interest(&self, client: u32) -> EpollFlags {
        let behind = self.clients.get(&client).is_some_and(Attached::is_behind);
        let listens =
            if self.input.len() < MAX_INPUT { EpollFlags::EPOLLIN } else { EpollFlags::empty() };
        if behind { listens | EpollFlags::EPOLLOUT } else { listens }
    }

    /// Takes what a client has sent. Whether it stays.
    pub(super) fn listen_to(&mut self, client: u32) -> bool {
        let room = MAX_INPUT.saturating_sub(self.input.len());
        let Some(attached) = self.clients.get_mut(&client).filter(|_| room > 0) else {
            return true;
        };
        match attached.read(room) {
            Sent::Bytes(bytes) => {
                self.input.extend(bytes);
                true
            }
            Sent::Nothing => true,
            Sent::End => false,
        }
    }

    /// Gives the guest the input that waits, as much as there is room for.
    pub(super) fn pass_input(&mut self) -> Result<(), RingError> {
        while !self.input.is_empty() {
            let (bytes, _) = self.input.as_slices();
            let (length, written) = (bytes.len(), self.ring.write(bytes)?);
            self.input.drain(..written.min(length));
            if written < length {
                break;
            }
        }
        Ok(())
    }

    /// Tells all clients what the guest has printed; those who stay.
    pub(super) fn print(&mut self, bytes: &[u8]) {
        self.tally.printed.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.clients.retain(|_, client| client.print(bytes));
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // The next one who listens there would remove it as well.
        if self.listener.is_some() {
            let _ = fs::remove_file(&self.path);
        }
    }
}
