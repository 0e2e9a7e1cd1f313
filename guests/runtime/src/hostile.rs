//! For a guest that means harm: its control pages as bare words, to be overwritten at will. Tests
//! of hosts are made of this; no honest application needs it, and what is not used is not in an
//! image.

use noxs::device_page::Entry;
use noxs::keys::Keys;
use noxs::state::{Side, State};

use crate::channel::Channel;
use crate::device::{DeviceError, Devices};
use crate::event::Port;
use crate::grant::{Access, DomId};
use crate::memory::{DeviceMemory, Granted};
use crate::page::{PAGE, SharedPage};
use crate::plane::{Endpoint, Noxs};

/// Words in a page.
pub const WORDS: usize = PAGE / 4;

/// The pages that a victim's backend is given for rings.
pub const RINGS: usize = 2;

/// Memory for `N` victims.
pub type VictimMemory<const N: usize> = DeviceMemory<N, RINGS>;

/// A device whose backend is to be harmed.
#[derive(Debug)]
pub struct Victim {
    endpoint: Endpoint,
    rings: Granted<RINGS>,
    channel: Channel,
    keys: Keys,
}

impl Victim {
    /// The devices of this guest, each for `open`.
    pub fn entries(noxs: &Noxs) -> impl Iterator<Item = Entry> {
        noxs.entries()
    }

    /// Maps a device's control page, and grants its backend pages that can be taken for rings.
    pub fn open<const N: usize>(
        devices: Devices,
        noxs: &Noxs,
        memory: &'static VictimMemory<N>,
        entry: Entry,
    ) -> Result<Victim, DeviceError> {
        let backend =
            DomId::new(entry.device.backend.0.into()).ok_or(DeviceError::Node("backend-id"))?;
        let rings = Granted::new(memory, devices.grants, backend, |_| Access::Write)?;
        let channel = Channel::open(devices.events, backend)?;
        let endpoint = noxs.open_endpoint(entry, rings.window())?;
        Ok(Victim { endpoint, rings, channel, keys: Keys::for_side(Side::Frontend) })
    }

    /// The device.
    pub fn entry(&self) -> &Entry {
        self.endpoint.entry()
    }

    /// Whether the guest has that very device still.
    pub fn is_there(&self, noxs: &Noxs) -> bool {
        noxs.holds(self.endpoint.entry())
    }

    /// Overwrites a word of the control page; the number of the word counts modulo `WORDS`.
    pub fn poke(&self, word: usize, value: u32) {
        poke(self.endpoint.page(), word, value);
    }

    /// Reads a word of the control page.
    pub fn peek(&self, word: usize) -> u32 {
        self.endpoint.page().load_u32(word % WORDS * 4)
    }

    /// Overwrites a word of a ring's page.
    pub fn poke_ring(&self, ring: usize, word: usize, value: u32) {
        poke(self.rings.page(ring % RINGS), word, value);
    }

    /// The grant reference of a ring's page.
    pub fn ring(&self, ring: usize) -> u32 {
        self.rings.reference(ring % RINGS).number()
    }

    /// The port for the rings.
    pub fn port(&self) -> Port {
        self.channel.port()
    }

    /// Sets a key that `publish` publishes in the right form. What is no key is left out.
    pub fn set(&mut self, key: &str, value: &[u8]) {
        let _ = self.keys.set(key.as_bytes(), value);
    }

    /// Publishes the keys, then the state if it may follow, as an honest guest would.
    pub fn publish(&mut self, state: State) {
        let _ = self.endpoint.publish(&self.keys);
        let _ = self.endpoint.set_state(state);
    }

    /// Tells the backend that there is something new about the control page.
    pub fn shout(&self) {
        self.endpoint.notify();
    }

    /// Tells the backend that there is something new in the rings.
    pub fn shout_ring(&self) {
        self.channel.notify();
    }
}

fn poke(page: SharedPage, word: usize, value: u32) {
    page.store_u32(word % WORDS * 4, value);
}
