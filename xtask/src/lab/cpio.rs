//! Writes cpio archives in the "newc" format, which the Linux kernel unpacks as its first file
//! system (Documentation/driver-api/early-userspace/buffer-format.rst).
//!
//! Owner is root and every time is zero: the same files make the same bytes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const CHARACTER: u32 = 0o020_000;
const TRAILER: &str = "TRAILER!!!";

/// An archive in the making.
#[derive(Debug, Default, Clone)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    folders: BTreeSet<String>,
    entries: u32,
}

impl Archive {
    /// Adds a folder that everyone may read, and the folders above it.
    pub(crate) fn dir(&mut self, path: &str) -> Result<()> {
        self.dir_with_mode(path, 0o755)
    }

    /// Adds a folder, unless it is there already, and the folders above it.
    pub(crate) fn dir_with_mode(&mut self, path: &str, mode: u32) -> Result<()> {
        let path = path.trim_matches('/');
        if path.is_empty() || self.folders.contains(path) {
            return Ok(());
        }
        self.parents(path)?;
        self.folders.insert(path.to_owned());
        self.entry(path, DIRECTORY | (mode & 0o7777), (0, 0), b"")
    }

    /// Adds a regular file.
    pub(crate) fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<()> {
        self.parents(path)?;
        self.entry(path, REGULAR | (mode & 0o7777), (0, 0), content)
    }

    /// Adds a symbolic link that points to `target`.
    pub(crate) fn symlink(&mut self, path: &str, target: &str) -> Result<()> {
        self.parents(path)?;
        self.entry(path, SYMLINK | 0o777, (0, 0), target.as_bytes())
    }

    /// Adds a character device: the kernel opens /dev/console before there is a devtmpfs.
    pub(crate) fn char_device(
        &mut self,
        path: &str,
        mode: u32,
        major: u32,
        minor: u32,
    ) -> Result<()> {
        self.parents(path)?;
        self.entry(path, CHARACTER | (mode & 0o7777), (major, minor), b"")
    }

    /// Adds what lies below the folder `from` at the archive's root.
    pub(crate) fn tree(&mut self, from: &Path, prefix: &str) -> Result<()> {
        for child in crate::files::sorted_dir(from)? {
            let name = child
                .file_name()
                .and_then(|name| name.to_str())
                .context("a file name is not UTF-8")?;
            let path = format!("{prefix}/{name}");
            let meta = fs::symlink_metadata(&child)?;
            if meta.is_dir() {
                self.dir(&path)?;
                self.tree(&child, &path)?;
            } else if meta.is_symlink() {
                let target = fs::read_link(&child)?;
                self.symlink(&path, target.to_str().context("a link's target is not UTF-8")?)?;
            } else {
                let mode = std::os::unix::fs::PermissionsExt::mode(&meta.permissions());
                self.file(&path, mode, &fs::read(&child)?)?;
            }
        }
        Ok(())
    }

    /// The archive with its end mark.
    pub(crate) fn finish(mut self) -> Result<Vec<u8>> {
        self.entry(TRAILER, 0, (0, 0), b"")?;
        Ok(self.bytes)
    }

    fn parents(&mut self, path: &str) -> Result<()> {
        match path.trim_matches('/').rsplit_once('/') {
            Some((parent, _)) => self.dir(parent),
            None => Ok(()),
        }
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), content: &[u8]) -> Result<()> {
        let path = path.trim_start_matches('/');
        let size = u32::try_from(content.len())
            .with_context(|| format!("{path} is too large for a cpio archive"))?;
        let name_size = u32::try_from(path.len() + 1)?;
        if path.contains('\0') {
            bail!("the name {path:?} holds a zero byte");
        }
        self.entries += 1;
        let links = if mode & DIRECTORY == DIRECTORY { 2 } else { 1 };
        // inode, mode, uid, gid, links, mtime, size, device (2), rdev (2), name size, checksum
        let fields =
            [self.entries, mode, 0, 0, links, 0, size, 0, 0, device.0, device.1, name_size, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
        Ok(())
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::Archive;

    #[test]
    fn an_archive_names_each_folder_once_and_ends_with_the_trailer() {
        let mut archive = Archive::default();
        archive.file("/bin/busybox", 0o755, b"12345").unwrap();
        archive.symlink("bin/sh", "busybox").unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!(text.matches("070701").count(), 4);
        assert!(text.starts_with("07070100000001000041ed"));
        assert!(text.contains("bin/busybox\0") && text.contains(concat!("12345\0\0\0", "070701")));
        assert!(text.trim_end_matches('\0').ends_with("TRAILER!!!"));
    }

    #[test]
    fn sizes_and_modes_are_where_the_kernel_looks() {
        let mut archive = Archive::default();
        archive.file("a", 0o644, b"xyz").unwrap();
        let bytes = archive.finish().unwrap();
        let field = |index: usize| {
            std::str::from_utf8(&bytes[6 + 8 * index..14 + 8 * index]).unwrap().to_owned()
        };
        assert_eq!(field(1), "000081a4");
        assert_eq!(field(6), "00000003");
        assert_eq!(field(11), "00000002");
        // Header (110) and name (2) end on a multiple of four.
        assert_eq!(&bytes[112..116], b"xyz\0");
    }
}
