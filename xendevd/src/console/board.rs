//! All consoles: one loop over one epoll, in which each guest has its turn and none has more than that.
//!
//! ```text
//!            an event                    there is budget: at most 2 KiB are taken
//!   quiet ------------> ready, in line ------------------------------------------> quiet, its event armed again
//!                          ^      \ none
//!                          |       v
//!                          +---- paused: the event stays unacknowledged and the ring full, so the guest waits
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use h2::DomId;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::budget::Budget;
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

/// How often it is looked for guests that are gone, and what has failed is tried again.
const LOOK: Duration = Duration::from_secs(1);

/// Records of guests, whatever was heard of them, are looked at again this often.
const LOOK_AT_ALL: Duration = Duration::from_secs(60);

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
    world: W,
    records: Guests,
    /// Where the sockets are.
    folder: PathBuf,
    epoll: Epoll,
    guests: BTreeMap<DomId, Guest>,
    /// Consoles that could not be opened, and why.
    failed: BTreeMap<DomId, String>,
    ready: VecDeque<DomId>,
    paused: BTreeSet<(Instant, DomId)>,
    all: Budget,
    logs: Logs,
    tallies: Tallies,
    last_client: u32,
    next_look: Instant,
    next_look_at_all: Instant,
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
    pub(super) fn new(world: W, records: Guests, folder: PathBuf, logs: Logs, tallies: Tallies) -> io::Result<Self> {
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

    /// Looks at a guest's record, which may be new, changed or gone.
    pub(super) fn look(&mut self, domain: DomId, now: Instant) {
        let record = match self.records.read(domain) {
            Ok(record) => record.filter(|record| record.has_console),
            Err(error) => {
                log::warn!("the record of domain {domain} cannot be read: {error}");
                return;
            }
        };
        match (record, self.guests.get_mut(&domain)) {
            (Some(record), Some(guest)) if guest.record.uuid == record.uuid => {
                if guest.record.name != record.name {
                    guest.rename(record);
                    self.tallies.add(domain, Arc::clone(&guest.tally));
                }
            }
            (Some(record), _) => {
                self.close(domain);
                match self.world.open(domain) {
                    Ok(ring) => {
                        let path = self.folder.join(domain.to_string());
                        self.add(domain, Guest::new(record, ring, &path, now));
                    }
                    Err(error) => {
                        let text = error.to_string();
                        if self.failed.get(&domain) != Some(&text) {
                            log::warn!("the console of {} (domain {domain}) cannot be served: {text}", record.name);
                            self.failed.insert(domain, text);
                        }
                    }
                }
            }
            (None, _) => self.close(domain),
        }
    }

    fn add(&mut self, domain: DomId, guest: Guest) {
        self.failed.remove(&domain);
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLONESHOT;
        if let Err(error) = self.epoll.add(&guest.ring, EpollEvent::new(flags, Token::Ring(domain).into())) {
            log::error!("the console of domain {domain} cannot be waited for: {error}");
            self.failed.insert(domain, error.to_string());
            return;
        }
        if let Some(listener) = &guest.listener
            && let Err(error) = self.watch(listener, Token::Listener(domain))
        {
            log::error!("nobody can attach to the console of domain {domain}: {error}");
        }
        log::debug!("the console of {} (domain {domain}) is served", guest.record.name);
        self.tallies.add(domain, Arc::clone(&guest.tally));
        self.guests.insert(domain, guest);
        // What is in the ring already brings no event.
        self.ready.push_back(domain);
    }

    /// Looks at all records.
    pub(super) fn look_at_all(&mut self, now: Instant) {
        self.next_look_at_all = now + LOOK_AT_ALL;
        match self.records.domains() {
            Ok(mut domains) => {
                domains.extend(self.guests.keys().chain(self.failed.keys()));
                domains.sort_unstable();
                domains.dedup();
                domains.into_iter().for_each(|domain| self.look(domain, now));
            }
            Err(error) => log::warn!("guests cannot be looked for in {}: {error}", self.records.folder().display()),
        }
    }

    /// Waits until something happens, for `limit` at most, and does one round of work.
    pub(super) fn turn(&mut self, limit: Duration) -> io::Result<Others> {
        let mut events = [EpollEvent::empty(); TURNS];
        let pause = self.pause(Instant::now()).min(limit);
        let pause = i32::try_from(pause.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
        let count = match self.epoll.wait(&mut events, EpollTimeout::try_from(pause).unwrap_or(EpollTimeout::MAX)) {
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
                Token::Ring(domain) => self.ready.push_back(domain),
                Token::Listener(domain) => self.accept(domain),
                Token::Client(domain, client) => self.client(domain, client, event.events()),
            }
        }
        while let Some((_, domain)) = self.paused.first().copied().filter(|(due, _)| *due <= now) {
            self.paused.pop_first();
            self.ready.push_back(domain);
        }
        for _ in 0..TURNS.min(self.ready.len()) {
            if let Some(domain) = self.ready.pop_front() {
                self.serve(domain, now);
            }
        }
        if now >= self.next_look_at_all {
            self.look_at_all(now);
        }
        if now >= self.next_look {
            self.next_look = now + LOOK;
            self.bury(now);
        }
        Ok(others)
    }

    fn pause(&self, now: Instant) -> Duration {
        if !self.ready.is_empty() {
            return Duration::ZERO;
        }
        let looks = !self.guests.is_empty() || !self.failed.is_empty();
        let due =
            [self.paused.first().map(|(due, _)| *due), looks.then_some(self.next_look), Some(self.next_look_at_all)];
        due.into_iter().flatten().min().map_or(LOOK_AT_ALL, |due| due.saturating_duration_since(now))
    }

    /// A guest has its turn.
    fn serve(&mut self, domain: DomId, now: Instant) {
        let Some(guest) = self.guests.get_mut(&domain) else { return };
        let wait = guest.budget.wait(now).max(self.all.wait(now));
        if !wait.is_zero() {
            guest.tally.throttled.fetch_add(1, Ordering::Relaxed);
            self.paused.insert((now + wait, domain));
            return;
        }
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
    fn print(&mut self, domain: DomId, bytes: &[u8]) {
        let Some(guest) = self.guests.get_mut(&domain) else { return };
        if !bytes.is_empty() {
            self.logs.write(&guest.record.name, bytes);
            guest.print(bytes);
        }
        self.wait_for_clients(domain);
    }

    fn rearm(&self, domain: DomId) {
        let Some(guest) = self.guests.get(&domain) else { return };
        let mut event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLONESHOT, Token::Ring(domain).into());
        if let Err(error) = self.epoll.modify(&guest.ring, &mut event) {
            log::error!("the console of domain {domain} cannot be waited for: {error}");
        }
    }

    /// Waits for the clients of a guest as their state now is: the input of all goes through the same room.
    fn wait_for_clients(&self, domain: DomId) {
        let Some(guest) = self.guests.get(&domain) else { return };
        guest.tally.attached.store(guest.clients.len(), Ordering::Relaxed);
        for (client, attached) in &guest.clients {
            let mut event = EpollEvent::new(guest.interest(*client), Token::Client(domain, *client).into());
            if let Err(error) = self.epoll.modify(attached, &mut event) {
                log::debug!("a client of domain {domain} cannot be waited for: {error}");
            }
        }
    }

    fn accept(&mut self, domain: DomId) {
        let Some(guest) = self.guests.get_mut(&domain) else { return };
        let Some(attached) = guest.accept() else { return };
        self.last_client = self.last_client.wrapping_add(1);
        let event = EpollEvent::new(EpollFlags::EPOLLIN, Token::Client(domain, self.last_client).into());
        match self.epoll.add(&attached, event) {
            Ok(()) => _ = guest.clients.insert(self.last_client, attached),
            Err(error) => log::warn!("a client of domain {domain} cannot be waited for: {error}"),
        }
        guest.tally.attached.store(guest.clients.len(), Ordering::Relaxed);
    }

    fn client(&mut self, domain: DomId, client: u32, events: EpollFlags) {
        let Some(guest) = self.guests.get_mut(&domain) else { return };
        let Some(attached) = guest.clients.get_mut(&client) else { return };
        let mut stays = !events.intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP);
        // What it sent before it went is the guest's all the same.
        if events.contains(EpollFlags::EPOLLOUT) {
            stays &= attached.flush();
        }
        if events.contains(EpollFlags::EPOLLIN) {
            stays &= guest.listen_to(client);
        }
        if !stays {
            guest.clients.remove(&client);
        }
        match guest.pass_input() {
            Ok(()) => self.wait_for_clients(domain),
            Err(error) => self.give_up(domain, &error),
        }
    }

    /// A console that does not work any more is opened anew when it is next looked at, if the guest is still there.
    fn give_up(&mut self, domain: DomId, error: &RingError) {
        let text = error.to_string();
        log::warn!("the console of domain {domain} is lost: {text}");
        self.remove(domain);
        self.failed.insert(domain, text);
    }

    /// Lets go of consoles whose guests are gone; a page of theirs that is mapped here would keep what is left of them.
    fn bury(&mut self, now: Instant) {
        if self.guests.is_empty() && self.failed.is_empty() {
            return;
        }
        let living = match self.world.living() {
            Ok(living) => living,
            Err(error) => return log::warn!("domains cannot be listed: {error}"),
        };
        let gone: Vec<DomId> = self.guests.keys().filter(|domain| !living.contains(domain)).copied().collect();
        gone.into_iter().for_each(|domain| self.close(domain));
        self.failed.retain(|domain, _| living.contains(domain));
        for domain in self.failed.keys().copied().collect::<Vec<_>>() {
            self.look(domain, now);
        }
    }

    /// Lets go of a console, after what the guest printed last.
    fn close(&mut self, domain: DomId) {
        self.failed.remove(&domain);
        let Some(guest) = self.guests.get_mut(&domain) else { return };
        if let Ok(bytes) = guest.ring.read() {
            self.print(domain, &bytes);
        }
        self.remove(domain);
        log::debug!("the console of domain {domain} is served no more");
    }

    fn remove(&mut self, domain: DomId) {
        if let Some(guest) = self.guests.remove(&domain)
            && let Err(error) = self.epoll.delete(&guest.ring)
        {
            log::debug!("the console of domain {domain} was not waited for: {error}");
        }
        self.tallies.remove(domain);
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
