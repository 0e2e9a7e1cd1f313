//! Requests by the device `sysctl` of NoXS (docs/noxs-abi.md, part 4). They are counted, so that
//! none is taken twice.

use noxs::device::Class;
use noxs::keys::{KeyList, Keys};
use noxs::state::{Side, State};

use crate::Exit;
use crate::foreign::{ForeignWindow, Tenancy};
use crate::plane::{Endpoint, KeyBuffer, NO_KEYS, Noxs};
use crate::store::{Claim, StoreError, Token};
use crate::text::{self, Decimal};
use crate::window::Window;

static WINDOW: Window = Window::new();
static TENANCY: Tenancy = Tenancy::new();
const PLACE: ForeignWindow = ForeignWindow { window: &WINDOW, tenancy: &TENANCY };

/// The device, which may come later, or go and come again.
#[derive(Debug)]
pub(super) struct Sysctl {
    claim: Claim,
    endpoint: Option<Endpoint>,
    /// The count of the last request that was taken up, and of the last that was refused; 0: none.
    taken: u32,
    refused: u32,
}

impl Sysctl {
    pub(super) fn open(noxs: &mut Noxs) -> Result<Sysctl, StoreError> {
        let mut sysctl = Sysctl { claim: noxs.claim()?, endpoint: None, taken: 0, refused: 0 };
        noxs.watch_for(sysctl.claim.token());
        sysctl.look(noxs);
        Ok(sysctl)
    }

    pub(super) fn token(&self) -> Token {
        self.claim.token()
    }

    /// What the toolstack tells.
    pub(super) fn keys<'b>(&self, buffer: &'b mut KeyBuffer) -> Option<KeyList<'b>> {
        self.endpoint.as_ref()?.backend_keys(buffer).ok()
    }

    pub(super) fn request(&mut self, noxs: &mut Noxs) -> Option<Exit> {
        if !noxs.take_fired_for(self.claim.token()) {
            return None;
        }
        self.look(noxs);
        self.follow()?;
        let mut copy = NO_KEYS;
        let keys = self.keys(&mut copy)?;
        let count = u32::try_from(text::number(keys.get(b"shutdown-request")?)?).ok()?;
        if count == 0 || count == self.taken || count == self.refused {
            return None;
        }
        let exit = keys.get(b"shutdown").and_then(Exit::requested);
        match exit {
            Some(_) => self.taken = count,
            None => self.refused = count,
        }
        self.publish();
        self.endpoint.as_ref()?.notify();
        exit
    }

    /// Takes the device when it comes, lets go of it when it goes.
    fn look(&mut self, noxs: &mut Noxs) {
        if self.endpoint.take_if(|endpoint| !noxs.holds(endpoint.entry())).is_some() {
            noxs.unwatch_for(self.claim.token());
            noxs.watch_for(self.claim.token());
        }
        if self.endpoint.is_none()
            && let Some(entry) = noxs.offered(Class::SYSCTL, 0)
            && let Ok(endpoint) = noxs.open_endpoint(entry, PLACE)
        {
            noxs.watch_device(self.claim.token(), &endpoint);
            self.endpoint = Some(endpoint);
            (self.taken, self.refused) = (0, 0);
        }
    }

    /// Goes with the backend's state. None: there is no backend that could ask for something.
    fn follow(&mut self) -> Option<()> {
        let endpoint = self.endpoint.as_mut()?;
        if let State::Closing | State::Closed = endpoint.backend_state() {
            let _ = endpoint.set_state(State::Closed);
            return None;
        }
        if endpoint.state() != State::Connected {
            let _ = endpoint.set_state(State::Initialising);
            self.publish();
            let _ = self.endpoint.as_mut()?.set_state(State::Connected);
        }
        Some(())
    }

    /// Tells what this guest does as asked, and which requests it has seen.
    // Its buffer is on the stack of a small guest, and is not to lie there beside `request`'s.
    #[inline(never)]
    fn publish(&mut self) {
        let Some(endpoint) = &mut self.endpoint else { return };
        let mut keys = Keys::for_side(Side::Frontend);
        // They are a few bytes: there is room.
        let mut set = |key: &str, value: &[u8]| _ = keys.set(key.as_bytes(), value);
        set("feature-poweroff", b"1");
        set("feature-reboot", b"1");
        for (key, count) in [("shutdown-ack", self.taken), ("shutdown-refused", self.refused)] {
            if count != 0 {
                set(key, Decimal::new(count).as_bytes());
            }
        }
        let _ = endpoint.publish(&keys);
    }
}

#[cfg(test)]
#[path = "sysctl_tests.rs"]
mod tests;
