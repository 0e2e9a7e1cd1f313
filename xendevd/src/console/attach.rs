//! Programs attach to consoles, and go again.

use std::sync::atomic::Ordering;

use h2::DomId;
use nix::sys::epoll::{EpollEvent, EpollFlags};

use super::board::{Board, World};
use super::token::Token;

impl<W: World> Board<W> {
    pub(super) fn accept(&mut self, domain: DomId) {
        let Some(guest) = self.guests.get_mut(&domain) else { return };
        let Some(attached) = guest.accept() else { return };
        self.last_client = self.last_client.wrapping_add(1);
        let event =
            EpollEvent::new(EpollFlags::EPOLLIN, Token::Client(domain, self.last_client).into());
        match self.epoll.add(&attached, event) {
            Ok(()) => _ = guest.clients.insert(self.last_client, attached),
            Err(error) => log::warn!("a client of domain {domain} cannot be waited for: {error}"),
        }
        guest.tally.attached.store(guest.clients.len(), Ordering::Relaxed);
    }

    pub(super) fn client(&mut self, domain: DomId, client: u32, events: EpollFlags) {
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

    /// Waits for the clients of a guest as their state now is: the input of all goes through the
    /// same room.
    pub(super) fn wait_for_clients(&self, domain: DomId) {
        let Some(guest) = self.guests.get(&domain) else { return };
        guest.tally.attached.store(guest.clients.len(), Ordering::Relaxed);
        for (client, attached) in &guest.clients {
            let mut event =
                EpollEvent::new(guest.interest(*client), Token::Client(domain, *client).into());
            if let Err(error) = self.epoll.modify(attached, &mut event) {
                log::debug!("a client of domain {domain} cannot be waited for: {error}");
            }
        }
    }
}
