//! Where a device's nodes are: in Xenstore, or with the kernel, which keeps those of NoXS devices
//! itself (docs/noxs-abi.md, part 7).
//!
//! ```text
//!   hotplug -> Planes --the kernel knows it as a NoXS device--> [`noxs`] (/dev/xen/noxs_backend)
//!                     --else----------------------------------> [`xenstore`](crate::xenstore) (xenstored)
//! ```
//!
//! A device has exactly one plane, and the kernel tells which. Both have guests at the same time;
//! neither need be there. What is done for a device is the same: the nodes have the same names and
//! mean the same.

pub mod noxs;

use std::path::Path;

use h2::DomId;
use h2::noxs_backend::NoxsError;

use self::noxs::{Noxs, NoxsNodes};
use crate::device::DeviceId;
use crate::guests::Guests;
use crate::nodes::{SCRIPT_DIR, shown};
use crate::script::is_hook;
use crate::xenstore::{Xenstore, XenstoreError};

/// Both planes.
#[derive(Debug, Default)]
pub struct Planes {
    /// xenstored.
    pub xenstore: Xenstore,
    /// The kernel.
    pub noxs: Noxs,
    guests: Guests,
}

/// An operation on a device's nodes that was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlaneError {
    /// xenstored is not there, or has refused.
    #[error(transparent)]
    Xenstore(#[from] XenstoreError),
    /// The kernel has refused.
    #[error(transparent)]
    Noxs(#[from] NoxsError),
}

type Result<T> = std::result::Result<T, PlaneError>;

/// The nodes of a device.
#[derive(Debug)]
pub enum Nodes<'a> {
    /// Each is read when it is asked for.
    Xenstore(&'a mut Xenstore, DeviceId),
    /// As they were when they were read, all at once.
    Noxs(NoxsNodes),
}

impl Planes {
    /// A device's nodes.
    ///
    /// # Errors
    /// [`PlaneError`]; so with the others.
    pub fn nodes(&mut self, device: DeviceId) -> Result<Nodes<'_>> {
        Ok(match self.noxs.read(device)? {
            Some(nodes) => Nodes::Noxs(nodes),
            None => Nodes::Xenstore(&mut self.xenstore, device),
        })
    }

    /// Writes nodes of a device, in their order or at once; a node without a value is removed.
    /// Whether the device was there.
    ///
    /// # Errors
    /// As [`nodes`](Self::nodes).
    pub fn answer(&mut self, device: DeviceId, nodes: &[(&str, Option<String>)]) -> Result<bool> {
        match self.noxs.read(device)? {
            Some(there) => Ok(self.noxs.answer(device, &there, nodes)?),
            None => Ok(self.xenstore.answer(device, nodes)?),
        }
    }

    /// Tells the guest's end of an interface its MTU.
    ///
    /// # Errors
    /// As [`nodes`](Self::nodes).
    pub fn tell_mtu(&mut self, device: DeviceId, mtu: u32) -> Result<()> {
        match self.noxs.read(device)? {
            Some(there) => Ok(self.noxs.tell_mtu(device, &there, mtu)?),
            None => Ok(self.xenstore.tell_mtu(device, mtu)?),
        }
    }

    /// What has been answered for a device.
    ///
    /// # Errors
    /// As [`nodes`](Self::nodes).
    pub fn hotplug_status(&mut self, device: DeviceId) -> Result<Option<String>> {
        self.nodes(device)?.hotplug_status()
    }

    /// What has been answered about a device's failure.
    pub fn hotplug_error(&mut self, device: DeviceId) -> String {
        let said = self.nodes(device).and_then(|mut nodes| nodes.get("hotplug-error"));
        said.ok().flatten().unwrap_or_default()
    }

    /// Whether a device is a NoXS device.
    pub fn is_noxs(&mut self, device: DeviceId) -> bool {
        matches!(self.nodes(device), Ok(Nodes::Noxs(_)))
    }

    /// Whether its toolstack is taking a device away. Of one about which nothing can be learnt now,
    /// it is not said.
    pub fn is_leaving(&mut self, device: DeviceId) -> bool {
        self.nodes(device).and_then(|mut nodes| nodes.is_leaving()).unwrap_or(false)
    }

    /// A guest for messages: `domain 5 (web0)`.
    pub fn guest(&mut self, domain: DomId) -> String {
        match self.name(domain) {
            Some(name) => format!("domain {domain} ({})", shown(&name).trim_matches('"')),
            None => format!("domain {domain}"),
        }
    }

    /// A guest's name: Xenstore has that of most, and the library remembers those of its own.
    pub fn name(&mut self, domain: DomId) -> Option<String> {
        let name = self.xenstore.read(&format!("/local/domain/{domain}/name")).ok().flatten();
        name.or_else(|| self.guests.name(domain))
    }
}

impl Nodes<'_> {
    /// Whether the device is there.
    ///
    /// # Errors
    /// [`PlaneError`]; so with the others.
    pub fn is_there(&mut self) -> Result<bool> {
        match self {
            Self::Xenstore(store, device) => Ok(store.node(*device, "frontend-id")?.is_some()),
            Self::Noxs(_) => Ok(true),
        }
    }

    /// A node's value.
    ///
    /// # Errors
    /// As [`is_there`](Self::is_there).
    pub fn get(&mut self, node: &str) -> Result<Option<String>> {
        match self {
            Self::Xenstore(store, device) => Ok(store.node(*device, node)?),
            Self::Noxs(nodes) => Ok(nodes.get(node).map(str::to_owned)),
        }
    }

    /// What has been answered for the device; nothing is what libxl writes beforehand.
    ///
    /// # Errors
    /// As [`is_there`](Self::is_there).
    pub fn hotplug_status(&mut self) -> Result<Option<String>> {
        Ok(self.get("hotplug-status")?.filter(|status| !status.is_empty()))
    }

    /// What an interface's script is told of its nodes as variables, since it finds none of them in
    /// Xenstore.
    #[must_use]
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let Self::Noxs(nodes) = self else { return Vec::new() };
        let told = ["bridge", "mac", "mtu", "rate"].into_iter();
        told.filter_map(|node| Some((node, nodes.get(node)?.to_owned()))).collect()
    }

    /// Whether another program serves this device: libxl runs a script for each device of its
    /// guests, and only where that script is our hook does it leave the work to us. What chaos
    /// attaches to a guest of libxl's says so. libxl knows nothing of NoXS.
    ///
    /// # Errors
    /// As [`is_there`](Self::is_there).
    pub fn is_others(&mut self) -> Result<bool> {
        let Self::Xenstore(store, device) = self else { return Ok(false) };
        if !store.is_libxls(device.domain)?
            || store.node(*device, "toolstack")?.as_deref() == Some("chaos")
        {
            return Ok(false);
        }
        let script = store.node(*device, "script")?.unwrap_or_default();
        Ok(!is_hook(&Path::new(SCRIPT_DIR).join(script)))
    }

    /// Whether its toolstack is taking the device away.
    fn is_leaving(&mut self) -> Result<bool> {
        if !self.is_there()? || self.get("online")?.as_deref() == Some("0") {
            return Ok(true);
        }
        match self {
            // XenbusStateClosing and XenbusStateClosed of xen/include/public/io/xenbus.h.
            Self::Xenstore(store, device) => {
                Ok(matches!(store.node(*device, "state")?.as_deref(), Some("5" | "6")))
            }
            Self::Noxs(nodes) => Ok(nodes.is_closing()),
        }
    }
}
