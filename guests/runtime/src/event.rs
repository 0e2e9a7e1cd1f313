//! Event channels without interrupts, and the one place where a guest waits.
//!
//! Every port stays masked and no upcall is ever registered: Xen only sets a port's pending bit,
//! and SCHEDOP_poll ends when it is set. The order that loses nothing: clear the bit, look at the
//! ring, and block only if there is nothing.

use core::time::Duration;

use crate::clock::{self, Instant};
use crate::hypercall::{self, event};
use crate::page::SharedPage;
use crate::store::Token;

/// Ports that the 2-level event channel ABI, the one that we use, can number.
const PORTS: u32 = 4096;

// struct shared_info in xen.h, by offset.
const UPCALL_MASK: usize = 1;
const PENDING: usize = 2048;
const MASK: usize = 2560;

/// A local event channel port, with the layout of `evtchn_port_t`.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port(u32);

impl Port {
    /// None for 0, which means that there is none, and for what cannot be a port.
    pub(crate) fn new(number: u32) -> Option<Port> {
        (number > 0 && number < PORTS).then_some(Port(number))
    }

    /// The number by which the toolstack and the other end know it.
    pub fn number(self) -> u32 {
        self.0
    }
}

/// Something whose other end announces news on a port: a console, a store, a device.
pub trait Source {
    /// The port that its other end uses. None: there is nothing to wait for at present.
    fn port(&self) -> Option<Port>;

    /// Further ports of it. `ready` acknowledges what came on them.
    fn more_ports(&self, _ports: &mut Ports) {}

    /// Whether there is something for the application to do now. Called after the port's event was
    /// acknowledged; it may take what is in the ring, and must not block for long.
    fn ready(&mut self) -> bool;
}

/// Something that may be missing.
impl<S: Source> Source for Option<S> {
    fn port(&self) -> Option<Port> {
        self.as_ref()?.port()
    }

    fn more_ports(&self, ports: &mut Ports) {
        if let Some(source) = self {
            source.more_ports(ports);
        }
    }

    fn ready(&mut self) -> bool {
        self.as_mut().is_some_and(S::ready)
    }
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// One of the sources is ready.
    Ready,
    /// The deadline is over and none is.
    TimedOut,
}

/// The sources that one wait can have.
pub const MAX_SOURCES: usize = 8;

/// The ports that one wait can have: one of each source, and those of the devices' control pages.
/// Xen would take 128.
const MAX_PORTS: usize = MAX_SOURCES + Token::COUNT as usize;

/// Ports to be waited for.
#[derive(Debug)]
pub struct Ports {
    list: [Port; MAX_PORTS],
    count: usize,
}

impl Ports {
    /// Adds a port.
    ///
    /// # Panics
    /// If there are more than a wait can have.
    pub fn add(&mut self, port: Port) {
        assert!(self.count < MAX_PORTS, "too many ports in one wait");
        self.list[self.count] = port;
        self.count += 1;
    }
}

/// The event channels and the clock of this guest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Events {
    info: SharedPage,
}

impl Events {
    /// `info` is the shared info page. Masks everything.
    pub(crate) fn new(info: SharedPage) -> Self {
        info.write(UPCALL_MASK, &[1]);
        for word in 0..PORTS as usize / 64 {
            info.store_u64(MASK + word * 8, u64::MAX);
        }
        Events { info }
    }

    pub(crate) fn shared_info(self) -> SharedPage {
        self.info
    }

    pub(crate) fn now(self) -> Instant {
        clock::now(self.info)
    }

    /// Tells the other end of `port`.
    pub(crate) fn notify(self, port: Port) {
        event::notify(port);
    }

    /// Acknowledges what came on `port`; to be done before its ring is looked at. True if something
    /// came.
    pub(crate) fn clear(self, port: Port) -> bool {
        self.info.clear_bits(PENDING + port.0 as usize / 64 * 8, 1 << (port.0 % 64))
    }

    /// Blocks for a while.
    pub(crate) fn sleep(self, duration: Duration) {
        hypercall::poll(&[], (self.now() + duration).as_nanos());
    }

    /// Whether something came on `port` that was not acknowledged.
    pub(crate) fn is_pending(self, port: Port) -> bool {
        self.info.load_u64(PENDING + port.0 as usize / 64 * 8) & 1 << (port.0 % 64) != 0
    }

    /// Blocks until something comes on `port`, which stays to be acknowledged, or until `deadline`.
    pub(crate) fn sleep_until(self, port: Port, deadline: Instant) {
        hypercall::poll(&[port], deadline.as_nanos());
    }

    /// Blocks until `done` says so, which is asked at first and after each event on `port`, or
    /// until `patience` is over. The clock is read only if it blocks: in a PVH guest that may
    /// be an exit to the hypervisor.
    pub(crate) fn wait_until(
        self,
        port: Port,
        patience: Duration,
        mut done: impl FnMut() -> bool,
    ) -> Wake {
        let mut deadline = None;
        loop {
            self.clear(port);
            if done() {
                return Wake::Ready;
            }
            let now = self.now();
            let deadline = *deadline.get_or_insert(now + patience);
            if now >= deadline {
                return Wake::TimedOut;
            }
            hypercall::poll(&[port], deadline.as_nanos());
        }
    }

    /// Blocks until a source is ready, or until `deadline`. At most `MAX_SOURCES` of them.
    pub(crate) fn wait(self, sources: &mut [&mut dyn Source], deadline: Option<Instant>) -> Wake {
        assert!(sources.len() <= MAX_SOURCES, "too many sources in one wait");
        let mut ports = Ports { list: [Port(0); MAX_PORTS], count: 0 };
        loop {
            let mut ready = false;
            ports.count = 0;
            for source in sources.iter_mut() {
                if let Some(port) = source.port() {
                    self.clear(port);
                    ready |= source.ready();
                    ports.add(port);
                    source.more_ports(&mut ports);
                }
            }
            if ready {
                return Wake::Ready;
            }
            if deadline.is_some_and(|deadline| self.now() >= deadline) {
                return Wake::TimedOut;
            }
            let ports = ports.list.get(..ports.count).unwrap_or_default();
            hypercall::poll(ports, deadline.map_or(0, Instant::as_nanos));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_page::test_page;

    #[test]
    fn ports_have_bounds() {
        assert_eq!(Port::new(0), None);
        assert_eq!(Port::new(4095), Some(Port(4095)));
        assert_eq!(Port::new(4096), None);
    }

    #[test]
    fn clears_its_own_pending_bit_only() {
        let page = test_page();
        let events = Events::new(page);
        assert_eq!(page.load_u64(MASK + 63 * 8), u64::MAX);
        page.store_u64(PENDING + 8, 0b111);
        assert!(events.is_pending(Port(65)));
        assert!(events.clear(Port(65)));
        assert!(!events.clear(Port(65)));
        assert!(!events.is_pending(Port(65)) && events.is_pending(Port(66)));
        assert_eq!(page.load_u64(PENDING + 8), 0b101);
    }
}
