//! The lab host's disk and boot files: a Debian 12 with its own Xen and kernel, the same for
//! everyone, so built once and cached.
//!
//! What changes from one run to the next is not in here: see [`super::payload`].

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::{initramfs, kernel};
use crate::progress::Step;
use crate::run::Tool;
use crate::{cache, deps, files};

pub(crate) const SUITE: &str = "bookworm";

/// What it is called in the cache.
const ENTRY: &str = "debian-xen";

/// To be counted up when this file builds something else from the same inputs.
const FORMAT: &str = "1";

/// The size of the file system. The file is sparse, and what a host writes goes into a temporary
/// overlay.
const DISK_SIZE: &str = "4G";

/// What the host has beyond a minimal Debian with systemd and udev: Xen with its tools, and what
/// one looks at a host with.
const PACKAGES: &[&str] = &[
    "systemd-sysv",
    "udev",
    "kmod",
    "linux-image-amd64",
    "xen-hypervisor-4.17-amd64",
    "xen-utils-4.17",
    "xen-utils-common",
    "xenstore-utils",
    "busybox-static",
    "e2fsprogs",
    "iproute2",
    "iputils-ping",
    "jq",
    "procps",
    "socat",
    "strace",
];

/// What makes it, beyond what the workspace is built with.
const NEEDED: &[&str] = &["apt", "e2fsprogs", "mmdebstrap", "tar", "util-linux"];

/// What those need who are not root: the image's files belong to root and others, if only in a user
/// namespace. mmdebstrap itself only recommends it.
const NEEDED_WITHOUT_ROOT: &[&str] = &["uidmap"];

/// Drivers of hardware that QEMU does not give us, and what nobody reads in the lab.
const EXCLUDED: &[&str] = &[
    "/lib/modules/*/kernel/drivers/gpu/*",
    "/lib/modules/*/kernel/drivers/hid/*",
    "/lib/modules/*/kernel/drivers/hwmon/*",
    "/lib/modules/*/kernel/drivers/iio/*",
    "/lib/modules/*/kernel/drivers/infiniband/*",
    "/lib/modules/*/kernel/drivers/media/*",
    "/lib/modules/*/kernel/drivers/net/ethernet/*",
    "/lib/modules/*/kernel/drivers/net/wireless/*",
    "/lib/modules/*/kernel/drivers/staging/*",
    "/lib/modules/*/kernel/drivers/usb/*",
    "/lib/modules/*/kernel/sound/*",
    "/usr/share/doc/*",
    "/usr/share/locale/*",
    "/usr/share/man/*",
];

/// The files that a host boots from.
#[derive(Debug)]
pub(crate) struct Image {
    dir: PathBuf,
}

impl Image {
    /// Two images of the same name are made of the same inputs.
    pub(crate) fn id(&self) -> String {
        self.dir.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The root file system, to be used as a snapshot only.
    pub(crate) fn disk(&self) -> PathBuf {
        self.dir.join("disk.img")
    }

    /// The hypervisor as the ELF file that QEMU loads.
    pub(crate) fn xen(&self) -> PathBuf {
        self.dir.join("xen")
    }

    /// The uncompressed kernel.
    pub(crate) fn vmlinux(&self) -> PathBuf {
        self.dir.join("vmlinux")
    }

    /// The modules that the initramfs loads: the files, and `order`.
    pub(crate) fn modules(&self) -> PathBuf {
        self.dir.join("modules")
    }

    /// dpkg's list of what is installed in it, with the versions.
    pub(crate) fn packages(&self) -> PathBuf {
        self.dir.join("packages")
    }

    /// The modules that a Linux guest needs for its devices.
    pub(crate) fn guest_modules(&self) -> PathBuf {
        self.dir.join("guest-modules")
    }
}

/// The image, built now if this machine has none yet.
pub(crate) fn get() -> Result<Image> {
    let dir = cache::entry(ENTRY, &key(), build)?;
    Ok(Image { dir })
}

/// Where the image is in the cache, or would be.
pub(crate) fn place() -> Result<PathBuf> {
    cache::place(ENTRY, &key())
}

fn key() -> cache::Key {
    let mut key = cache::Key::default();
    key.add("format", FORMAT).add("suite", SUITE).add("size", DISK_SIZE);
    key.add("packages", PACKAGES.join(" "))
        .add("excluded", EXCLUDED.join(" "))
        .add("modules", initramfs::MODULES.join(" "))
        .add("guest modules", initramfs::GUEST_MODULES.join(" "));
    key
}

/// The packages that make an image.
pub(crate) fn needed() -> Vec<&'static str> {
    match deps::is_root() {
        true => NEEDED.to_vec(),
        false => [NEEDED, NEEDED_WITHOUT_ROOT].concat(),
    }
}

fn build(dir: &Path) -> Result<()> {
    // Both may ask for a password, so they come before the spinner.
    deps::ensure(&needed())?;
    let sources = deps::apt_sources(SUITE)?.join("\n") + "\n";
    if !deps::is_root() {
        has_subordinate_ids()?;
    }
    let tar = dir.join("root.tar");
    let step = Step::start("making the lab's Debian host (once, about two minutes)");
    deps::retry("mmdebstrap", || bootstrap(&tar, &sources, PACKAGES, EXCLUDED))?;
    extract_boot_files(&tar, dir)?;
    make_disk(&tar, dir)?;
    fs::remove_file(&tar)?;
    step.done();
    Ok(())
}

/// Fails for a user who has no ids to give to the files of a user namespace.
fn has_subordinate_ids() -> Result<()> {
    let id = nix::unistd::geteuid();
    let user = nix::unistd::User::from_uid(id)?.map_or_else(|| id.to_string(), |user| user.name);
    for (option, kind) in [(None, "subuids"), (Some("-g"), "subgids")] {
        let ended = Tool::new("getsubids").args(option).arg(&user).ended()?;
        ensure!(
            ended.status.success(),
            "user {user} has no {kind}, which the files of the lab's host need: \
             sudo usermod --add-{kind} 100000-165535 {user}"
        );
    }
    Ok(())
}

/// Installs Debian with `packages` into a tar file, without the files of `excluded`. `sources` are
/// the machine's own mirrors.
pub(crate) fn bootstrap(
    tar: &Path,
    sources: &str,
    packages: &[&str],
    excluded: &[&str],
) -> Result<()> {
    let mut args = vec![
        "--variant=minbase".to_owned(),
        "--format=tar".to_owned(),
        format!("--include={}", packages.join(",")),
    ];
    args.push(r#"--aptopt=Acquire::Languages "none""#.to_owned());
    args.push(r#"--aptopt=Acquire::Retries "3""#.to_owned());
    args.extend(deps::apt_acquire_options()?.iter().map(|option| format!("--aptopt={option}")));
    args.extend(excluded.iter().map(|path| format!("--dpkgopt=path-exclude={path}")));
    args.extend([SUITE.to_owned(), tar.display().to_string(), "-".to_owned()]);
    // INITRD=No: the kernel's installation would build a ramdisk that nobody boots.
    Tool::tied("mmdebstrap").args(args).env("INITRD", "No").input(sources).log_on_failure()
}

/// Takes the hypervisor, the kernel and the initramfs's modules out of the system.
fn extract_boot_files(tar: &Path, dir: &Path) -> Result<()> {
    let parts = tempfile::tempdir_in(dir)?;
    Tool::new("tar")
        .args(["--extract", "--wildcards", "--file"])
        .arg(tar)
        .arg("--directory")
        .arg(parts.path())
        .args(["./boot/*", "./usr/lib/modules/*"])
        .log_on_failure()?;
    let boot = parts.path().join("boot");
    let image = only(&boot, |name| name.starts_with("vmlinuz-"))?;
    let packed = fs::read(&image)?;
    files::write(
        &dir.join("vmlinux"),
        kernel::vmlinux(&packed).context("Debian's kernel")?,
        0o644,
    )?;
    files::write(&dir.join("vmlinuz"), packed, 0o644)?;

    let gz = only(&boot, |name| name.starts_with("xen-") && name.ends_with(".gz"))?;
    let mut xen = Vec::new();
    flate2::read::GzDecoder::new(fs::File::open(gz)?)
        .read_to_end(&mut xen)
        .context("cannot unpack the hypervisor")?;
    files::write(&dir.join("xen"), xen, 0o644)?;

    let version = only(&parts.path().join("usr/lib/modules"), |_| true)?;
    let modules = dir.join("modules");
    let order = initramfs::collect_modules(&version, initramfs::MODULES, &modules)?;
    files::write(&modules.join("order"), order.join("\n") + "\n", 0o644)?;
    initramfs::collect_modules(&version, initramfs::GUEST_MODULES, &dir.join("guest-modules"))?;
    Ok(())
}

/// The one entry of `dir` that `wanted` picks.
fn only(dir: &Path, wanted: impl Fn(&str) -> bool) -> Result<PathBuf> {
    let mut found = files::sorted_dir(dir)?;
    found.retain(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(&wanted));
    ensure!(found.len() == 1, "expected one file in {}, found {found:?}", dir.display());
    found.pop().context("no file")
}

/// Makes the file system. Its files have many owners: who is not root makes it in a user namespace,
/// where there can be no device nodes, and the host mounts its own /dev anyway.
fn make_disk(tar: &Path, dir: &Path) -> Result<()> {
    const SCRIPT: &str = r#"set -e
        cd "$1"
        trap 'rm -rf root' EXIT
        mkdir root
        tar --extract --numeric-owner --exclude='./dev/*' --file="$2" --directory=root
        mkdir root/guests
        cp vmlinux root/guests/linux-vmlinux
        mv vmlinuz root/guests/linux-vmlinuz
        cp root/var/lib/dpkg/status packages
        mke2fs -q -t ext4 -O ^has_journal,^metadata_csum -m 0 -E lazy_itable_init=1 -L lightvm \
            -d root disk.img "$3""#;
    let tool = if deps::is_root() {
        Tool::tied("sh")
    } else {
        Tool::tied("unshare").args(["--map-root-user", "--map-auto", "sh"])
    };
    tool.args(["-c", SCRIPT, "make-disk"])
        .arg(dir)
        .arg(tar)
        .arg(DISK_SIZE)
        .env("PATH", sbin_path())
        .log_on_failure()
}

/// The search path with the folders that Debian keeps off a user's.
pub(crate) fn sbin_path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}
