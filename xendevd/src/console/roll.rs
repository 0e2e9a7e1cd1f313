//! Which guests' consoles are served: as their records say, as long as their domains are there.

use std::sync::Arc;
use std::time::Instant;

use h2::DomId;
use nix::sys::epoll::{EpollEvent, EpollFlags};

use super::board::{Board, LOOK_AT_ALL, World};
use super::failed::Failed;
use super::guest::{Guest, RingError};
use super::token::Token;

impl<W: World> Board<W> {
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
                let before = self.failed.remove(&domain);
                self.close(domain);
                match self.world.open(domain) {
                    Ok(ring) => {
                        let path = self.folder.join(domain.to_string());
                        self.add(domain, Guest::new(record, ring, &path, now));
                    }
                    Err(error) => {
                        let mut failed = before.unwrap_or_else(|| Failed::new(now));
                        if failed.again(now) {
                            log::warn!(
                                "the console of {} (domain {domain}) cannot be served: {error}",
                                record.name
                            );
                        }
                        self.failed.insert(domain, failed);
                    }
                }
            }
            (None, _) => self.close(domain),
        }
    }

    fn add(&mut self, domain: DomId, guest: Guest) {
        self.failed.remove(&domain);
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLONESHOT;
        if let Err(error) =
            self.epoll.add(&guest.ring, EpollEvent::new(flags, Token::Ring(domain).into()))
        {
            log::error!("the console of domain {domain} cannot be waited for: {error}");
            self.failed.insert(domain, Failed::new(Instant::now()));
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
        self.line_up(domain);
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
            Err(error) => log::warn!(
                "guests cannot be looked for in {}: {error}",
                self.records.folder().display()
            ),
        }
    }

    /// A console that does not work any more is opened anew when it is next looked at, if the guest
    /// is still there.
    pub(super) fn give_up(&mut self, domain: DomId, error: &RingError) {
        log::warn!("the console of domain {domain} is lost: {error}");
        self.remove(domain);
        self.failed.insert(domain, Failed::new(Instant::now()));
    }

    /// Tries again what has failed, and is due.
    pub(super) fn try_again(&mut self, now: Instant) {
        let due =
            self.failed.iter().filter(|(_, failed)| failed.next <= now).map(|(domain, _)| *domain);
        due.collect::<Vec<_>>().into_iter().for_each(|domain| self.look(domain, now));
    }

    /// Lets go of consoles whose guests are gone; a page of theirs that is mapped here would keep
    /// what is left of them.
    pub(super) fn bury(&mut self) {
        if self.guests.is_empty() && self.failed.is_empty() {
            return;
        }
        let living = match self.world.living() {
            Ok(living) => living,
            Err(error) => return log::warn!("domains cannot be listed: {error}"),
        };
        let gone: Vec<DomId> =
            self.guests.keys().filter(|domain| !living.contains(domain)).copied().collect();
        gone.into_iter().for_each(|domain| self.close(domain));
        self.failed.retain(|domain, _| living.contains(domain));
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
}
