//! Network interfaces and disks of guests. What guests without Xenstore have is in `crate::plane`;
//! here is what a device is, and its life on the Xenstore plane.
//!
//! There a device is three directories, whose nodes and permissions are those that libxl 4.17
//! writes for the same device:
//!
//! ```text
//! /libxl/GUEST/device/vif/0                  the toolstacks' record: nobody else writes it, so it alone is believed
//! /local/domain/GUEST/device/vif/0           the frontend's end, which the guest writes
//! /local/domain/BACKEND/backend/vif/GUEST/0  the backend's end: driver, hotplug agent and toolstack write it
//! ```
//!
//! It lives from `state` to `state` of its backend's end (XenbusState of
//! xen/include/public/io/xenbus.h):
//!
//! ```text
//!   we write all nodes, then 1 --> 2 (driver), hotplug-status "connected" (agent)    ready: the guest may run
//!                                  | the guest connects
//!                                  v
//!                                  4
//!                                  | we write online 0 and state 5; by force we take the frontend's end away, too
//!                                  v
//!                                  6 (driver has flushed and let go) --> we remove the directories, the record last
//! ```
//!
//! - [`DeviceConfig`] says what a device is to be, [`DeviceId`] names one of a guest's,
//!   [`DeviceInfo`] tells how one is.
//! - [`DeviceError`]: what can go wrong with one.
//! - `address`: the directories; `nodes`: what is written into them; `check`: what is looked at
//!   before
//! - `ready`: the wait for backends; `remove`: the way out; `attach`: devices of guests that exist

mod address;
mod attach;
mod check;
mod error;
mod info;
mod nodes;
mod ready;
mod remove;
mod state;

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use self::address::Address;
pub use self::attach::Detach;
pub(crate) use self::check::{check, check_all};
pub use self::error::DeviceError;
pub use self::info::DeviceInfo;
pub(crate) use self::nodes::write;
pub(crate) use self::ready::{Missing, said, wait as wait_until_ready};
pub(crate) use self::remove::remove_all;
pub use self::state::DeviceState;
use crate::config::{GuestConfig, Mac, Vbd, Vdev, Vif};
use crate::id::DomId;

/// A kind of device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeviceClass {
    /// A network interface.
    Vif,
    /// A disk.
    Vbd,
}

impl DeviceClass {
    /// Both of them.
    pub const ALL: &'static [Self] = &[Self::Vif, Self::Vbd];

    /// Its name in Xenstore: "vif" or "vbd".
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Vif => "vif",
            Self::Vbd => "vbd",
        }
    }

    /// The kernel module that serves it on Linux.
    const fn driver(self) -> &'static str {
        match self {
            Self::Vif => "xen-netback",
            Self::Vbd => "xen-blkback",
        }
    }
}

impl fmt::Display for DeviceClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for DeviceClass {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// One of a guest's devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId {
    /// What it is.
    pub class: DeviceClass,
    /// Its number: of a network interface counted from 0, of a disk the one that its [`Vdev`]
    /// stands for.
    pub number: u32,
}

impl DeviceId {
    /// A network interface.
    #[must_use]
    pub const fn vif(number: u32) -> Self {
        Self { class: DeviceClass::Vif, number }
    }

    /// A disk.
    #[must_use]
    pub const fn vbd(vdev: &Vdev) -> Self {
        Self { class: DeviceClass::Vbd, number: vdev.number() }
    }

    /// The device of this class that a user calls so: a number, or a disk's name in the guest.
    /// `None` if it can be neither.
    #[must_use]
    pub fn parse(class: DeviceClass, text: &str) -> Option<Self> {
        let number = match class {
            DeviceClass::Vbd => Vdev::from_str(text).ok().map(|vdev| vdev.number()),
            DeviceClass::Vif => None,
        };
        Some(Self { class, number: number.or_else(|| text.parse().ok())? })
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Vdev::from_number(self.number).filter(|_| self.class == DeviceClass::Vbd) {
            Some(vdev) => write!(f, "{} {vdev}", self.class),
            None => write!(f, "{} {}", self.class, self.number),
        }
    }
}

/// What a device is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceConfig {
    /// A network interface.
    Vif(Vif),
    /// A disk.
    Vbd(Vbd),
}

impl DeviceConfig {
    /// The domain that has the other end.
    #[must_use]
    pub fn backend(&self) -> DomId {
        match self {
            Self::Vif(vif) => vif.backend,
            Self::Vbd(vbd) => vbd.backend,
        }
    }

    /// With everything filled in that is generated.
    fn completed(mut self) -> Self {
        if let Self::Vif(vif) = &mut self {
            vif.mac.get_or_insert_with(Mac::random);
        }
        self
    }
}

/// A device that is being made.
#[derive(Debug, Clone)]
pub(crate) struct NewDevice {
    pub(crate) id: DeviceId,
    pub(crate) address: Address,
    pub(crate) config: DeviceConfig,
}

impl NewDevice {
    pub(crate) fn new(guest: DomId, id: DeviceId, config: DeviceConfig) -> Self {
        Self { id, address: Address::new(guest, config.backend(), id), config }
    }

    /// The devices that a configuration gives to this guest.
    pub(crate) fn all(guest: DomId, config: &GuestConfig) -> Vec<Self> {
        numbered(config).into_iter().map(|(id, device)| Self::new(guest, id, device)).collect()
    }
}

/// The devices of a configuration with the numbers that they get.
fn numbered(config: &GuestConfig) -> Vec<(DeviceId, DeviceConfig)> {
    let vifs = (0..)
        .zip(&config.vifs)
        .map(|(number, vif)| (DeviceId::vif(number), DeviceConfig::Vif(vif.clone())));
    let vbds =
        config.vbds.iter().map(|vbd| (DeviceId::vbd(&vbd.vdev), DeviceConfig::Vbd(vbd.clone())));
    vifs.chain(vbds).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_of_devices() {
        assert_eq!(DeviceId::vif(3).to_string(), "vif 3");
        let disk = DeviceId::parse(DeviceClass::Vbd, "xvdb1").unwrap();
        assert_eq!((disk.number, disk.to_string().as_str()), (202 << 8 | 1 << 4 | 1, "vbd xvdb1"));
        assert_eq!(DeviceId::parse(DeviceClass::Vbd, "51729"), Some(disk));
        assert_eq!(DeviceId { class: DeviceClass::Vbd, number: 7 }.to_string(), "vbd 7");
        for (class, wrong) in
            [(DeviceClass::Vif, "xvda"), (DeviceClass::Vif, "-1"), (DeviceClass::Vbd, "sdz")]
        {
            assert_eq!(DeviceId::parse(class, wrong), None, "{wrong}");
        }
    }
}
