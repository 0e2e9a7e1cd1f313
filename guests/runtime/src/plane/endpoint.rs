//! This guest's end of one device's control page: the page mapped, its event channel bound, and
//! what we have seen of the backend.
//!
//! The backend can write any byte of the page at any time. The crate `noxs` reads each word once
//! and checks the copy; our own keys and state are never read back.

use core::time::Duration;

use noxs::control_page::End;
use noxs::device_page::Entry;
use noxs::error::SnapshotError;
use noxs::keys::{KEYS_MAX, KeyList, Keys};
use noxs::state::{Change, Side, State};

use crate::boot::Kind;
use crate::channel::Channel;
use crate::device::DeviceError;
use crate::event::{Events, Port};
use crate::foreign::{ForeignPage, ForeignWindow};
use crate::grant::DomId;
use crate::page::SharedPage;

/// How long we wait for a backend that writes its keys. It is a few microseconds' work, but its
/// domain may be scheduled out meanwhile.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long we do nothing where its event was for something else, perhaps.
const PAUSE: Duration = Duration::from_millis(2);
/// How often we look, at the most.
const LOOKS: usize = 1000;

/// Where a backend's keys are copied to.
pub(crate) type KeyBuffer = [u8; KEYS_MAX];
pub(crate) const NO_KEYS: KeyBuffer = [0; KEYS_MAX];

/// The frontend's end of a control page. Dropping it unmaps the page and closes the port.
#[derive(Debug)]
pub(crate) struct Endpoint {
    // Dropped in this order: nobody has a view of the page when it is unmapped.
    end: End<SharedPage>,
    channel: Channel,
    mapping: ForeignPage,
    entry: Entry,
    /// The backend's state that was acted on last.
    seen: State,
}

impl Endpoint {
    /// Maps the page, which gets to be seen as the device's only when something is written to it.
    pub(crate) fn open(
        events: Events,
        kind: Kind,
        entry: Entry,
        window: ForeignWindow,
    ) -> Result<Endpoint, DeviceError> {
        let device = entry.device;
        let backend = DomId::new(device.backend.0.into()).ok_or(DeviceError::Node("backend-id"))?;
        let mapping = ForeignPage::map(kind, window, backend, device.grant.0)?;
        let end = End::join(mapping.page()).map_err(|_| DeviceError::Backend)?;
        let channel = Channel::bind(events, backend, device.port.0)?;
        Ok(Endpoint { end, channel, mapping, entry, seen: State::Unknown })
    }

    pub(crate) fn entry(&self) -> &Entry {
        &self.entry
    }

    pub(crate) fn port(&self) -> Port {
        self.channel.port()
    }

    /// What the backend says of itself. One that has been closed in between, unseen, counts as
    /// Closed: what we shared with it is of no more use.
    pub(crate) fn backend_state(&mut self) -> State {
        self.seen = match self.end.page().change(Side::Backend, self.seen) {
            Change::None => self.seen,
            Change::To(state) => state,
            Change::Restarted(_) | Change::Lost => State::Closed,
        };
        self.seen
    }

    /// What the backend tells, at least as new as its state that was read before. Waits a little
    /// while it is being written.
    pub(crate) fn backend_keys<'b>(
        &self,
        buffer: &'b mut KeyBuffer,
    ) -> Result<KeyList<'b>, DeviceError> {
        let length = self.snapshot(buffer)?;
        // Checked already, of private memory: this says so to the borrow checker, too.
        KeyList::parse(buffer.get(..length).unwrap_or_default()).map_err(|_| DeviceError::Backend)
    }

    /// Copies the backend's keys, and gives their length.
    fn snapshot(&self, buffer: &mut KeyBuffer) -> Result<usize, DeviceError> {
        let events = self.channel.events();
        let mut deadline = None;
        for _ in 0..LOOKS {
            match self.end.page().snapshot_into(Side::Backend, buffer) {
                Ok(keys) => return Ok(keys.as_bytes().len()),
                Err(SnapshotError::Busy) => {}
                // No keys: a backend that breaks the protocol.
                Err(_) => return Err(DeviceError::Backend),
            }
            let now = events.now();
            let deadline = *deadline.get_or_insert(now + PATIENCE);
            if now >= deadline {
                break;
            }
            // It tells when it has written them. That is news for the plane, too: not acknowledged
            // here, so where it has come already there is only the time to go by.
            if events.is_pending(self.channel.port()) {
                events.sleep(PAUSE);
            } else {
                events.sleep_until(self.channel.port(), deadline);
            }
        }
        Err(DeviceError::Backend)
    }

    /// The page itself, not to be used after this is dropped.
    pub(crate) fn page(&self) -> SharedPage {
        self.mapping.page()
    }

    /// Our state, as we keep it.
    pub(crate) fn state(&self) -> State {
        self.end.state()
    }

    /// Makes `keys` ours, and does not tell the backend yet.
    pub(crate) fn publish(&mut self, keys: &Keys) -> Result<(), DeviceError> {
        self.end.publish(keys).map_err(|_| DeviceError::Keys)
    }

    /// Goes to a state and tells the backend of it, and of what was published before.
    pub(crate) fn set_state(&mut self, state: State) -> Result<(), DeviceError> {
        let done = self.end.set_state(state).map_err(|_| DeviceError::Keys);
        self.channel.notify();
        done
    }

    /// Tells the backend of what was published.
    pub(crate) fn notify(&self) {
        self.channel.notify();
    }
}
