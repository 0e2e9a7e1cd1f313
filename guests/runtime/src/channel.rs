//! An event channel of our own making, for a device: its other end is for the backend to bind.

use crate::event::{Events, Port};
use crate::grant::DomId;
use crate::hypercall::{Errno, alloc_unbound, close_port};

/// A port, closed on drop.
#[derive(Debug)]
pub(crate) struct Channel {
    events: Events,
    port: Port,
}

impl Channel {
    pub(crate) fn open(events: Events, peer: DomId) -> Result<Channel, Errno> {
        const NO_SUCH_PORT: Errno = Errno(28);
        let port = Port::new(alloc_unbound(peer.number())?).ok_or(NO_SUCH_PORT)?;
        // Xen may have used the number before.
        events.clear(port);
        Ok(Channel { events, port })
    }

    /// One whose other end does not exist, for unit tests.
    #[cfg(test)]
    pub(crate) fn fake(events: Events) -> Channel {
        #[expect(clippy::unwrap_used, reason = "a test")]
        let port = Port::new(1).unwrap();
        Channel { events, port }
    }

    pub(crate) fn port(&self) -> Port {
        self.port
    }

    pub(crate) fn events(&self) -> Events {
        self.events
    }

    pub(crate) fn notify(&self) {
        self.events.notify(self.port);
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        close_port(self.port);
    }
}
