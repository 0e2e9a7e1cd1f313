//! An event channel of our own making: for a device, whose backend is to bind the other end; the
//! other end of one that a backend has opened; or a virtual interrupt.

use crate::event::{Events, Port};
use crate::grant::DomId;
use crate::hypercall::{Errno, event};

/// A port, closed on drop.
#[derive(Debug)]
pub(crate) struct Channel {
    events: Events,
    port: Port,
}

impl Channel {
    /// A port that `peer` may bind to.
    pub(crate) fn open(events: Events, peer: DomId) -> Result<Channel, Errno> {
        let channel = Channel::new(events, event::alloc_unbound(peer.number())?)?;
        // Xen may have used the number before.
        events.clear(channel.port);
        Ok(channel)
    }

    /// A port to what `peer` has opened for us. An event is pending at once, in case one was sent
    /// before.
    #[cfg(not(test))]
    pub(crate) fn bind(events: Events, peer: DomId, remote: u32) -> Result<Channel, Errno> {
        Channel::new(events, event::bind_interdomain(peer.number(), remote)?)
    }

    /// On the host, where the unit tests run: our port has the number of the other's.
    #[cfg(test)]
    pub(crate) fn bind(events: Events, _peer: DomId, remote: u32) -> Result<Channel, Errno> {
        Channel::new(events, remote)
    }

    /// A port for a virtual interrupt.
    pub(crate) fn interrupt(events: Events, virq: u32) -> Result<Channel, Errno> {
        Channel::new(events, event::bind_virq(virq)?)
    }

    /// What Xen has opened is closed again if it cannot be waited for.
    fn new(events: Events, number: u32) -> Result<Channel, Errno> {
        /// ENOSPC, as for a guest that has all the ports that it may have.
        const NO_SPACE: Errno = Errno(28);
        let port = Port::new(number).ok_or_else(|| {
            event::close_port(number);
            NO_SPACE
        })?;
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
        event::close_port(self.port.number());
    }
}
