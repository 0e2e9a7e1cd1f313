//! The NoXS plane: devices in the device page, which is the hypervisor's, and the kernel's part,
//! the ioctls of /dev/xen/noxs_backend.
//!
//! Keys cross the seam in their encoding, as the kernel takes and gives them ([`noxs::keys`]).

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use noxs::device::Class;

use crate::device::DeviceState;
use crate::id::{DomId, GrantRef, Port};

/// Which device (`struct noxs_device`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NoxsName {
    /// The guest.
    pub domain: DomId,
    /// What it is.
    pub class: Class,
    /// Which of its class.
    pub id: u32,
}

impl NoxsName {
    /// A name.
    #[must_use]
    pub const fn new(domain: DomId, class: Class, id: u32) -> Self {
        Self { domain, class, id }
    }
}

impl fmt::Display for NoxsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.class, self.domain, self.id)
    }
}

/// A device in a device page: how the guest reaches its control page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoxsDevice {
    /// What it is.
    pub class: Class,
    /// Which of its class.
    pub id: u32,
    /// The domain at its other end.
    pub backend: DomId,
    /// The control page, in the backend's grant table.
    pub grant: GrantRef,
    /// The backend's port for the guest.
    pub port: Port,
}

/// A device where it lies in the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoxsSlot {
    /// The slot's number.
    pub slot: u32,
    /// The slot's count of changes.
    pub sequence: u32,
    /// The device.
    pub device: NoxsDevice,
}

/// A guest's device page at a moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NoxsPage {
    /// The page's count of changes.
    pub generation: u32,
    /// Its devices, in the order of their slots.
    pub slots: Vec<NoxsSlot>,
}

/// Whose keys are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoxsWhich {
    /// The backend's, in the control page.
    Backend,
    /// The frontend's, as last taken from the control page.
    Frontend,
    /// Those of the host alone.
    Private,
}

/// What a device is at a moment (`struct noxs_read`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoxsRead {
    /// The keys, encoded.
    pub keys: Vec<u8>,
    /// The backend's state.
    pub backend_state: DeviceState,
    /// The frontend's state, as the backend last acted on it.
    pub frontend_state: DeviceState,
    /// The backend's count of changes.
    pub backend_generation: u32,
    /// The frontend's count of changes, as last read.
    pub frontend_generation: u32,
    /// The control page's grant reference.
    pub grant: GrantRef,
    /// The port for the guest to bind to.
    pub port: Port,
}

/// A device in a list (`struct noxs_info`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoxsListed {
    /// Its name.
    pub name: NoxsName,
    /// The backend's state.
    pub backend_state: DeviceState,
    /// The frontend's state, as the backend last acted on it.
    pub frontend_state: DeviceState,
    /// The control page's grant reference.
    pub grant: GrantRef,
    /// The port for the guest to bind to.
    pub port: Port,
}

/// Whose changes are told (`struct noxs_watch`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoxsWatch {
    /// One device's; it must be there.
    Device(NoxsName),
    /// Those of all devices of a guest, present and to come.
    Domain(DomId),
    /// Those of all devices.
    All,
    /// The ends of domains, whether they have devices or not.
    Ends,
}

/// What has changed of a device (`struct noxs_event`): changes that nobody has read yet are one,
/// with the newest states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoxsChange {
    /// Its name.
    pub name: NoxsName,
    /// The backend's state.
    pub backend_state: DeviceState,
    /// The frontend's state, as the backend last acted on it.
    pub frontend_state: DeviceState,
    /// The device is gone.
    pub gone: bool,
    /// The frontend's state or keys changed.
    pub frontend: bool,
    /// The backend's state or keys changed.
    pub backend: bool,
}

/// What an open node has to tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NoxsNews {
    /// Devices that changed.
    pub devices: Vec<NoxsChange>,
    /// Some domain has shut down or is gone.
    pub domain_ended: bool,
}

/// An open /dev/xen/noxs_backend; each has its own watches. The descriptor is readable while there
/// are changes to be told.
pub trait NoxsNode: fmt::Debug + AsFd {
    /// Makes a device (`NOXS_IOC_CREATE`).
    fn create(&self, name: NoxsName, keys: &[u8], private: &[u8]) -> io::Result<(GrantRef, Port)>;
    /// Removes a device, and waits so long for it (`NOXS_IOC_DESTROY`): for the frontend to close
    /// unless by force, then for the driver.
    fn destroy(&self, name: NoxsName, timeout: Duration, force: bool) -> io::Result<()>;
    /// Sets keys of the backend (`NOXS_IOC_SET_KEYS`).
    fn set_keys(&self, name: NoxsName, keys: &[u8], private: bool) -> io::Result<()>;
    /// Removes keys of the backend, whose values must be empty (`NOXS_IOC_SET_KEYS`).
    fn remove_keys(&self, name: NoxsName, keys: &[u8], private: bool) -> io::Result<()>;
    /// Reads keys and states (`NOXS_IOC_READ`).
    fn read(&self, name: NoxsName, which: NoxsWhich) -> io::Result<NoxsRead>;
    /// The devices of a guest, or all (`NOXS_IOC_LIST`).
    fn list(&self, domain: Option<DomId>) -> io::Result<Vec<NoxsListed>>;
    /// From now on changes of these are told, too (`NOXS_IOC_WATCH`).
    fn watch(&self, watch: NoxsWatch) -> io::Result<()>;
    /// The changes that nobody has read yet; none is no failure (`read`).
    fn news(&self) -> io::Result<NoxsNews>;
    /// Opens the node once more: without watches.
    fn another(&self) -> io::Result<Box<dyn NoxsNode>>;
    /// Waits until there are changes: `false` if there were none within `timeout` (`poll`).
    fn wait(&self, timeout: Duration) -> io::Result<bool> {
        // Rounded up: the rest of a millisecond must not become a busy loop.
        let timeout =
            PollTimeout::try_from(timeout + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(self.as_fd(), PollFlags::POLLIN)], timeout) {
            // A signal that the program handles: whoever waits looks at the clock.
            Err(Errno::EINTR) => Ok(true),
            Err(errno) => Err(errno.into()),
            Ok(ready) => Ok(ready > 0),
        }
    }
}
