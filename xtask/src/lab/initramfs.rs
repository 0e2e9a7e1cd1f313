//! The first file system of the lab host: a busybox, the modules that reach the disks, and our init
//! (`xtask/lab/initramfs-init`).

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::cpio::Archive;
use super::modules::Dependencies;
use crate::files;

/// What it takes to mount an ext4 file system on a virtio disk. ext4 asks for crc32c by its
/// algorithm's name, not by a dependency.
pub(crate) const MODULES: &[&str] = &["virtio_pci", "virtio_blk", "crc32c_generic", "ext4"];

/// The busybox commands that init calls.
const APPLETS: &[&str] = &["sh", "mount", "insmod", "cpio", "switch_root", "poweroff"];

/// Debian's busybox that needs no libraries.
pub(crate) const BUSYBOX: &str = "/bin/busybox";

/// Where it comes from.
pub(crate) const NEEDED: &[&str] = &["busybox-static"];

/// The devices of a Linux guest, and a file system for its disk. Debian's kernel has them as
/// modules.
pub(crate) const GUEST_MODULES: &[&str] =
    &["xen_netfront", "xen_blkfront", "crc32c_generic", "ext4"];

/// Copies the modules of `wanted` and those that they need from `version`, a folder
/// /lib/modules/VERSION, to `to`. Returns their files' names in the order in which they load.
pub(crate) fn collect_modules(version: &Path, wanted: &[&str], to: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(version.join("modules.dep"))
        .context("the kernel package has no modules.dep")?;
    let mut names = Vec::new();
    for file in Dependencies::parse(&text).load_order(wanted)? {
        let name = file.rsplit('/').next().unwrap_or(file);
        files::install(&version.join(file), &to.join(name), 0o644)?;
        names.push(name.to_owned());
    }
    Ok(names)
}

/// The archive, uncompressed: unpacking is dear where the host is emulated.
pub(crate) fn build(modules: Option<&Path>, init: &Path) -> Result<Vec<u8>> {
    let mut archive = busybox(APPLETS)?;
    archive.file(
        "init",
        0o755,
        &fs::read(init).with_context(|| format!("cannot read {}", init.display()))?,
    )?;
    for dir in ["dev", "root"] {
        archive.dir(dir)?;
    }
    archive.char_device("dev/console", 0o600, 5, 1)?;
    match modules {
        Some(modules) => archive.tree(modules, "modules")?,
        None => archive.file("modules/order", 0o644, b"")?,
    }
    archive.finish()
}

/// An archive with busybox as /bin/busybox, and a link to it for each of `applets`.
pub(crate) fn busybox(applets: &[&str]) -> Result<Archive> {
    let mut archive = Archive::default();
    let busybox = fs::read(BUSYBOX)
        .with_context(|| format!("cannot read {BUSYBOX} (package busybox-static)"))?;
    archive.file("bin/busybox", 0o755, &busybox)?;
    for applet in applets {
        archive.symlink(&format!("bin/{applet}"), "busybox")?;
    }
    Ok(archive)
}
