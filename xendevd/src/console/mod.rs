//! The consoles of guests without Xenstore: nobody else takes what they print.
//!
//! ```text
//!   guest --ring--> [`board`] --> [`logs`] (a thread) --> /var/log/lightvm/console/NAME.log
//!         <--ring--     ^  \
//!                       |   +--> whoever is attached: /run/lightvm/console/DOMID
//!                    records (a folder that is watched)
//! ```
//!
//! A thread of its own serves them all, so that a guest that prints without end costs hotplug
//! nothing. How much a guest may print, and all of them together, has a bound ([`budget`]); who
//! prints more waits, and nobody else does.

mod attach;
mod attached;
mod board;
mod budget;
mod failed;
mod files;
mod guest;
mod logs;
mod records;
mod roll;
mod tally;
mod token;

use std::collections::BTreeSet;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use h2::{DomId, DomainState, GuestConsole, Hypervisor};
use nix::sys::eventfd::{EfdFlags, EventFd};

use self::board::{Board, World};
use self::guest::{Ring, RingError};
use self::logs::Logs;
use self::records::{Changes, Watched};
use self::tally::Tallies;
use self::token::Token;
use crate::guests::Guests;
use crate::protocol::ConsoleStatus;
use crate::xenstore::chain;

/// Where the sockets are, and the logs.
const SOCKETS: &str = "/run/lightvm/console";
const LOGS: &str = "/var/log/lightvm/console";

/// How long until the next try, when there is something missing that must be there.
const RETRY: Duration = Duration::from_secs(5);

/// How long the end of the daemon waits for the thread.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// The thread.
#[derive(Debug)]
pub struct Consoles {
    shared: Arc<Shared>,
    tallies: Tallies,
    ended: Receiver<()>,
}

#[derive(Debug)]
struct Shared {
    wake: EventFd,
    stop: AtomicBool,
}

impl Consoles {
    /// Starts the thread.
    ///
    /// # Errors
    /// [`io::Error`] if there is no descriptor or no thread left.
    pub fn start() -> io::Result<Self> {
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let shared = Arc::new(Shared { wake, stop: AtomicBool::new(false) });
        let tallies = Tallies::default();
        let (sender, ended) = channel();
        thread::Builder::new().name("consoles".to_owned()).spawn({
            let (shared, tallies) = (Arc::clone(&shared), tallies.clone());
            move || {
                live(&shared, &tallies);
                // Nobody waits unless the daemon is stopping.
                let _ = sender.send(());
            }
        })?;
        Ok(Self { shared, tallies, ended })
    }

    /// The consoles that are served.
    #[must_use]
    pub fn status(&self) -> Vec<ConsoleStatus> {
        self.tallies.status()
    }

    /// Ends the thread. What guests have printed and nobody has read stays in their rings.
    pub fn stop(self) {
        self.shared.stop.store(true, Ordering::Release);
        let _ = self.shared.wake.write(1);
        if self.ended.recv_timeout(STOP_LIMIT).is_err() {
            log::warn!("consoles are still being served; they are left alone");
        }
    }
}

/// The thread's life: as long as what it needs is there, and again when it is there again.
fn live(shared: &Shared, tallies: &Tallies) {
    let mut complained = false;
    while !shared.stop.load(Ordering::Acquire) {
        if let Err(error) = serve(shared, tallies) {
            if !complained {
                log::error!("consoles cannot be served: {error}; it is tried again until it works");
                complained = true;
            }
            wait(shared, RETRY);
        }
    }
}

/// Serves consoles until the daemon stops.
fn serve(shared: &Shared, tallies: &Tallies) -> Result<(), RingError> {
    let (records, sockets) = (Guests::default(), PathBuf::from(SOCKETS));
    make_folder(&sockets)?;
    make_folder(records.folder())?;
    // Before the records are looked at, so that nothing is missed.
    let mut watched = Watched::new(records.folder())?;
    let host = Host { hypervisor: Hypervisor::open().map_err(|error| chain(&error))? };
    let logs = Logs::start(PathBuf::from(LOGS))?;
    remove_stale(&sockets);
    let mut board = Board::new(host, records, sockets, logs, tallies.clone())?;
    board.watch(&shared.wake, Token::Wake)?;
    board.watch(&watched, Token::Records)?;
    while !shared.stop.load(Ordering::Acquire) {
        let others = board.turn(Duration::from_secs(3600))?;
        if others.wake {
            let _ = shared.wake.read();
        }
        let now = Instant::now();
        match if others.records { watched.take()? } else { Changes::default() } {
            Changes::Some(domains) => {
                domains.into_iter().for_each(|domain| board.look(domain, now))
            }
            Changes::Many => board.look_at_all(now),
        }
    }
    board.stop();
    Ok(())
}

fn wait(shared: &Shared, limit: Duration) {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;
    let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
    let _ = poll(&mut [PollFd::new(shared.wake.as_fd(), PollFlags::POLLIN)], limit);
}

/// For root alone.
fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Removes the sockets of a daemon that was killed.
fn remove_stale(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if let Err(error) = std::fs::remove_file(entry.path()) {
            log::warn!("{} cannot be removed: {error}", entry.path().display());
        }
    }
}

/// The real world.
#[derive(Debug)]
struct Host {
    hypervisor: Hypervisor,
}

impl World for Host {
    fn open(&mut self, domain: DomId) -> Result<Box<dyn Ring>, RingError> {
        match GuestConsole::open(&self.hypervisor, domain) {
            Ok(console) => Ok(Box::new(console)),
            Err(error) => Err(chain(&error).into()),
        }
    }

    fn living(&mut self) -> Result<BTreeSet<DomId>, RingError> {
        let domains = self.hypervisor.domains().map_err(|error| chain(&error))?;
        Ok(domains
            .iter()
            .filter(|info| info.state != DomainState::Dying)
            .map(|info| info.id)
            .collect())
    }
}
