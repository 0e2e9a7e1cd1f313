//! What is looked at before a device is made: what it needs on this host. Backends in other domains
//! look for themselves.

use std::fmt::Display;
use std::fs::{self, File, Metadata, OpenOptions};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use super::{DeviceConfig, DeviceError, DeviceId};
use crate::config::{Access, DiskType, GuestConfig, Interface, Vbd, Vif};
use crate::error::CallError;
use crate::inner::Inner;

/// Where Linux shows its network interfaces.
const INTERFACES: &str = "/sys/class/net";

/// The least that a disk has: one sector, in bytes.
const SECTOR: u64 = 512;

/// Checks all devices of a configuration.
pub(crate) fn check_all<E: From<DeviceError> + From<CallError>>(
    inner: &Inner,
    config: &GuestConfig,
) -> Result<(), E> {
    super::numbered(config).iter().try_for_each(|(id, device)| check(inner, *id, device))
}

/// Checks one device.
pub(crate) fn check<E: From<DeviceError> + From<CallError>>(
    inner: &Inner,
    id: DeviceId,
    device: &DeviceConfig,
) -> Result<(), E> {
    let backend = device.backend();
    let problem = if backend.is_dom0() {
        match device {
            DeviceConfig::Vif(vif) => vif_problem(vif),
            DeviceConfig::Vbd(vbd) => vbd_problem(vbd),
        }
    } else if inner.info(backend)?.is_none() {
        Some(format!("there is no domain {backend} to be its backend"))
    } else {
        None
    };
    match problem {
        None => Ok(()),
        Some(problem) => Err(DeviceError::Unusable { device: id, problem }.into()),
    }
}

fn vif_problem(vif: &Vif) -> Option<String> {
    match (&vif.script, &vif.bridge) {
        // A script may know bridges of another kind, such as Open vSwitch's.
        (Some(script), _) => script_problem(script),
        (None, Some(bridge)) => bridge_problem(bridge),
        (None, None) => None,
    }
}

fn bridge_problem(bridge: &Interface) -> Option<String> {
    let interface = Path::new(INTERFACES).join(bridge.as_str());
    if interface.join("bridge").is_dir() {
        None
    } else if interface.exists() {
        Some(format!("{bridge} is no bridge but another network interface"))
    } else {
        Some(format!(
            "this host has no bridge {bridge}; make it (ip link add {bridge} type bridge) or name \
             another"
        ))
    }
}

fn script_problem(script: &Path) -> Option<String> {
    match fs::metadata(script) {
        Err(error) => Some(format!("the script {} cannot be used: {error}", script.display())),
        Ok(data) if !data.is_file() => Some(format!("the script {} is no file", script.display())),
        Ok(data) if data.permissions().mode() & 0o111 == 0 => {
            Some(format!("the script {} is not executable", script.display()))
        }
        Ok(_) => None,
    }
}

fn vbd_problem(vbd: &Vbd) -> Option<String> {
    let target = &vbd.target;
    let says = |what: &dyn Display| Some(format!("{} {what}", target.display()));
    if target.to_str().is_none() || !target.is_absolute() {
        return says(&"is no absolute path in UTF-8");
    }
    let data = match fs::metadata(target) {
        Ok(data) => data,
        Err(error) => return says(&format_args!("cannot be used: {error}")),
    };
    if let Some(wrong) = wrong_kind(vbd.disk_type, &data) {
        return says(&wrong);
    }
    // Opened for writing only where that has no effect of its own: udev looks at a block device
    // that someone may have written to.
    let write = vbd.access == Access::Write && data.is_file();
    let open =
        || -> std::io::Result<File> { OpenOptions::new().read(true).write(write).open(target) };
    if let Err(error) = open() {
        return says(&format_args!(
            "cannot be opened to {}: {error}",
            if write { "write" } else { "read" }
        ));
    }
    if data.is_file() && data.len() < SECTOR {
        return says(&format_args!("is too small for a disk: it has {} bytes", data.len()));
    }
    None
}

fn wrong_kind(wanted: DiskType, data: &Metadata) -> Option<&'static str> {
    let kind = data.file_type();
    match wanted {
        DiskType::File if kind.is_file() => None,
        DiskType::Phy if kind.is_block_device() => None,
        _ if kind.is_dir() => Some("is a folder; a disk needs a file or a block device"),
        DiskType::File if kind.is_block_device() => {
            Some("is a block device; give the type \"phy\"")
        }
        DiskType::Phy if kind.is_file() => Some("is a file; give the type \"file\""),
        _ => Some("is neither a file nor a block device"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn disk(target: &Path, disk_type: DiskType) -> Option<String> {
        vbd_problem(&Vbd::new(target, disk_type, "xvda".parse().unwrap(), Access::Write))
    }

    #[test]
    fn disks() {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        assert!(disk(&image, DiskType::File).unwrap().contains("No such file"));
        fs::write(&image, [0; 511]).unwrap();
        assert!(disk(&image, DiskType::File).unwrap().contains("511 bytes"));
        fs::write(&image, [0; 512]).unwrap();
        assert_eq!(disk(&image, DiskType::File), None);
        assert!(disk(&image, DiskType::Phy).unwrap().contains("\"file\""));
        assert!(disk(folder.path(), DiskType::File).unwrap().contains("is a folder"));
        assert!(disk(Path::new("/dev/null"), DiskType::Phy).unwrap().contains("neither"));
        assert!(disk(Path::new("image"), DiskType::File).unwrap().contains("absolute"));
    }

    #[test]
    fn interfaces() {
        let vif = |bridge: &str| Vif { bridge: Some(bridge.parse().unwrap()), ..Vif::default() };
        assert!(vif_problem(&vif("lightvm-none")).unwrap().contains("no bridge lightvm-none"));
        assert!(vif_problem(&vif("lo")).unwrap().contains("another network interface"));
        assert_eq!(vif_problem(&Vif::default()), None);
        let scripted = |script: &str| Vif { script: Some(script.into()), ..vif("ovs0") };
        assert_eq!(vif_problem(&scripted("/bin/sh")), None);
        assert!(vif_problem(&scripted("/etc/passwd")).unwrap().contains("not executable"));
        assert!(vif_problem(&scripted("/nonexistent")).is_some());
    }
}
