//! The kernel's own announcements of devices, as udevd and xendevd hear them.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Instant;

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};

/// The group that the kernel itself sends to.
const KERNEL: u32 = 1;

/// A listener.
#[derive(Debug)]
pub struct Uevents(OwnedFd);

impl Uevents {
    /// Hears what is announced from now on.
    #[track_caller]
    pub fn listen() -> Self {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Datagram,
            flags,
            SockProtocol::NetlinkKObjectUEvent,
        )
        .unwrap();
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, KERNEL)).unwrap();
        Self(socket)
    }

    /// When the first of those that are waiting was seen, of an action on a device whose path ends
    /// so.
    pub fn seen(&self, action: &str, device: &str) -> Option<Instant> {
        let mut bytes = [0; 8192];
        while let Ok(length) = recv(self.0.as_raw_fd(), &mut bytes, MsgFlags::empty()) {
            let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
            let head = text.split('\0').next().unwrap_or_default();
            if head
                .strip_prefix(action)
                .is_some_and(|rest| rest.starts_with('@') && rest.ends_with(device))
            {
                return Some(Instant::now());
            }
        }
        None
    }
}
