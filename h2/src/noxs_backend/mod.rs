//! The control domain's end of NoXS devices: what the kernel offers under /dev/xen/noxs_backend
//! (docs/noxs-abi.md, part 7).
//!
//! ```text
//!   create --> 1 --(driver)--> 2 InitWait --(frontend)--> 4 Connected --destroy--> 5 Closing --> 6 Closed --> gone
//!                  keys and states change meanwhile: watch, changes
//! ```
//!
//! - [`Backend`] is the open node; each has its own watches.
//! - [`Name`] says which device; [`Keys`] are the key/value strings of one end.
//! - A device whose keys are read comes as [`Reading`], a listed one as [`Listed`], a change of one
//!   as [`Change`].
//!
//! A device that does not exist is `None`, or no failure where it is to go, as with Xenstore nodes.
//! Other programs than toolstacks have a use for it, too: the hotplug agent answers through the
//! private keys.

mod error;
mod keys;

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

pub use noxs::device::Class;

pub use self::error::NoxsError;
pub use self::keys::Keys;
use crate::device::DeviceState;
use crate::error::OpenError;
use crate::id::{DomId, GrantRef, Port};
use crate::raw::noxs_node::Node;
pub use crate::seam::{
    NoxsChange as Change, NoxsListed as Listed, NoxsName as Name, NoxsNews as News,
    NoxsWhich as Which,
};
use crate::seam::{NoxsNode, NoxsWatch};

/// The kernel's node.
pub const NODE: &str = "/dev/xen/noxs_backend";

/// A device's keys and states at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reading {
    /// The keys that were asked for.
    pub keys: Keys,
    /// The backend's state.
    pub backend_state: DeviceState,
    /// The frontend's state, as the backend last acted on it.
    pub frontend_state: DeviceState,
    /// The backend's count of changes.
    pub backend_generation: u32,
    /// The frontend's count of changes, as last read.
    pub frontend_generation: u32,
    /// The control page's grant reference, in the backend's table.
    pub grant: GrantRef,
    /// The backend's port for the guest to bind to.
    pub port: Port,
}

/// An open /dev/xen/noxs_backend. The descriptor is readable (poll(2)) while there are changes to
/// be told.
#[derive(Debug)]
pub struct Backend {
    node: Box<dyn NoxsNode>,
    /// Of this one and all that were opened from it.
    operations: Rc<Cell<u64>>,
}

impl AsFd for Backend {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.node.as_fd()
    }
}

impl Backend {
    /// Opens the kernel's node; `None` if this kernel has none.
    ///
    /// # Errors
    /// [`OpenError::Permission`] if the caller is not root, [`OpenError::NoxsVersion`] if the
    /// kernel speaks another version of the ioctls or of the control pages
    /// (`NOXS_IOC_VERSION`), else [`OpenError::Noxs`].
    pub fn open() -> Result<Option<Self>, OpenError> {
        Self::open_at(Path::new(NODE))
    }

    fn open_at(path: &Path) -> Result<Option<Self>, OpenError> {
        let failed = |source| NoxsError {
            operation: "open",
            device: None,
            detail: Some(path.display().to_string()),
            source,
        };
        let node = match Node::open(path) {
            Ok(Some(node)) => node,
            Ok(None) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(OpenError::Permission { path: path.to_owned() });
            }
            Err(error) => return Err(failed(error).into()),
        };
        let (ioctls, abi) = node.versions().map_err(failed)?;
        if (ioctls, abi) != (noxs::ioctl::IOCTL_VERSION, noxs::ABI) {
            return Err(OpenError::NoxsVersion { ioctls, abi });
        }
        Ok(Some(Self::over(Box::new(node))))
    }

    /// Puts something else in the place of the kernel: see [`crate::seam`].
    #[must_use]
    pub fn over(node: Box<dyn NoxsNode>) -> Self {
        Self { node, operations: Rc::default() }
    }

    /// Calls of the kernel so far, those of [`another`](Self::another) with them; waits are none.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.operations.get()
    }

    fn count(&self) -> &dyn NoxsNode {
        self.operations.set(self.operations.get() + 1);
        self.node.as_ref()
    }

    fn run<T>(
        &self,
        operation: &'static str,
        name: Name,
        call: impl FnOnce(&dyn NoxsNode) -> io::Result<T>,
    ) -> Result<T, NoxsError> {
        call(self.count()).map_err(|source| NoxsError {
            operation,
            device: Some(name),
            detail: None,
            source,
        })
    }

    /// Opens it once more: one without watches, which are its own.
    ///
    /// # Errors
    /// [`NoxsError`] if the kernel refuses.
    pub fn another(&self) -> Result<Self, NoxsError> {
        let failed = |source| NoxsError {
            operation: "open the node of",
            device: None,
            detail: None,
            source,
        };
        let node = self.count().another().map_err(failed)?;
        Ok(Self { node, operations: Rc::clone(&self.operations) })
    }

    /// Makes a device: a control page with `keys`, granted to the guest, and a port for it
    /// (`NOXS_IOC_CREATE`). `private` are keys of the host alone. The guest does not know of
    /// the device before it is in its device page.
    ///
    /// # Errors
    /// [`NoxsError`]: `EEXIST` if there is such a device, `EINVAL` for keys that cannot be,
    /// `ENOSPC` for too many, `ENODEV` without a driver for the class.
    pub fn create(
        &self,
        name: Name,
        keys: &Keys,
        private: &Keys,
    ) -> Result<(GrantRef, Port), NoxsError> {
        self.run("make", name, |node| node.create(name, &keys.encode()?, &private.encode()?))
    }

    /// Removes a device, and says whether it was there. The frontend is asked to close and may take
    /// `timeout`, of which the kernel heeds 60 s; by force it is not asked, and the timeout is
    /// for the driver (`NOXS_IOC_DESTROY`).
    ///
    /// # Errors
    /// [`NoxsError`]: `ETIMEDOUT` if the frontend has not closed: the device stays, and stays
    /// asked, Closing and with `online` 0; nothing takes that back. `EINTR` if a signal came
    /// meanwhile.
    pub fn destroy(&self, name: Name, timeout: Duration, force: bool) -> Result<bool, NoxsError> {
        Ok(there(self.run("remove", name, |node| node.destroy(name, timeout, force)))?.is_some())
    }

    /// Sets keys of the backend: in its control page, or if `private` those of the host alone
    /// (`NOXS_IOC_SET_KEYS`).
    ///
    /// # Errors
    /// [`NoxsError`]: `ENOENT` if there is no such device, `EINVAL` for a key or value that cannot
    /// be, `ENOSPC` if the region is full: then nothing is changed.
    pub fn set_keys<K: AsRef<str>, V: AsRef<str>>(
        &self,
        name: Name,
        private: bool,
        keys: &[(K, V)],
    ) -> Result<(), NoxsError> {
        let keys: Keys = keys.iter().map(|(key, value)| (key.as_ref(), value.as_ref())).collect();
        self.run("set keys of", name, |node| node.set_keys(name, &keys.encode()?, private))
    }

    /// Removes keys of the backend; those that are not there are no failure (`NOXS_IOC_SET_KEYS`).
    ///
    /// # Errors
    /// [`NoxsError`]: `ENOENT` if there is no such device.
    pub fn remove_keys(&self, name: Name, private: bool, keys: &[&str]) -> Result<(), NoxsError> {
        let keys: Keys = keys.iter().map(|key| (*key, "")).collect();
        self.run("remove keys of", name, |node| node.remove_keys(name, &keys.encode()?, private))
    }

    /// Reads keys and states; `None` if there is no such device (`NOXS_IOC_READ`).
    ///
    /// # Errors
    /// [`NoxsError`] if the kernel refuses.
    pub fn read(&self, name: Name, which: Which) -> Result<Option<Reading>, NoxsError> {
        let read = self.run("read", name, |node| {
            let read = node.read(name, which)?;
            let keys = Keys::decode(&read.keys)?;
            Ok((read, keys))
        });
        Ok(there(read)?.map(|(read, keys)| Reading {
            keys,
            backend_state: read.backend_state,
            frontend_state: read.frontend_state,
            backend_generation: read.backend_generation,
            frontend_generation: read.frontend_generation,
            grant: read.grant,
            port: read.port,
        }))
    }

    /// The devices of a guest, or all that there are (`NOXS_IOC_LIST`).
    ///
    /// # Errors
    /// [`NoxsError`] if the kernel refuses.
    pub fn list(&self, domain: Option<DomId>) -> Result<Vec<Listed>, NoxsError> {
        self.count().list(domain).map_err(|source| NoxsError {
            operation: "list",
            device: None,
            detail: None,
            source,
        })
    }

    /// From now on tells changes of all devices (`NOXS_IOC_WATCH`).
    ///
    /// # Errors
    /// [`NoxsError`] if the kernel refuses.
    pub fn watch_all(&self) -> Result<(), NoxsError> {
        self.watch(NoxsWatch::All)
    }

    /// From now on tells changes of a guest's devices, present ones and those to come.
    ///
    /// # Errors
    /// As [`watch_all`](Self::watch_all).
    pub fn watch_domain(&self, domain: DomId) -> Result<(), NoxsError> {
        self.watch(NoxsWatch::Domain(domain))
    }

    /// From now on tells changes of one device.
    ///
    /// # Errors
    /// As [`watch_all`](Self::watch_all); `ENOENT` if there is no such device.
    pub fn watch_device(&self, name: Name) -> Result<(), NoxsError> {
        self.watch(NoxsWatch::Device(name))
    }

    fn watch(&self, watch: NoxsWatch) -> Result<(), NoxsError> {
        let device = if let NoxsWatch::Device(name) = watch { Some(name) } else { None };
        self.count().watch(watch).map_err(|source| NoxsError {
            operation: "watch",
            device,
            detail: None,
            source,
        })
    }

    /// The changes of watched devices that nobody has read yet: one for each device. Never waits.
    ///
    /// # Errors
    /// [`NoxsError`] if the kernel refuses.
    pub fn events(&self) -> Result<Vec<Change>, NoxsError> {
        Ok(self.news()?.devices)
    }

    /// As [`events`](Self::events), and whether a domain has ended, after
    /// [`watch_ends`](Self::watch_ends).
    ///
    /// # Errors
    /// [`NoxsError`] if the kernel refuses.
    pub fn news(&self) -> Result<News, NoxsError> {
        let failed =
            |source| NoxsError { operation: "read changes of", device: None, detail: None, source };
        self.count().news().map_err(failed)
    }

    /// From now on tells that a domain has shut down or is gone, any domain, whatever plane it has.
    /// `false` if hypervisor or kernel do not tell it.
    ///
    /// # Errors
    /// As [`watch_all`](Self::watch_all).
    pub fn watch_ends(&self) -> Result<bool, NoxsError> {
        match self.watch(NoxsWatch::Ends) {
            // A kernel that does not know the flag says EINVAL.
            Err(error) if error.is(libc::EOPNOTSUPP) || error.is(libc::EINVAL) => Ok(false),
            result => result.map(|()| true),
        }
    }

    /// Waits until there are changes, or a signal comes; `false` if neither did within `timeout`.
    ///
    /// # Errors
    /// [`NoxsError`] if poll(2) fails.
    pub fn wait(&self, timeout: Duration) -> Result<bool, NoxsError> {
        let failed =
            |source| NoxsError { operation: "wait for", device: None, detail: None, source };
        self.node.wait(timeout).map_err(failed)
    }
}

/// `None` for a device that is not there.
fn there<T>(result: Result<T, NoxsError>) -> Result<Option<T>, NoxsError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn kernels_without_noxs() {
        assert!(Backend::open_at(Path::new("/dev/xen/no-such-node")).unwrap().is_none());
        // What is no such node is no other kernel's, either.
        let error = Backend::open_at(Path::new("/dev/null")).unwrap_err();
        assert!(matches!(&error, OpenError::Noxs(error) if error.is(libc::ENOTTY)), "{error}");
    }
}
