//! The kernel's side of the devices that this domain serves: /sys/bus/xen-backend.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::device::DeviceId;
use crate::nodes::DeviceNumbers;

/// The bus.
#[derive(Debug, Clone)]
pub struct Bus {
    devices: PathBuf,
}

impl Default for Bus {
    fn default() -> Self {
        Self::at("/sys/bus/xen-backend/devices")
    }
}

impl Bus {
    /// A bus whose devices are entries of this folder.
    #[must_use]
    pub fn at(devices: impl AsRef<Path>) -> Self {
        Self { devices: devices.as_ref().to_owned() }
    }

    /// The devices that the kernel serves now. Where there is no such bus, there are none.
    ///
    /// # Errors
    /// [`io::Error`] if the folder cannot be read.
    pub fn devices(&self) -> io::Result<BTreeSet<DeviceId>> {
        let entries = match fs::read_dir(&self.devices) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
            entries => entries?,
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        Ok(names.filter_map(|name| DeviceId::from_sysname(&name)).collect())
    }

    /// Whether the kernel serves this device.
    #[must_use]
    pub fn has(&self, device: DeviceId) -> bool {
        self.devices.join(device.sysname()).exists()
    }

    /// What blkback has opened for a disk (its attribute `physical_device`), or `None` as long as
    /// it has not.
    #[must_use]
    pub fn opened(&self, device: DeviceId) -> Option<DeviceNumbers> {
        let path = self.devices.join(device.sysname()).join("physical_device");
        DeviceNumbers::parse(fs::read_to_string(path).ok()?.trim())
    }

    /// Whether blkback has opened a disk for reading alone (its attribute `mode`).
    #[must_use]
    pub fn is_read_only(&self, device: DeviceId) -> bool {
        let path = self.devices.join(device.sysname()).join("mode");
        fs::read_to_string(path).is_ok_and(|mode| !mode.contains('w'))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_found() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["vif-5-0", "vbd-5-51712", "console-5-0", "junk"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        fs::write(dir.path().join("vbd-5-51712/physical_device"), "7:1f\n").unwrap();
        fs::write(dir.path().join("vbd-5-51712/mode"), "r\n").unwrap();
        let bus = Bus::at(dir.path());
        let [vif, vbd] =
            ["vif-5-0", "vbd-5-51712"].map(|name| DeviceId::from_sysname(name).unwrap());
        assert_eq!(bus.devices().unwrap(), BTreeSet::from([vif, vbd]));
        assert_eq!(bus.opened(vbd), Some(DeviceNumbers { major: 7, minor: 31 }));
        assert_eq!(bus.opened(vif), None);
        assert!(bus.is_read_only(vbd) && !bus.is_read_only(vif));
        assert!(bus.has(vif) && !bus.has(DeviceId { number: 1, ..vif }));
        assert!(Bus::at("/nowhere").devices().unwrap().is_empty());
    }
}
