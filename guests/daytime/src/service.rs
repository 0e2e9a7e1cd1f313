//! What an interface serves: daytime and echo, several connections at once; and the DHCP client of
//! one without an address.

use core::fmt::Write;

use guest_runtime::Guest;
use guest_runtime::calendar::Date;
use smoltcp::iface::{SocketHandle, SocketSet, SocketStorage};
use smoltcp::socket::dhcpv4;
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Duration;
use smoltcp::wire::{Ipv4Address, Ipv4Cidr};

const DAYTIME_PORT: u16 = 13;
const ECHO_PORT: u16 = 7;

/// The connections that each service can have at once.
const CONNECTIONS: usize = 4;
/// The buffer of an echo connection, in each direction.
const ECHO_BUFFER: usize = 16 * 1024;
/// That of a daytime connection: its one line.
const LINE: usize = 64;

/// A peer that answers nothing for so long is gone. It is asked, when it is silent, every
/// `KEEP_ALIVE`.
const TIMEOUT: Duration = Duration::from_secs(120);
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// The memory of one interface's connections.
#[derive(Debug)]
pub(crate) struct Buffers {
    echo: [[[u8; ECHO_BUFFER]; 2]; CONNECTIONS],
    daytime: [[[u8; LINE]; 2]; CONNECTIONS],
}

impl Buffers {
    pub(crate) const fn new() -> Buffers {
        Buffers {
            echo: [[[0; ECHO_BUFFER]; 2]; CONNECTIONS],
            daytime: [[[0; LINE]; 2]; CONNECTIONS],
        }
    }
}

/// The memory of one interface's sockets.
#[derive(Debug)]
pub(crate) struct Storage<'a>([SocketStorage<'a>; 2 * CONNECTIONS + 1]);

impl Default for Storage<'_> {
    fn default() -> Self {
        Storage([SocketStorage::EMPTY; 2 * CONNECTIONS + 1])
    }
}

/// What DHCP gave, or took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lease {
    pub(crate) address: Option<Ipv4Cidr>,
    pub(crate) gateway: Option<Ipv4Address>,
}

/// The sockets of one interface.
#[derive(Debug)]
pub(crate) struct Service<'a> {
    sockets: SocketSet<'a>,
    echo: [SocketHandle; CONNECTIONS],
    daytime: [SocketHandle; CONNECTIONS],
    dhcp: Option<SocketHandle>,
}

impl<'a> Service<'a> {
    pub(crate) fn new(storage: &'a mut Storage<'a>, buffers: &'a mut Buffers) -> Service<'a> {
        let mut sockets = SocketSet::new(&mut storage.0[..]);
        let echo = buffers.echo.each_mut().map(|[receive, send]| sockets.add(tcp(receive, send)));
        let daytime =
            buffers.daytime.each_mut().map(|[receive, send]| sockets.add(tcp(receive, send)));
        Service { sockets, echo, daytime, dhcp: None }
    }

    pub(crate) fn sockets(&mut self) -> &mut SocketSet<'a> {
        &mut self.sockets
    }

    /// Begins anew, for another interface: with its address still to be found by DHCP, or not.
    pub(crate) fn begin(&mut self, dhcp: bool) {
        for handle in self.echo.into_iter().chain(self.daytime) {
            self.sockets.get_mut::<Socket<'_>>(handle).abort();
        }
        if let Some(handle) = self.dhcp.take() {
            self.sockets.remove(handle);
        }
        self.dhcp = dhcp.then(|| self.sockets.add(dhcpv4::Socket::new()));
    }

    /// What DHCP has to say, if anything.
    pub(crate) fn lease(&mut self) -> Option<Lease> {
        match self.sockets.get_mut::<dhcpv4::Socket<'_>>(self.dhcp?).poll()? {
            dhcpv4::Event::Configured(config) => {
                Some(Lease { address: Some(config.address), gateway: config.router })
            }
            dhcpv4::Event::Deconfigured => Some(Lease { address: None, gateway: None }),
        }
    }

    /// Serves all connections.
    pub(crate) fn serve(&mut self, guest: &Guest) {
        for handle in self.daytime {
            daytime(self.sockets.get_mut(handle), guest);
        }
        for handle in self.echo {
            echo(self.sockets.get_mut(handle));
        }
    }
}

fn tcp<'a>(receive: &'a mut [u8], send: &'a mut [u8]) -> Socket<'a> {
    let mut socket = Socket::new(SocketBuffer::new(receive), SocketBuffer::new(send));
    socket.set_timeout(Some(TIMEOUT));
    socket.set_keep_alive(Some(KEEP_ALIVE));
    // Each line and each echo goes at once.
    socket.set_nagle_enabled(false);
    socket
}

/// The line, and that is it.
fn daytime(socket: &mut Socket<'_>, guest: &Guest) {
    listen(socket, DAYTIME_PORT);
    if !socket.can_send() {
        return;
    }
    let mut line = Line::default();
    // It fits (RFC 867 has 51 letters at most), and so it does in the buffer, which is empty.
    let _ = write!(line, "{}\r\n", Date::from(guest.wall_clock()));
    let _ = socket.send_slice(line.as_bytes());
    socket.close();
}

/// Sends back what came; ends when the peer has ended and has got everything.
fn echo(socket: &mut Socket<'_>) {
    listen(socket, ECHO_PORT);
    let mut bytes = [0; 2048];
    while socket.can_recv() && socket.can_send() {
        let space = (socket.send_capacity() - socket.send_queue()).min(bytes.len());
        let Some(piece) = bytes.get_mut(..space) else { break };
        let Ok(count) = socket.recv_slice(piece) else { break };
        // There is space for it.
        let _ = socket.send_slice(piece.get(..count).unwrap_or_default());
    }
    if socket.state() == State::CloseWait && !socket.can_recv() {
        // What is to be sent still goes first.
        socket.close();
    }
}

/// Makes a socket without a connection wait for one; also one in TIME-WAIT, which would take it out
/// of service for ten seconds. There are few, and if a late segment meets the next connection its
/// numbers tell.
fn listen(socket: &mut Socket<'_>, port: u16) {
    if !socket.is_open() {
        // The port is not 0, and the socket is closed.
        let _ = socket.listen(port);
    }
}

/// A line of text, cut if it is too long.
#[derive(Debug)]
struct Line {
    bytes: [u8; LINE],
    length: usize,
}

impl Default for Line {
    fn default() -> Self {
        Line { bytes: [0; LINE], length: 0 }
    }
}

impl Line {
    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let rest = self.bytes.get_mut(self.length..).unwrap_or_default();
        let count = text.len().min(rest.len());
        for (place, byte) in rest.iter_mut().zip(text.bytes()) {
            *place = byte;
        }
        self.length += count;
        Ok(())
    }
}
