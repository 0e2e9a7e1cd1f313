//! What a host boots: the disk is the same on both planes, the hypervisor and the kernels are not.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};

use super::image::{self, Image};
use super::options::{Options, Plane};
use crate::cache::Key;
use crate::patches::built::{self, Kernel};

/// The files that a host boots from, and what its guests need.
#[derive(Debug)]
pub(crate) struct Boot {
    pub(crate) plane: Plane,
    /// The root file system, to be used as a snapshot only.
    pub(crate) disk: PathBuf,
    /// The hypervisor as the ELF file that QEMU loads.
    pub(crate) xen: PathBuf,
    /// Dom0's kernel, uncompressed.
    pub(crate) kernel: PathBuf,
    /// What the initramfs loads: the files, and `order`. A kernel of ours has all built in.
    pub(crate) modules: Option<PathBuf>,
    pub(crate) guest: GuestKernel,
    image: String,
    /// The versions of all Debian packages in the image.
    packages: PathBuf,
}

/// What the Linux guests of /guests run.
#[derive(Debug)]
pub(crate) struct GuestKernel {
    /// In the place of Debian's, which is in the image.
    pub(crate) kernel: Option<PathBuf>,
    /// The modules that it needs for its devices.
    pub(crate) modules: Option<PathBuf>,
}

impl Boot {
    /// What this host boots, built now if this machine has none yet.
    pub(crate) fn of(host: &Options) -> Result<Self> {
        ensure!(
            !host.debug_kernel || host.plane == Plane::Noxs,
            "--debug-kernel is for --plane noxs: Debian has no such kernel"
        );
        let image = image::get()?;
        if let Some(warning) = old(&image.packages(), SystemTime::now())? {
            eprintln!("lab: {warning}");
        }
        Ok(match host.plane {
            Plane::Xenstore => Boot::debian(&image, host.tinyx)?,
            Plane::Noxs => {
                Boot::patched(&image, if host.debug_kernel { Kernel::Debug } else { Kernel::Host })?
            }
        })
    }

    fn debian(image: &Image, tinyx: bool) -> Result<Self> {
        let kernel = if tinyx { Some(built::kernel(Kernel::Tinyx)?) } else { None };
        Ok(Boot {
            plane: Plane::Xenstore,
            disk: image.disk(),
            xen: image.xen(),
            kernel: image.vmlinux(),
            modules: Some(image.modules()),
            // The modules are for Debian's own, which is there as linux-vmlinuz in any case.
            guest: GuestKernel { kernel, modules: Some(image.guest_modules()) },
            image: image.id(),
            packages: image.packages(),
        })
    }

    fn patched(image: &Image, kernel: Kernel) -> Result<Self> {
        Ok(Boot {
            plane: Plane::Noxs,
            disk: image.disk(),
            xen: built::hypervisor()?,
            kernel: built::kernel(kernel)?,
            modules: None,
            guest: GuestKernel { kernel: Some(built::kernel(Kernel::Tinyx)?), modules: None },
            image: image.id(),
            packages: image.packages(),
        })
    }

    /// Adds to `key` what makes one host behave unlike another.
    pub(super) fn add_to(&self, key: &mut Key) -> Result<()> {
        key.add("image", &self.image);
        key.add("packages", fs::read(&self.packages)?);
        let of_plane: &[&Path] = match self.plane {
            // Both are in the image.
            Plane::Xenstore => &[],
            Plane::Noxs => &[&self.xen, &self.kernel],
        };
        of_plane.iter().try_for_each(|path| {
            key.add("boots", fs::read(path)?);
            Ok(())
        })
    }
}

/// What to say of an image whose list of packages is `packages`, if newer ones are to be expected.
/// An image is made once: Debian's updates do not get into it by themselves.
fn old(packages: &Path, now: SystemTime) -> Result<Option<String>> {
    const DAY: u64 = 24 * 60 * 60;
    const DAYS: u64 = 30;
    let made = fs::metadata(packages)
        .and_then(|meta| meta.modified())
        .with_context(|| format!("cannot read {}", packages.display()))?;
    let days = now.duration_since(made).unwrap_or_default().as_secs() / DAY;
    let folder = packages.parent().unwrap_or(packages).display();
    Ok((days > DAYS).then(|| {
        format!("the image of Debian is {days} days old; without {folder} a new one is made")
    }))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::old;

    #[test]
    fn an_old_image_is_said_to_be_old() {
        let dir = tempfile::tempdir().unwrap();
        let packages = dir.path().join("packages");
        std::fs::write(&packages, "").unwrap();
        let after = |days: u64| SystemTime::now() + Duration::from_secs(days * 24 * 60 * 60);
        assert_eq!(old(&packages, after(29)).unwrap(), None);
        assert!(old(&packages, after(40)).unwrap().unwrap().contains("40 days old"));
        // A clock that was set back is no age.
        assert_eq!(old(&packages, SystemTime::UNIX_EPOCH).unwrap(), None);
    }
}
