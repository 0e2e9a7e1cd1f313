//! The kernel's messages about xen-backend devices.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::socket::{getsockopt, setsockopt, sockopt};
use udev::{MonitorBuilder, MonitorSocket};

use crate::device::{Class, DeviceId};
use crate::hotplug::Uevent;

/// Room for the messages of some ten thousand devices: a message takes about a kibibyte.
const BUFFER: usize = 16 << 20;

/// So many messages are taken in one round of the loop, so that others have their turn.
const AT_ONCE: usize = 256;

/// A socket on which the kernel tells of devices. udevd is not asked: its rules and workers would
/// come between.
pub(crate) struct Uevents {
    socket: MonitorSocket,
}

/// What has come.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) events: Vec<Uevent>,
    /// Some did not fit and are lost.
    pub(crate) lost: bool,
    /// There is nothing left.
    pub(crate) all: bool,
}

impl Uevents {
    pub(crate) fn listen() -> io::Result<Self> {
        let socket = MonitorBuilder::new_kernel()?.match_subsystem("xen-backend")?.listen()?;
        // Beyond the host's limit this takes CAP_NET_ADMIN; with less room, more is lost and looked
        // for.
        if let Err(error) = setsockopt(&socket, sockopt::RcvBufForce, &BUFFER) {
            log::warn!("no room for many messages of the kernel: {error}");
        }
        Ok(Self { socket })
    }

    /// Takes what has come.
    pub(crate) fn take(&self) -> Taken {
        // The kernel reports a loss once, to whoever comes first: here, or in libudev, which keeps
        // errno for us.
        let error = getsockopt(&self.socket, sockopt::SocketError);
        let lost = matches!(error, Ok(errno) if errno == Errno::ENOBUFS as i32);
        let mut taken = Taken { lost, ..Taken::default() };
        let mut messages = self.socket.iter();
        for _ in 0..AT_ONCE {
            Errno::clear();
            let Some(message) = messages.next() else {
                taken.lost |= Errno::last() == Errno::ENOBUFS;
                taken.all = true;
                break;
            };
            taken.events.extend(event(&message));
        }
        taken
    }
}

impl AsFd for Uevents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl std::fmt::Debug for Uevents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Uevents").finish_non_exhaustive()
    }
}

fn event(message: &udev::Event) -> Option<Uevent> {
    let path = message.property_value("XENBUS_PATH").and_then(|path| path.to_str());
    let device = match path {
        Some(path) => DeviceId::from_path(path),
        // What is being removed may have no path any more.
        None => DeviceId::from_sysname(message.sysname().to_str()?),
    }?;
    match message.action()?.to_str()? {
        "add" => Some(Uevent::Add(device)),
        "remove" => Some(Uevent::Remove(device)),
        "online" if device.class == Class::Vif => Some(Uevent::Online(device)),
        "offline" if device.class == Class::Vif => Some(Uevent::Offline(device)),
        _ => None,
    }
}
