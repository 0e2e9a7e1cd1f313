//! One loop device.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use crate::ioctl::{self, Config, FLAG_AUTOCLEAR, FLAG_DIRECT_IO, FLAG_READ_ONLY, Info, NAME_SIZE};

/// /dev/loopN, open. Closing it changes nothing, unless it was the last user of a device with
/// autoclear.
#[derive(Debug)]
pub struct LoopDevice {
    file: File,
    number: u32,
}

/// What a device is to be.
#[derive(Debug, Clone, Copy)]
pub struct Setup<'a> {
    /// The file, open for writing unless the device is to be read-only.
    pub file: BorrowedFd<'a>,
    /// No writes.
    pub read_only: bool,
    /// Past the page cache; the kernel quietly does without where the file system cannot.
    pub direct_io: bool,
    /// A name that [`Status`] tells again: at most 63 bytes, a longer one is cut.
    pub name: &'a str,
}

/// What a device is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Its number.
    pub number: u32,
    /// Its file.
    pub backing: Backing,
    /// Whether it takes no writes.
    pub read_only: bool,
    /// Whether the kernel releases it with its last user.
    pub autoclear: bool,
    /// Whether the kernel passes by the page cache.
    pub direct_io: bool,
    /// Its name: what [`Setup`] gave, or what losetup writes there, the file's path.
    pub name: String,
}

/// A file, however it is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Backing {
    /// The file system's device as stat(2) gives it (`st_dev`).
    pub device: u64,
    /// The inode.
    pub inode: u64,
}

impl LoopDevice {
    /// Opens /dev/loopN for reading, or for reading and writing. A device that is configured
    /// through a descriptor for reading is read-only.
    ///
    /// # Errors
    /// [`io::Error`] as open(2) says.
    pub fn open(number: u32, write: bool) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(write).open(Self::path(number))?;
        Ok(Self { file, number })
    }

    /// The path of the device of this number.
    #[must_use]
    pub fn path(number: u32) -> PathBuf {
        PathBuf::from(format!("/dev/loop{number}"))
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Gives it a file (`LOOP_CONFIGURE`): file, name and flags in one step, so that nobody ever
    /// sees half a device.
    ///
    /// # Errors
    /// [`io::Error`] as the kernel says: `EBUSY` if it has a file already, `EINVAL` for a file that
    /// is neither regular nor a block device.
    pub fn configure(&self, setup: &Setup<'_>) -> io::Result<()> {
        let mut config = Config::new(setup.file)?;
        config.info.name = fixed(setup.name);
        if setup.read_only {
            config.info.flags |= FLAG_READ_ONLY;
        }
        if setup.direct_io {
            config.info.flags |= FLAG_DIRECT_IO;
        }
        ioctl::configure(self.file.as_fd(), &config)
    }

    /// What it is (`LOOP_GET_STATUS64`), or `None` if it has no file.
    ///
    /// # Errors
    /// [`io::Error`] as the kernel says.
    pub fn status(&self) -> io::Result<Option<Status>> {
        match ioctl::get_status(self.file.as_fd()) {
            Ok(info) => Ok(Some(status(self.number, &info))),
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// From now on the kernel releases it with its last user (`LOOP_SET_STATUS64`).
    ///
    /// # Errors
    /// [`io::Error`] as the kernel says; `ENXIO` if it has no file.
    pub fn set_autoclear(&self) -> io::Result<()> {
        let mut info = ioctl::get_status(self.file.as_fd())?;
        if info.flags & FLAG_AUTOCLEAR == 0 {
            info.flags |= FLAG_AUTOCLEAR;
            ioctl::set_status(self.file.as_fd(), &info)?;
        }
        Ok(())
    }

    /// Takes its file away: now if nobody else has it open, otherwise with its last user
    /// (`LOOP_CLR_FD`). One that has none is no failure.
    ///
    /// # Errors
    /// [`io::Error`] as the kernel says.
    pub fn clear(&self) -> io::Result<()> {
        match ioctl::clear(self.file.as_fd()) {
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => Ok(()),
            result => result,
        }
    }
}

fn status(number: u32, info: &Info) -> Status {
    let end = info.name.iter().position(|&byte| byte == 0).unwrap_or(NAME_SIZE);
    Status {
        number,
        backing: Backing { device: user_device(info.device), inode: info.inode },
        read_only: info.flags & FLAG_READ_ONLY != 0,
        autoclear: info.flags & FLAG_AUTOCLEAR != 0,
        direct_io: info.flags & FLAG_DIRECT_IO != 0,
        name: String::from_utf8_lossy(info.name.get(..end).unwrap_or_default()).into_owned(),
    }
}

/// The kernel's number of a device (`new_encode_dev`) as the C library writes it.
fn user_device(kernel: u64) -> u64 {
    let [major, low, high] = [kernel >> 8 & 0xfff, kernel & 0xff, kernel >> 12 & 0xf_ff00];
    let word = |number: u64| u32::try_from(number).unwrap_or_default();
    libc::makedev(word(major), word(low | high))
}

/// A text with at least one zero behind it.
fn fixed(text: &str) -> [u8; NAME_SIZE] {
    let mut bytes = [0; NAME_SIZE];
    for (to, from) in bytes.iter_mut().take(NAME_SIZE - 1).zip(text.bytes()) {
        *to = from;
    }
    bytes
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::LoopControl;

    #[test]
    fn numbers_of_devices_are_those_of_stat() {
        for (major, minor) in [(8, 1), (254, 16), (259, 300), (7, 1000)] {
            let kernel =
                u64::from(minor & 0xff) | u64::from(major) << 8 | u64::from(minor & !0xffu32) << 12;
            assert_eq!(user_device(kernel), libc::makedev(major, minor));
        }
    }

    #[test]
    fn a_name_is_cut_and_told_again() {
        for (name, told) in [("x".repeat(100), "x".repeat(63)), ("ab".to_owned(), "ab".to_owned())]
        {
            let mut info = Info::default();
            info.name = fixed(&name);
            assert_eq!(status(0, &info).name, told);
        }
    }

    #[test]
    #[ignore = "needs root and loop devices: the lab runs it"]
    fn a_file_becomes_a_device_and_goes_again() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1 << 20).unwrap();
        let number = LoopControl::open().unwrap().free().unwrap();
        let device = LoopDevice::open(number, false).unwrap();
        let setup = Setup {
            file: file.as_file().as_fd(),
            read_only: true,
            direct_io: true,
            name: "loopctl-test",
        };
        device.configure(&setup).unwrap();
        let status = device.status().unwrap().unwrap();
        let metadata = file.as_file().metadata().unwrap();
        assert_eq!(status.backing, Backing { device: metadata.dev(), inode: metadata.ino() });
        assert!(status.read_only && !status.autoclear);
        assert_eq!(status.name, "loopctl-test");
        assert_eq!(device.configure(&setup).unwrap_err().raw_os_error(), Some(libc::EBUSY));
        device.set_autoclear().unwrap();
        assert!(device.status().unwrap().unwrap().autoclear);
        device.clear().unwrap();
        device.clear().unwrap();
    }
}
