//! All consoles: one loop over one epoll, in which each guest has its turn and none has more than
//! that.
//!
//! ```text
//!            an event                    there is budget: at most 2 KiB are taken
//!   quiet ------------> ready, in line ------------------------------------------> quiet, its event armed again
//!                          ^      \ none
//!                          |       v
//!                          +---- paused: the event stays unacknowledged and the ring full, so the guest waits
//! ```
//!
//! When all guests together print too much, the line stands still for a while, and goes on where it
//! was.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use h2::DomId;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::budget::Budget;
use super::failed::Failed;
use super::guest::{Guest, Ring, RingError};
use super::logs::Logs;
use super::tally::Tallies;
use super::token::Token;
use crate::guests::Guests;

/// What all guests together may print at once, in bytes, and then in each second.
const BURST_OF_ALL: u32 = 16 << 20;
const RATE_OF_ALL: u32 = 2 << 20;

/// So many guests have their turn before anything else is looked at.
const TURNS: usize = 64;

/// How often it is looked for guests that are gone.
const LOOK: Duration = Duration::from_secs(1);

/// Records of guests, whatever was heard of them, are looked at again this often.
pub(super) const LOOK_AT_ALL: Duration = Duration::from_secs(60);

/// What there is of guests beside their records.
pub(super) trait World {
    /// Opens a guest's console.
    fn open(&mut self, domain: DomId) -> Result<Box<dyn Ring>, RingError>;
    /// The domains that there are, without those that are going.
    fn living(&mut self) -> Result<BTreeSet<DomId>, RingError>;
}

/// All consoles.
#[derive(Debug)]
pub(super) struct Board<W> {
    pub(super) world: W,
    pub(super) records: Guests,
    /// Where the sockets are.
    pub(super) folder: PathBuf,
    pub(super) epoll: Epoll,
    pub(super) guests: BTreeMap<DomId, Guest>,
    /// Consoles that could not be opened.
    pub(super) failed: BTreeMap<DomId, Failed>,
    ready: VecDeque<DomId>,
    paused: BTreeSet<(Instant, DomId)>,
    all: Budget,
    /// When the line goes on.
    line_at: Instant,
    logs: Logs,
    pub(super) tallies: Tallies,
    pub(super) last_client: u32,
    next_look: Instant,
    pub(super) next_look_at_all: Instant,
}

/// What is the business of whoever runs the loop.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Others {
    /// A descriptor of the thread's own is readable.
    pub(super) wake: bool,
    /// Records have changed.
    pub(super) records: bool,
}

impl<W: World> Board<W> {
    pub(super) fn new(
        world: W,
        records: Guests,
        folder: PathBuf,
        logs: Logs,
        tallies: Tallies,
    ) -> io::Result<Self> {
        let now = Instant::now();
        Ok(Self {
            world,
            records,
            folder,
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            guests: BTreeMap::new(),
            failed: BTreeMap::new(),
            ready: VecDeque::new(),
            paused: BTreeSet::new(),
            all: Budget::new(BURST_OF_ALL, RATE_OF_ALL, now),
            line_at: now,
            logs,
            tallies,
            last_client: 0,
            next_look: now + LOOK,
            next_look_at_all: now,
        })
    }

    /// Waits for this descriptor, too.
    pub(super) fn watch(&self, descriptor: impl AsFd, token: Token) -> io::Result<()> {
        Ok(self.epoll.add(descriptor, EpollEvent::new(EpollFlags::EPOLLIN, token.into()))?)
    }

    pub(super) fn line_up(&mut self, domain: DomId) {
        if let Some(guest) = self.guests.get_mut(&domain)
            && !guest.in_line
        {
            guest.in_line = true;
            self.ready.push_back(domain);
        }
    }

    /// Waits until something happens, for `limit` at most, and does one round of work.
    pub(super) fn turn(&mut self, limit: Duration) -> io::Result<Others> {
        let mut events = [EpollEvent::empty(); TURNS];
        let pause = self.pause(Instant::now()).min(limit);
        let pause = i32::try_from(pause.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
        let count = match self
            .epoll
            .wait(&mut events, EpollTimeout::try_from(pause).unwrap_or(EpollTimeout::MAX))
        {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        let now = Instant::now();
        let mut others = Others::default();
        for event in events.iter().take(count) {
            match Token::from(event.data()) {
                Token::Wake => others.wake = true,
                Token::Records => others.records = true,
                Token::Ring(domain) => self.line_up(domain),
                Token::Listener(domain) => self.accept(domain),
                Token::Client(domain, client) => self.client(domain, client, event.events()),
            }
        }
        while let Some((_, domain)) = self.paused.first().copied().filter(|(due, _)| *due <= now) {
            self.paused.pop_first();
            self.ready.push_back(domain);
        }
        for _ in 0..TURNS.min(self.ready.len()) {
            self.line_at = now + self.all.wait(now);
            if self.line_at > now {
                break;
            }
            if let Some(domain) = self.ready.pop_front() {
                self.serve(domain, now);
            }
        }
        self.try_again(now);
        if now >= self.next_look_at_all {
            self.look_at_all(now);
        }
        if now >= self.next_look {
            self.next_look = now + LOOK;
            self.bury();
        }
        Ok(others)
    }

    fn pause(&self, now: Instant) -> Duration {
        let line = (!self.ready.is_empty()).then_some(self.line_at);
        let looks = !self.guests.is_empty() || !self.failed.is_empty();
        let due = [
            self.paused.first().map(|(due, _)| *due),
            looks.then_some(self.next_look),
            Some(self.next_look_at_all),
            line,
            self.failed.values().map(|failed| failed.next).min(),
        ];
        due.into_iter()
            .flatten()
            .min()
            .map_or(LOOK_AT_ALL, |due| due.saturating_duration_since(now))
    }

    /// A guest has its turn.
    fn serve(&mut self, domain: DomId, now: Instant) {
        let Some(guest) = self.guests.get_mut(&domain) else { return };
        let wait = guest.budget.wait(now);
        if !wait.is_zero() {
            guest.tally.throttled.fetch_add(1, Ordering::Relaxed);
            self.paused.insert((now + wait, domain));
            return;
        }
        guest.in_line = false;
        let result = guest.ring.acknowledge().and_then(|()| guest.ring.read());
        let result = result.and_then(|bytes| guest.pass_input().map(|()| bytes));
        match result {
            Ok(bytes) => {
                guest.budget.charge(bytes.len());
                self.all.charge(bytes.len());
                self.print(domain, &bytes);
                self.rearm(domain);
            }
            Err(error) => self.give_up(domain, &error),
        }
    }

    /// What a guest has printed goes to its log and to who is attached.
    pub(super) fn print(&mut self, domain: DomId, bytes: &[u8]) {
        let Some(guest) = self.guests.get_mut(&domain) else { return };
        if !bytes.is_empty() {
            self.logs.write(&guest.record.name, bytes);
            guest.print(bytes);
        }
        self.wait_for_clients(domain);
    }

    fn rearm(&self, domain: DomId) {
        let Some(guest) = self.guests.get(&domain) else { return };
        let mut event = EpollEvent::new(
            EpollFlags::EPOLLIN | EpollFlags::EPOLLONESHOT,
            Token::Ring(domain).into(),
        );
        if let Err(error) = self.epoll.modify(&guest.ring, &mut event) {
            log::error!("the console of domain {domain} cannot be waited for: {error}");
        }
    }

    /// The end: what is not read stays in the rings for the next daemon.
    pub(super) fn stop(mut self) {
        self.guests.clear();
        self.logs.stop();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "board_tests.rs"]
mod tests;
