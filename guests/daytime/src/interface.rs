//! One interface: the device, smoltcp's state of it, and its address.

use core::time::Duration;

use guest_runtime::net::{Network, NetworkMemory};
use guest_runtime::{Console, DeviceError, DeviceId, Devices, Guest, Link, Plane, Port, Source};
use smoltcp::iface::{self, Config, PollIngressSingleResult, PollResult};
use smoltcp::phy::{Device, TxToken};
use smoltcp::time::Instant;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    EthernetRepr, IpCidr, Ipv4Address, Ipv4Cidr,
};

use crate::service::Service;
use crate::{INTERFACES, say};

/// The packets that are taken at once. What else came waits: for the other interfaces, and the
/// toolstack.
const BATCH: usize = 32;

/// Between the two announcements of an address (RFC 5227, 1.1). The bridge may not forward yet what
/// is sent at once.
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(2);

/// An interface.
pub(crate) struct Interface {
    network: Network,
    stack: iface::Interface,
    wants_dhcp: bool,
    /// The address that was last said to be there.
    announced: Option<Ipv4Cidr>,
    /// When neighbours are told again.
    tell_again_at: Option<guest_runtime::Instant>,
}

impl core::fmt::Debug for Interface {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Interface")
            .field("network", &self.network)
            .field("announced", &self.announced)
            .finish_non_exhaustive()
    }
}

impl Interface {
    /// Takes interface `id`.
    pub(crate) fn open(
        guest: &Guest,
        devices: Devices,
        plane: &mut Plane,
        memory: &'static NetworkMemory<INTERFACES>,
        id: DeviceId,
        random_seed: u64,
    ) -> Result<Interface, DeviceError> {
        let mut network = Network::open(devices, plane, memory, id)?;
        let mut config = Config::new(EthernetAddress(network.mac().0).into());
        // Of its ports and sequence numbers.
        config.random_seed = random_seed;
        let mut stack = iface::Interface::new(config, &mut network, now(guest));
        let address = address(guest, id);
        if address.is_some() {
            set_address(&mut stack, address);
            set_gateway(&mut stack, guest.option("gw").and_then(|gateway| gateway.parse().ok()));
        }
        Ok(Interface {
            network,
            stack,
            wants_dhcp: address.is_none(),
            announced: None,
            tell_again_at: None,
        })
    }

    pub(crate) fn id(&self) -> DeviceId {
        self.network.id()
    }

    /// Whether the command line leaves its address to DHCP.
    pub(crate) fn wants_dhcp(&self) -> bool {
        self.wants_dhcp
    }

    /// Follows the backend. False if the interface is gone.
    pub(crate) fn advance(&mut self, plane: &mut Plane) -> Result<bool, DeviceError> {
        Ok(self.network.advance(plane)? != Link::Gone)
    }

    /// Says what became of the address, on the console and on the network. Until when there is
    /// nothing more to say.
    pub(crate) fn announce(
        &mut self,
        guest: &Guest,
        console: &mut Option<Console>,
    ) -> Option<guest_runtime::Instant> {
        if self.network.link() != Link::Connected {
            return None;
        }
        let address = self.stack.ip_addrs().iter().map(|IpCidr::Ipv4(address)| *address).next();
        let due = self.tell_again_at.is_some_and(|at| guest.now() >= at);
        if address != self.announced {
            self.announced = address;
            let (id, mac) = (self.network.id(), self.network.mac());
            match address {
                Some(address) => say(console, format_args!("vif {id} {mac} {address}\n")),
                None => say(console, format_args!("vif {id} {mac} has lost its address\n")),
            }
            self.tell_again_at = address.map(|_| guest.now() + ANNOUNCE_INTERVAL);
        } else if due {
            self.tell_again_at = None;
        } else {
            return self.tell_again_at;
        }
        if let Some(address) = address {
            self.tell_neighbours(guest, address.address());
        }
        self.tell_again_at
    }

    /// An ARP announcement (RFC 5227, 2.3). Whoever talked to another interface with this address
    /// until now would take half a minute to notice by himself that it has gone.
    fn tell_neighbours(&mut self, guest: &Guest, address: Ipv4Address) {
        let mac = EthernetAddress(self.network.mac().0);
        let ethernet = EthernetRepr {
            src_addr: mac,
            dst_addr: EthernetAddress::BROADCAST,
            ethertype: EthernetProtocol::Arp,
        };
        let arp = ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Request,
            source_hardware_addr: mac,
            source_protocol_addr: address,
            target_hardware_addr: EthernetAddress([0; 6]),
            target_protocol_addr: address,
        };
        // With no buffer free there is traffic, and neighbours that know already.
        if let Some(token) = self.network.transmit(now(guest)) {
            token.consume(ethernet.buffer_len() + arp.buffer_len(), |frame| {
                let mut frame = EthernetFrame::new_unchecked(frame);
                ethernet.emit(&mut frame);
                arp.emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
            });
        }
    }

    /// Takes some of the packets that came, serves, sends, and tells until when there is nothing
    /// more to do.
    pub(crate) fn serve(
        &mut self,
        guest: &Guest,
        service: &mut Service<'_>,
    ) -> Option<guest_runtime::Instant> {
        if self.network.link() != Link::Connected {
            return None;
        }
        let timestamp = now(guest);
        for _ in 0..BATCH {
            let taken =
                self.stack.poll_ingress_single(timestamp, &mut self.network, service.sockets());
            if taken == PollIngressSingleResult::None {
                break;
            }
        }
        service.serve(guest);
        if let Some(lease) = service.lease() {
            set_address(&mut self.stack, lease.address);
            set_gateway(&mut self.stack, lease.gateway);
        }
        self.stack.poll_maintenance(timestamp);
        while self.stack.poll_egress(timestamp, &mut self.network, service.sockets())
            != PollResult::None
        {}
        if self.network.is_stalled() {
            // It is the backend's turn, and it tells us.
            return None;
        }
        let delay = self.stack.poll_delay(now(guest), service.sockets())?;
        Some(guest.now() + delay.into())
    }

    /// Lets go of it when it was taken away.
    pub(crate) fn abandon(self, plane: &mut Plane) {
        self.network.abandon(plane);
    }
}

impl Source for Interface {
    fn port(&self) -> Option<Port> {
        self.network.port()
    }

    fn ready(&mut self) -> bool {
        self.network.ready()
    }
}

/// The words on the command line that give an interface its address; the first is for interface 0.
const KEYS: [&str; INTERFACES] = ["ip", "ip1", "ip2", "ip3"];

/// Says which addresses on the command line are none.
pub(crate) fn check_options(guest: &Guest, console: &mut Option<Console>) {
    for key in KEYS {
        if let Some(value) = guest.option(key)
            && value != "dhcp"
            && value.parse::<Ipv4Cidr>().is_err()
        {
            say(console, format_args!("{key}={value} is not ADDRESS/LENGTH: using DHCP\n"));
        }
    }
}

/// The address that the command line gives an interface. `dhcp`, or nothing, is none.
fn address(guest: &Guest, id: DeviceId) -> Option<Ipv4Cidr> {
    let key = KEYS.get(usize::try_from(id.number()).ok()?)?;
    guest.option(key)?.parse().ok()
}

fn set_address(stack: &mut iface::Interface, address: Option<Ipv4Cidr>) {
    stack.update_ip_addrs(|addresses| {
        addresses.clear();
        if let Some(address) = address {
            // There is place for one.
            let _ = addresses.push(address.into());
        }
    });
}

fn set_gateway(stack: &mut iface::Interface, gateway: Option<Ipv4Address>) {
    match gateway {
        // As above.
        Some(gateway) => _ = stack.routes_mut().add_default_ipv4_route(gateway),
        None => _ = stack.routes_mut().remove_default_ipv4_route(),
    }
}

fn now(guest: &Guest) -> Instant {
    Instant::from_micros(i64::try_from(guest.now().as_nanos() / 1000).unwrap_or(i64::MAX))
}
