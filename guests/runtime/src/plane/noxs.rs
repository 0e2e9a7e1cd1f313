//! NoXS: the device page, which tells the devices of this guest, and the ports on which news of it
//! and of them come (docs/noxs-abi.md).
//!
//! Xen makes the page with the guest's first device, so it may be missing at first. Its interrupt
//! is bound before it is looked for: whatever comes later is told.

use noxs::device;
use noxs::device_page::{DevicePage, Entry, SLOTS};
use noxs::hypercall::{NoxsOp, OP_QUERY};
use noxs::page::ReadOnlyPage;

use super::{Class, DeviceId, Endpoint};
use crate::Error;
use crate::boot::Kind;
use crate::channel::Channel;
use crate::device::DeviceError;
use crate::event::{Events, Port, Ports, Source};
use crate::foreign::ForeignWindow;
use crate::hypercall::memory;
#[cfg(test)]
use crate::page::SharedPage;
use crate::store::{Claim, StoreError, TOKENS, Token, Tokens, Watch};
use crate::window::Fixed;

/// The device page of this guest, and the watches for it and for its devices.
#[derive(Debug)]
pub struct Noxs {
    events: Events,
    kind: Kind,
    interrupt: Channel,
    page: Option<DevicePage<ReadOnlyPage<'static>>>,
    /// The page's generation when the watches fired last.
    generation: u32,
    /// The port of the device that a token is for.
    ports: [Option<Port>; Token::COUNT as usize],
    /// The sequence of the entry of each slot that has been used: it is not offered again.
    used: [u32; SLOTS],
    /// Tokens that are for the page, a bit for each.
    watches: u32,
    /// Tokens that have fired and not been asked for.
    fired: u32,
    tokens: &'static Tokens,
}

impl Noxs {
    /// Finds out whether the hypervisor speaks NoXS.
    pub(crate) fn open(events: Events, kind: Kind) -> Result<Noxs, Error> {
        let mut query = NoxsOp { op: OP_QUERY, abi: noxs::ABI, ..NoxsOp::default() };
        // SAFETY: a query changes nothing in this guest's memory.
        unsafe { memory::noxs(&mut query) }.map_err(|_| Error::NoPlane)?;
        // Another operation that has this number by now.
        if query.slots as usize != SLOTS {
            return Err(Error::NoPlane);
        }
        let mut noxs = Noxs::new(
            events,
            kind,
            Channel::interrupt(events, query.virq).map_err(Error::Interrupt)?,
            &TOKENS,
        );
        noxs.look_for_page();
        Ok(noxs)
    }

    fn new(events: Events, kind: Kind, interrupt: Channel, tokens: &'static Tokens) -> Noxs {
        Noxs {
            events,
            kind,
            interrupt,
            page: None,
            generation: 0,
            ports: [None; Token::COUNT as usize],
            used: [0; SLOTS],
            watches: 0,
            fired: 0,
            tokens,
        }
    }

    /// One with a device page of the test's own.
    #[cfg(test)]
    pub(crate) fn fake(events: Events, page: SharedPage) -> Noxs {
        let tokens = Box::leak(Box::new(Tokens::new()));
        let mut noxs = Noxs::new(events, Kind::Pv, Channel::fake(events), tokens);
        noxs.page = DevicePage::open(page.read_only()).ok();
        noxs
    }

    /// A page that cannot be mapped, or is none, is as good as none.
    fn look_for_page(&mut self) {
        if let Ok(page) = Fixed::map_device_page(self.kind) {
            self.page = DevicePage::open(page).ok();
        }
    }

    /// Watches for devices that come and go, of whatever class. The watch fires at once, too.
    pub fn watch(&mut self, class: Class) -> Result<Watch, StoreError> {
        let claim = self.claim()?;
        self.watch_for(claim.token());
        Ok(Watch::new(class.node(), claim))
    }

    /// Whether the watch fired since this was asked last.
    pub fn take_fired(&mut self, watch: &Watch) -> bool {
        self.take_fired_for(watch.token())
    }

    /// Ends a watch.
    pub fn unwatch(&mut self, watch: Watch) {
        self.unwatch_for(watch.token());
    }

    /// Takes a free token, which is for nothing yet.
    pub(crate) fn claim(&mut self) -> Result<Claim, StoreError> {
        let claim = self.tokens.claim()?;
        self.unwatch_for(claim.token());
        Ok(claim)
    }

    /// Lets the token fire at once, and when a device comes or goes.
    pub(crate) fn watch_for(&mut self, token: Token) {
        self.watches |= token.bit();
        self.fired |= token.bit();
    }

    /// Lets the token fire at once, with each event on a device's port, and when a device comes or
    /// goes.
    pub(crate) fn watch_device(&mut self, token: Token, endpoint: &Endpoint) {
        let entry = endpoint.entry();
        if let Some(used) = self.used.get_mut(entry.slot) {
            *used = entry.sequence;
        }
        if let Some(port) = self.ports.get_mut(token.index()) {
            *port = Some(endpoint.port());
        }
        self.watch_for(token);
    }

    /// Ends `watch_for` and `watch_device`.
    pub(crate) fn unwatch_for(&mut self, token: Token) {
        if let Some(port) = self.ports.get_mut(token.index()) {
            *port = None;
        }
        self.watches &= !token.bit();
        self.fired &= !token.bit();
    }

    /// Whether the token fired since this was asked last.
    pub(crate) fn take_fired_for(&mut self, token: Token) -> bool {
        let fired = self.fired & token.bit() != 0;
        self.fired &= !token.bit();
        fired
    }

    /// Whether the token fired and was not asked for.
    pub(crate) fn has_fired(&self, token: Token) -> bool {
        self.fired & token.bit() != 0
    }

    /// The devices of a class.
    pub(crate) fn ids(&self, class: Class) -> impl Iterator<Item = DeviceId> {
        let class = class.of_page();
        self.entries()
            .filter(move |entry| entry.device.class == class)
            .map(|entry| DeviceId::new(entry.device.id.0))
    }

    /// A device that has not been used yet.
    pub(crate) fn offered(&self, class: device::Class, id: u32) -> Option<Entry> {
        let mut entries = self.entries();
        let entry = entries.find(|entry| entry.device.same_name(class, device::DeviceId(id)))?;
        (self.used.get(entry.slot) != Some(&entry.sequence)).then_some(entry)
    }

    /// Whether the guest has that very device still.
    pub(crate) fn holds(&self, entry: &Entry) -> bool {
        let now = self.page.and_then(|page| page.entry(entry.slot).ok().flatten());
        now.is_some_and(|now| now.sequence == entry.sequence)
    }

    /// All devices.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry> {
        let slots = if self.page.is_some() { SLOTS } else { 0 };
        (0..slots).filter_map(|slot| self.page?.entry(slot).ok().flatten())
    }

    /// Maps a device's control page.
    pub(crate) fn open_endpoint(
        &self,
        entry: Entry,
        window: ForeignWindow,
    ) -> Result<Endpoint, DeviceError> {
        Endpoint::open(self.events, self.kind, entry, window)
    }
}

impl Source for Noxs {
    fn port(&self) -> Option<Port> {
        Some(self.interrupt.port())
    }

    fn more_ports(&self, ports: &mut Ports) {
        for port in self.ports.iter().flatten() {
            ports.add(*port);
        }
    }

    /// Ready while a watch that fired has not been asked for.
    fn ready(&mut self) -> bool {
        self.forget_given_back();
        if self.page.is_none() {
            self.look_for_page();
        }
        if let Some(page) = self.page {
            let generation = page.generation();
            if generation != self.generation {
                self.generation = generation;
                self.fired |= self.watches;
            }
        }
        let mut bit = 1u32;
        for port in &self.ports {
            if port.is_some_and(|port| self.events.clear(port)) {
                self.fired |= bit;
            }
            bit <<= 1;
        }
        self.fired != 0
    }
}

impl Noxs {
    /// Ends what was for tokens that their owners have dropped. Their ports may be others' by now.
    fn forget_given_back(&mut self) {
        let live = self.tokens.live();
        self.watches &= live;
        self.fired &= live;
        for (number, port) in (0..).zip(&mut self.ports) {
            if live & 1 << number == 0 {
                *port = None;
            }
        }
    }
}

#[cfg(test)]
#[path = "noxs_tests.rs"]
mod tests;
