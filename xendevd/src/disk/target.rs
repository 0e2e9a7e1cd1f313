//! A file or a block device that a guest is to get as a disk. Everything here may block as long as
//! a disk or a file server does.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use loopctl::Backing;
use nix::fcntl::OFlag;
use nix::sys::stat::{major, minor};

use super::attach::other_loop_on;
use super::format::{HEAD, ImageFormat};
use super::mounts::mounted_writable;
use super::refusal::Refusal;
use crate::nodes::{DeviceNumbers, Mode};

/// What a path names, whatever the path: two paths, or two links, of the same disk have the same
/// identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Identity {
    /// A block device.
    Block(DeviceNumbers),
    /// A file.
    File(Backing),
}

/// A file or a block device, open and fit for being a disk.
#[derive(Debug)]
pub struct Target {
    path: PathBuf,
    file: File,
    identity: Identity,
    mode: Mode,
}

impl Target {
    /// Opens what `path` names and looks whether it can be a disk for this use, as far as that can
    /// be seen from it alone: who else has it is known to [`Claims`](super::Claims).
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn probe(path: &Path, mode: Mode) -> Result<Self, Refusal> {
        let owned = || path.to_owned();
        // Before it is opened: opening a pipe waits, and opening a tape winds it.
        let metadata =
            fs::metadata(path).map_err(|error| Refusal::opening(owned(), mode.writes(), error))?;
        let kind = metadata.file_type();
        let what = match () {
            () if kind.is_file() || kind.is_block_device() => None,
            () if kind.is_dir() => Some("folder"),
            () if kind.is_fifo() => Some("pipe"),
            () if kind.is_socket() => Some("socket"),
            () => Some("character device"),
        };
        if let Some(kind) = what {
            return Err(Refusal::NoDisk { path: owned(), kind });
        }
        let (file, identity) = match kind.is_block_device() {
            true => open_block(path, mode, metadata.rdev())?,
            false => open_file(path, mode)?,
        };
        let now = file.metadata().map_err(|source| Refusal::Io {
            operation: "look at",
            path: owned(),
            source,
        })?;
        if (now.dev(), now.ino()) != (metadata.dev(), metadata.ino()) {
            return Err(Refusal::Replaced(owned()));
        }
        Ok(Self { path: owned(), file, identity, mode })
    }

    /// The path under which it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// What the guest may do with it.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The open file.
    pub(super) fn file(&self) -> std::os::fd::BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The numbers of a device as stat(2) gives them.
fn numbers(device: u64) -> DeviceNumbers {
    let part = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    DeviceNumbers { major: part(major(device)), minor: part(minor(device)) }
}

fn open(path: &Path, write: bool, flags: OFlag) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(write)
        .custom_flags((flags | OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits())
        .open(path)
}

/// With O_EXCL the kernel says whether a file system, a volume group, a RAID or swap has the device
/// (open(2)).
fn open_block(path: &Path, mode: Mode, device: u64) -> Result<(File, Identity), Refusal> {
    let device = numbers(device);
    let exclusive = if mode == Mode::Shared { OFlag::empty() } else { OFlag::O_EXCL };
    let in_use = |by: String| Refusal::InUse { path: path.to_owned(), by };
    let busy = |error: &io::Error| error.kind() == io::ErrorKind::ResourceBusy;
    let opened = match open(path, mode.writes(), exclusive) {
        Err(error) if busy(&error) && mode == Mode::Read => {
            if let Some(place) = mounted_writable(device) {
                return Err(in_use(format!("it is mounted for writing at {place}")));
            }
            open(path, false, OFlag::empty())
        }
        Err(error) if busy(&error) => {
            let by = mounted_writable(device).map_or_else(
                || "a file system, a volume group, a RAID or swap holds it".to_owned(),
                |place| format!("it is mounted at {place}"),
            );
            return Err(in_use(by));
        }
        // What open(2) says of a device that is set to read-only.
        Err(error)
            if error.kind() == io::ErrorKind::PermissionDenied
                && mode.writes()
                && open(path, false, OFlag::empty()).is_ok() =>
        {
            return Err(Refusal::ReadOnly(path.to_owned()));
        }
        opened => opened,
    };
    let file = opened.map_err(|error| Refusal::opening(path.to_owned(), mode.writes(), error))?;
    Ok((file, Identity::Block(device)))
}

fn open_file(path: &Path, mode: Mode) -> Result<(File, Identity), Refusal> {
    let failed = |source| Refusal::Io { operation: "read", path: path.to_owned(), source };
    let file = open(path, mode.writes(), OFlag::empty())
        .map_err(|error| Refusal::opening(path.to_owned(), mode.writes(), error))?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.len() == 0 {
        return Err(Refusal::Empty(path.to_owned()));
    }
    let mut head = Vec::with_capacity(HEAD);
    (&file).take(HEAD as u64).read_to_end(&mut head).map_err(failed)?;
    if let Some(format) = ImageFormat::of(&head) {
        return Err(Refusal::Format { path: path.to_owned(), format });
    }
    // A file of less than a sector would be a disk without any.
    let mut last = [0; 1];
    if metadata.len() < HEAD as u64 {
        return Err(Refusal::Empty(path.to_owned()));
    }
    // A hole behind a server that is gone shows here and not in the guest.
    file.read_at(&mut last, metadata.len() - 1).map_err(failed)?;
    let backing = Backing { device: metadata.dev(), inode: metadata.ino() };
    if mode == Mode::Write
        && let Some(number) = other_loop_on(backing)
    {
        let by = format!("the loop device /dev/loop{number} has it (losetup --list)");
        return Err(Refusal::InUse { path: path.to_owned(), by });
    }
    Ok((file, Identity::File(backing)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::symlink;

    use nix::sys::stat::Mode as Permissions;

    use super::*;

    fn refused(path: &Path) -> String {
        Target::probe(path, Mode::Write).unwrap_err().to_string()
    }

    #[test]
    fn what_is_no_disk_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        assert_eq!(refused(&path("no")), format!("there is no file {}", path("no").display()));
        assert!(refused(dir.path()).ends_with("is a folder, neither a file nor a block device"));
        nix::unistd::mkfifo(&path("pipe"), Permissions::S_IRWXU).unwrap();
        assert!(refused(&path("pipe")).contains("is a pipe"));
        assert!(refused(Path::new("/dev/null")).contains("is a character device"));
        fs::write(path("empty"), "").unwrap();
        assert!(refused(&path("empty")).ends_with("is empty"));
        fs::write(path("short"), "x").unwrap();
        assert!(refused(&path("short")).ends_with("is empty"));
        fs::write(path("a.qcow2"), [&b"QFI\xfb\0\0\0\x03"[..], &[0; 1024]].concat()).unwrap();
        assert!(
            refused(&path("a.qcow2"))
                .contains("is a qcow2 image, and only raw ones are served: convert it")
        );
    }

    #[test]
    fn a_disk_is_the_same_under_each_of_its_names() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("a"), [0; 4096]).unwrap();
        fs::hard_link(path("a"), path("b")).unwrap();
        symlink("a", path("c")).unwrap();
        let identity = |name| Target::probe(&path(name), Mode::Read).unwrap().identity();
        assert_eq!(identity("a"), identity("b"));
        assert_eq!(identity("a"), identity("c"));
        fs::copy(path("a"), path("d")).unwrap();
        assert_ne!(identity("a"), identity("d"));
    }
}
