//! A guest's network interfaces and disks, as configured.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::Serialize;

use super::choices::{Access, DiskFormat, DiskType};
use super::error::ValueError;
use super::{Mac, Rate, Vdev};
use crate::id::DomId;

/// A network interface of a guest. Its device id is its place in
/// [`GuestConfig::vifs`](super::GuestConfig::vifs), counted from 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Vif {
    /// The guest's address, for information: nothing is configured with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<Ipv4Addr>,
    /// The guest's MAC address. Without one,
    /// [`GuestConfig::instances`](super::GuestConfig::instances) generates one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// The bridge that the interface joins. Without one it joins none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge: Option<Interface>,
    /// A hotplug script to run instead of what xendevd does itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub script: Option<PathBuf>,
    /// How much the guest may send.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// The domain that has the other end.
    #[serde(skip_serializing_if = "is_dom0")]
    pub backend: DomId,
}

impl Default for Vif {
    fn default() -> Self {
        Self { ip: None, mac: None, bridge: None, script: None, rate: None, backend: DomId::DOM0 }
    }
}

/// A disk of a guest. Its device id is the number of its [`Vdev`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Vbd {
    /// The block device or file that holds the content.
    pub target: PathBuf,
    /// Which of the two it is.
    #[serde(rename = "type")]
    pub disk_type: DiskType,
    /// The disk's name in the guest.
    pub vdev: Vdev,
    /// What the guest may do to it.
    pub access: Access,
    /// How the content is laid out.
    pub format: DiskFormat,
    /// The domain that has the other end.
    #[serde(skip_serializing_if = "is_dom0")]
    pub backend: DomId,
}

impl Vbd {
    /// A raw disk that the control domain serves.
    #[must_use]
    pub fn new(
        target: impl Into<PathBuf>,
        disk_type: DiskType,
        vdev: Vdev,
        access: Access,
    ) -> Self {
        Self {
            target: target.into(),
            disk_type,
            vdev,
            access,
            format: DiskFormat::Raw,
            backend: DomId::DOM0,
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // the form that serde asks for
fn is_dom0(backend: &DomId) -> bool {
    backend.is_dom0()
}

/// The name of a network interface, such as a bridge: 1 to 15 bytes without `/`, `:`, spaces and
/// control characters, and neither `.` nor `..`, as Linux wants it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Interface(String);

impl Interface {
    pub(super) const NOUN: &'static str = "a network interface's name";
    pub(super) const RIGHT: &'static str = "1 to 15 bytes without / : and spaces, as in xenbr0";

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Interface {
    type Err = ValueError;

    fn from_str(name: &str) -> Result<Self, ValueError> {
        let wrong = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
        if matches!(name, "" | "." | "..") || name.len() > 15 || name.contains(wrong) {
            return Err(ValueError::not(format_args!("{name:?}"), Self::NOUN, Self::RIGHT));
        }
        Ok(Self(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_names() {
        for good in ["xenbr0", "br-lan", "a23456789012345", "eth0.5"] {
            assert!(good.parse::<Interface>().is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a234567890123456", "a/b", "a b", "eth0:1", "a\0"] {
            assert!(bad.parse::<Interface>().is_err(), "{bad}");
        }
    }
}
