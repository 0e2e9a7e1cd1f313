//! A network interface: the frontend of netif.h, as a device for smoltcp.
//!
//! One queue, one event channel, packets of one page at most. Each direction has `SLOTS` buffers,
//! granted to the backend as long as the device exists: a page each for what comes in, as the
//! backend wants it, and half a page for what goes out. A received frame is copied out once and
//! only the copy is looked at. Checksums are neither left out nor believed: we say
//! `feature-no-csum-offload`, and smoltcp verifies all that arrives.

use core::fmt;

use noxs::state::State;
use smoltcp::phy::{self, ChecksumCapabilities, DeviceCapabilities, Medium};
use smoltcp::time::Instant;

use crate::channel::Channel;
use crate::device::{DeviceError, Devices, Driver, Frontend, Link, Offer, Own, Told};
use crate::event::{Port, Source};
use crate::front_ring::BadBackend;
use crate::grant::Access;
use crate::memory::{DeviceMemory, Granted};
use crate::page::PAGE;
use crate::plane::{Class, DeviceId, Plane};
use crate::text;
use receive::Receive;
use transmit::Transmit;

mod receive;
mod transmit;

/// Bytes of the longest frame: 1500 and an Ethernet header, without its checksum.
const FRAME: usize = 1514;

/// The buffers of each direction.
const SLOTS: usize = 16;

/// The frames that are sent from one page.
const IN_PAGE: usize = 2;
const _: () = assert!(IN_PAGE * FRAME <= PAGE && SLOTS.is_multiple_of(IN_PAGE));

/// The pages of one interface: a ring and the buffers for each direction.
pub const NETWORK_PAGES: usize = RECEIVE + 1 + SLOTS;
const TRANSMIT: usize = 0;
const RECEIVE: usize = TRANSMIT + 1 + SLOTS / IN_PAGE;

/// Memory for `N` network interfaces, 108 KiB each.
pub type NetworkMemory<const N: usize> = DeviceMemory<N, NETWORK_PAGES>;

type Pages = Granted<NETWORK_PAGES>;

/// The address of a network interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// A network interface.
#[derive(Debug)]
pub struct Network {
    frontend: Frontend,
    mac: Mac,
    wire: Wire,
}

impl Network {
    /// Takes interface `id`.
    pub fn open<const N: usize>(
        devices: Devices,
        plane: &mut Plane,
        memory: &'static NetworkMemory<N>,
        id: DeviceId,
    ) -> Result<Network, DeviceError> {
        let offer = Offer::find(plane, Class::Network, id)?;
        let backend = offer.backend()?;
        // What the backend has no business to write it cannot.
        let access = |index| match index {
            TRANSMIT | RECEIVE.. => Access::Write,
            _ => Access::Read,
        };
        let pages = Granted::new(memory, devices.grants, backend, access)?;
        let channel = Channel::open(devices.events, backend)?;
        let mut frontend = Frontend::open(plane, offer, pages.window(), id)?;
        let mac = frontend.offered(plane, "mac", &mut [0; 32])?.and_then(text::mac);
        let mac = Mac(mac.ok_or(DeviceError::Node("mac"))?);
        frontend.watch(plane)?;
        Ok(Network { frontend, mac, wire: Wire::new(pages, channel) })
    }

    /// Goes on with connecting or ending, if the backend changed its state. To be called after each
    /// wait.
    pub fn advance(&mut self, plane: &mut Plane) -> Result<Link, DeviceError> {
        if self.wire.broken && self.frontend.link() < Link::Closing {
            self.frontend.close(plane);
        }
        let advanced = self.frontend.advance(plane, &mut self.wire);
        self.wire.up = self.frontend.link() == Link::Connected;
        advanced.map(|()| self.frontend.link())
    }

    /// Lets go of an interface that the toolstack took away.
    pub fn abandon(mut self, plane: &mut Plane) {
        self.frontend.abandon(plane);
    }

    /// How far it is.
    pub fn link(&self) -> Link {
        self.frontend.link()
    }

    /// Its number.
    pub fn id(&self) -> DeviceId {
        self.frontend.id()
    }

    /// Its address.
    pub fn mac(&self) -> Mac {
        self.mac
    }

    /// Whether nothing can be sent at present: the backend has all buffers. It wakes us when it is
    /// done with one.
    pub fn is_stalled(&self) -> bool {
        self.wire.stalled
    }
}

impl Source for Network {
    fn port(&self) -> Option<Port> {
        Some(self.wire.channel.port())
    }

    fn ready(&mut self) -> bool {
        self.wire.ready()
    }
}

/// The rings, their buffers and their event channel.
#[derive(Debug)]
struct Wire {
    pages: Pages,
    channel: Channel,
    transmit: Transmit,
    receive: Receive,
    up: bool,
    /// The last attempt to send found no buffer.
    stalled: bool,
    /// The backend broke the protocol.
    broken: bool,
    /// The frame that was received last.
    frame: [u8; FRAME],
}

impl Wire {
    fn new(pages: Pages, channel: Channel) -> Wire {
        let (transmit, receive) =
            (Transmit::new(pages.page(TRANSMIT)), Receive::new(pages.page(RECEIVE)));
        Wire {
            pages,
            channel,
            transmit,
            receive,
            up: false,
            stalled: false,
            broken: false,
            frame: [0; FRAME],
        }
    }

    fn ready(&mut self) -> bool {
        if !self.up || self.broken {
            return false;
        }
        // Without a buffer for an answer no frame is taken: what waits is not news then.
        let news = if self.stalled { self.transmit.arm() } else { self.receive.arm() };
        news.unwrap_or_else(|BadBackend| {
            self.broken = true;
            true
        })
    }

    /// The length of the next frame, which is then in `frame`. None too if there is no buffer for
    /// an answer.
    fn next_frame(&mut self) -> Option<usize> {
        if !self.can_send() {
            return None;
        }
        let taken = self.receive.take(&self.pages, &self.channel, &mut self.frame);
        self.check(taken).flatten()
    }

    fn can_send(&mut self) -> bool {
        if !self.up || self.broken {
            return false;
        }
        let free = self.transmit.collect();
        let free = self.check(free).unwrap_or(false);
        self.stalled = !free;
        free
    }

    fn check<T>(&mut self, result: Result<T, BadBackend>) -> Option<T> {
        self.broken |= result.is_err();
        result.ok()
    }
}

impl Driver for Wire {
    const PUBLISHED: State = State::Connected;

    fn publish(&mut self, own: &mut Own<'_>) -> Result<(), DeviceError> {
        self.receive.post_all(&self.pages)?;
        own.write("tx-ring-ref", self.pages.reference(TRANSMIT).number())?;
        own.write("rx-ring-ref", self.pages.reference(RECEIVE).number())?;
        own.write("event-channel", self.channel.port().number())?;
        for feature in ["request-rx-copy", "feature-rx-notify", "feature-no-csum-offload"] {
            own.write(feature, 1)?;
        }
        Ok(())
    }

    fn connect(&mut self, _told: &mut Told<'_>) -> Result<(), DeviceError> {
        Ok(())
    }
}

impl phy::Device for Network {
    type RxToken<'a> = RxToken<'a>;
    type TxToken<'a> = TxToken<'a>;

    fn receive(&mut self, _: Instant) -> Option<(RxToken<'_>, TxToken<'_>)> {
        let length = self.wire.next_frame()?;
        let Wire { pages, channel, transmit, broken, frame, .. } = &mut self.wire;
        Some((
            RxToken { frame: frame.get(..length)? },
            TxToken { pages, channel, transmit, broken },
        ))
    }

    fn transmit(&mut self, _: Instant) -> Option<TxToken<'_>> {
        if !self.wire.can_send() {
            return None;
        }
        let Wire { pages, channel, transmit, broken, .. } = &mut self.wire;
        Some(TxToken { pages, channel, transmit, broken })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME;
        capabilities.max_burst_size = Some(SLOTS);
        capabilities.checksum = ChecksumCapabilities::default();
        capabilities
    }
}

/// A frame that was received.
#[derive(Debug)]
pub struct RxToken<'a> {
    frame: &'a [u8],
}

impl phy::RxToken for RxToken<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(self.frame)
    }
}

/// A frame that can be sent.
#[derive(Debug)]
pub struct TxToken<'a> {
    pages: &'a Pages,
    channel: &'a Channel,
    transmit: &'a mut Transmit,
    broken: &'a mut bool,
}

impl phy::TxToken for TxToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        let mut frame = [0; FRAME];
        // smoltcp keeps to `max_transmission_unit`.
        let frame = &mut frame[..length];
        let result = fill(frame);
        *self.broken |= self.transmit.send(self.pages, self.channel, frame).is_err();
        result
    }
}

#[cfg(test)]
mod tests;
