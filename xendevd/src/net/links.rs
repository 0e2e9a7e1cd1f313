//! Interfaces by name and index: looked up and changed.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{self, AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, sockopt};
use nix::sys::time::TimeVal;

use super::message::{RTM_GETLINK, RTM_SETLINK, Reply, Request, parse_replies};

/// How long the kernel may take for one change: it waits for others that change interfaces, and
/// these are quick.
const LIMIT: Duration = Duration::from_secs(5);

/// Larger than what the kernel says about one interface.
const BUFFER: usize = 64 << 10;

/// The kernel's interfaces.
#[derive(Debug)]
pub struct Links {
    socket: OwnedFd,
    sequence: u32,
}

/// An interface as it was when it was looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its index.
    pub index: u32,
    /// Its MTU.
    pub mtu: u32,
    /// The index of its bridge.
    pub master: Option<u32>,
    /// Whether it is a bridge itself.
    pub is_bridge: bool,
    /// Whether it is up.
    pub is_up: bool,
}

/// A look-up or a change that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {interface}")]
pub struct NetError {
    operation: &'static str,
    interface: String,
    #[source]
    source: io::Error,
}

impl NetError {
    /// Whether the interface is not there, or not there any more.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        self.source.raw_os_error() == Some(Errno::ENODEV as i32)
    }
}

impl Links {
    /// Opens a socket to the kernel.
    ///
    /// # Errors
    /// [`io::Error`] as the kernel says.
    pub fn open() -> io::Result<Self> {
        let socket = socket::socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkRoute,
        )?;
        let limit = i64::try_from(LIMIT.as_secs()).unwrap_or(i64::MAX);
        socket::setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(limit, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// The interface of this name, if there is one.
    ///
    /// # Errors
    /// [`NetError`].
    pub fn find(&mut self, name: &str) -> Result<Option<Link>, NetError> {
        match self.ask(Request::new(RTM_GETLINK, 0).name(name)) {
            Ok(link) => Ok(link),
            Err(source) if source.raw_os_error() == Some(Errno::ENODEV as i32) => Ok(None),
            Err(source) => {
                Err(NetError { operation: "look up", interface: name.to_owned(), source })
            }
        }
    }

    /// Puts an interface under a bridge, or takes it out of its bridge.
    ///
    /// # Errors
    /// [`NetError`].
    pub fn set_master(
        &mut self,
        name: &str,
        index: u32,
        bridge: Option<u32>,
    ) -> Result<(), NetError> {
        let operation = if bridge.is_some() {
            "add to its bridge the interface"
        } else {
            "take out of its bridge"
        };
        self.change(operation, name, Request::new(RTM_SETLINK, index).master(bridge.unwrap_or(0)))
    }

    /// Sets an interface's MTU.
    ///
    /// # Errors
    /// [`NetError`]; `EINVAL` if the driver does not know that MTU.
    pub fn set_mtu(&mut self, name: &str, index: u32, mtu: u32) -> Result<(), NetError> {
        self.change("set the MTU of", name, Request::new(RTM_SETLINK, index).mtu(mtu))
    }

    /// Switches an interface on or off.
    ///
    /// # Errors
    /// [`NetError`].
    pub fn set_up(&mut self, name: &str, index: u32, up: bool) -> Result<(), NetError> {
        let operation = if up { "switch on" } else { "switch off" };
        self.change(operation, name, Request::new(RTM_SETLINK, index).up(up))
    }

    /// Gives an interface that is down another name.
    ///
    /// # Errors
    /// [`NetError`]; `EEXIST` if the name is taken.
    pub fn rename(&mut self, name: &str, index: u32, new: &str) -> Result<(), NetError> {
        self.change("rename", name, Request::new(RTM_SETLINK, index).name(new))
    }

    fn change(
        &mut self,
        operation: &'static str,
        name: &str,
        request: Request,
    ) -> Result<(), NetError> {
        let failed = |source| NetError { operation, interface: name.to_owned(), source };
        self.ask(request).map(drop).map_err(failed)
    }

    /// Sends a request and waits for the end of its answer.
    fn ask(&mut self, request: Request) -> io::Result<Option<Link>> {
        self.sequence = self.sequence.wrapping_add(1);
        let number = self.sequence;
        socket::send(self.socket.as_raw_fd(), &request.encode(number), MsgFlags::empty())?;
        let end = Instant::now() + LIMIT;
        let mut buffer = vec![0; BUFFER];
        // Answers to earlier requests that came too late may lie before ours.
        while Instant::now() < end {
            let length = match socket::recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty())
            {
                Ok(length) => length,
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let replies = parse_replies(buffer.get(..length).unwrap_or_default());
            for reply in
                replies.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?
            {
                match reply {
                    Reply::Done { sequence, errno } if sequence == number => match errno {
                        0 => return Ok(None),
                        errno => return Err(io::Error::from_raw_os_error(errno)),
                    },
                    Reply::Link { sequence, index, mtu, master, kind, up }
                        if sequence == number =>
                    {
                        return Ok(Some(Link {
                            index,
                            mtu,
                            master,
                            is_bridge: kind == "bridge",
                            is_up: up,
                        }));
                    }
                    _ => {}
                }
            }
        }
        Err(io::Error::from(io::ErrorKind::TimedOut))
    }

    /// Makes an interface, for tests.
    #[cfg(test)]
    pub(crate) fn create(&mut self, name: &str, kind: &str) -> io::Result<()> {
        self.ask(Request::creation(name, kind)).map(drop)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use crate::testing::private_network;

    #[test]
    #[ignore = "needs root, for a network of its own: the lab runs it"]
    fn interfaces_are_looked_up_and_changed() {
        private_network(|links| {
            assert_eq!(links.find("nothing0").unwrap(), None);
            links.create("br0", "bridge").unwrap();
            links.create("vif1.0", "veth").unwrap();
            let bridge = links.find("br0").unwrap().unwrap();
            assert!(bridge.is_bridge && !bridge.is_up);
            let vif = links.find("vif1.0").unwrap().unwrap();
            assert!(!vif.is_bridge);
            links.set_mtu("vif1.0", vif.index, 1400).unwrap();
            links.set_master("vif1.0", vif.index, Some(bridge.index)).unwrap();
            links.rename("vif1.0", vif.index, "web0").unwrap();
            links.set_up("web0", vif.index, true).unwrap();
            let now = links.find("web0").unwrap().unwrap();
            assert_eq!((now.mtu, now.master, now.is_up), (1400, Some(bridge.index), true));
            links.set_master("web0", vif.index, None).unwrap();
            assert_eq!(links.find("web0").unwrap().unwrap().master, None);
            let error = links.set_master("gone0", 4711, Some(bridge.index)).unwrap_err();
            assert!(error.is_absent());
            assert_eq!(error.to_string(), "cannot add to its bridge the interface gone0");
        });
    }
}
