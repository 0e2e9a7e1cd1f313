//! Files become block devices: loop devices, each marked with the device that it belongs to.
//!
//! A loop device of ours is bound without autoclear, and gets it once blkback has it open. With
//! autoclear from the start, the death of this daemon between the two would free the device, and
//! blkback could open the file that somebody else gives it a moment later. So what a killed
//! daemon leaves is a device that still is what its backend directory says, and the next daemon
//! finishes it or, if the guest is gone, releases it ([`release_left_over`]). Once sealed, the
//! kernel releases it with blkback's last descriptor, whoever lives then.

use std::fs;
use std::io;
use std::path::PathBuf;

use loopctl::{Backing, LoopControl, LoopDevice, Setup, Status};
use nix::errno::Errno;

use super::refusal::Refusal;
use super::target::{Identity, Target};
use crate::device::DeviceId;
use crate::nodes::DeviceNumbers;

/// How a loop device's name begins that is ours. losetup shows a file's path there.
const MARK: &str = "xendevd:";

/// The loop driver's number (Documentation/admin-guide/devices.txt).
pub(crate) const LOOP_MAJOR: u32 = 7;

/// How often a free device may be snatched away before it is nobody's fault any more.
const TRIES: usize = 100;

/// A loop device that belongs to a device of a guest. Dropped, it is released.
#[derive(Debug)]
pub struct Attachment {
    device: Option<LoopDevice>,
}

/// A loop device that is in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its number.
    pub number: u32,
    /// Its file.
    pub backing: Backing,
    /// The device that it belongs to, if it is ours.
    pub owner: Option<DeviceId>,
    /// Whether the kernel releases it by itself.
    pub sealed: bool,
    /// Whether it takes no writes.
    pub read_only: bool,
}

impl Attachment {
    /// Makes the file a block device.
    ///
    /// # Errors
    /// [`Refusal::NoLoop`].
    pub fn make(target: &Target, device: DeviceId, direct_io: bool) -> Result<Self, Refusal> {
        let failed = |source| Refusal::NoLoop { path: target.path().to_owned(), source };
        let name = format!("{MARK}{}", device.sysname());
        let setup = Setup {
            file: target.file(),
            read_only: !target.mode().writes(),
            direct_io,
            name: name.as_str(),
        };
        let control = LoopControl::open().map_err(failed)?;
        for _ in 0..TRIES {
            let number = control.free().map_err(failed)?;
            let found = match LoopDevice::open(number, target.mode().writes()) {
                Ok(found) => found,
                // Somebody has removed it again.
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound
                        || error.raw_os_error() == Some(Errno::ENXIO as i32) =>
                {
                    continue;
                }
                Err(error) => return Err(failed(error)),
            };
            match found.configure(&setup) {
                Ok(()) => return Ok(Self { device: Some(found) }),
                // Somebody else was given the same one.
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Err(failed(io::Error::from(io::ErrorKind::ResourceBusy)))
    }

    /// Takes over what an earlier daemon made for this device: the loop device of this number, if
    /// it is still that.
    ///
    /// # Errors
    /// [`io::Error`] of the kernel's.
    pub fn adopt(number: u32, device: DeviceId) -> io::Result<Option<(Self, Backing)>> {
        let found = LoopDevice::open(number, false)?;
        Ok(match found.status()? {
            Some(status) if owner(&status) == Some(device) => {
                Some((Self { device: Some(found) }, status.backing))
            }
            _ => None,
        })
    }

    /// The loop device's number.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.device.as_ref().map_or(0, LoopDevice::number)
    }

    /// The loop device's path.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        LoopDevice::path(self.number())
    }

    /// The loop device's numbers.
    #[must_use]
    pub fn numbers(&self) -> DeviceNumbers {
        DeviceNumbers { major: LOOP_MAJOR, minor: self.number() }
    }

    /// Leaves it to the kernel, which releases it when the last of those who have it open now is
    /// gone.
    ///
    /// # Errors
    /// [`io::Error`] of the kernel's; then it is released now.
    pub fn seal(mut self) -> io::Result<()> {
        if let Some(device) = &self.device {
            device.set_autoclear()?;
        }
        self.device = None;
        Ok(())
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        if let Some(device) = &self.device
            && let Err(error) = device.clear()
        {
            log::error!("/dev/loop{} cannot be released: {error}", device.number());
        }
    }
}

/// The device that a loop device of ours belongs to.
fn owner(status: &Status) -> Option<DeviceId> {
    DeviceId::from_sysname(status.name.strip_prefix(MARK)?)
}

/// The numbers of the loop devices that are in use, as sysfs has them.
fn used() -> Vec<u32> {
    let entries = fs::read_dir("/sys/block").into_iter().flatten().filter_map(Result::ok);
    let loops = entries.filter(|entry| entry.path().join("loop/backing_file").exists());
    loops
        .filter_map(|entry| entry.file_name().to_str()?.strip_prefix("loop")?.parse().ok())
        .collect()
}

/// What a loop device is, or `None` if it has no file.
///
/// # Errors
/// [`io::Error`] of the kernel's.
pub fn look(number: u32) -> io::Result<Option<Found>> {
    let status = LoopDevice::open(number, false)?.status()?;
    Ok(status.map(|status| Found {
        number,
        backing: status.backing,
        owner: owner(&status),
        sealed: status.autoclear,
        read_only: status.read_only,
    }))
}

/// All loop devices that are in use. Those that cannot be looked at are left out, and logged.
#[must_use]
pub fn scan() -> Vec<Found> {
    let looked = used().into_iter().filter_map(|number| match look(number) {
        Ok(found) => found,
        Err(error) => {
            log::warn!("/dev/loop{number} cannot be looked at: {error}");
            None
        }
    });
    looked.collect()
}

/// A loop device on this file that is not ours.
pub(super) fn other_loop_on(backing: Backing) -> Option<u32> {
    used().into_iter().find(|&number| {
        look(number)
            .ok()
            .flatten()
            .is_some_and(|found| found.backing == backing && found.owner.is_none())
    })
}

/// Releases a loop device that an earlier daemon made for a device that is gone.
///
/// # Errors
/// [`io::Error`] of the kernel's.
pub fn release_left_over(number: u32, device: DeviceId) -> io::Result<()> {
    Attachment::adopt(number, device).map(drop)
}

/// The identity of the file that a loop device has.
impl From<&Found> for Identity {
    fn from(found: &Found) -> Self {
        Self::File(found.backing)
    }
}
