//! What a host boots: the disk is the same on both planes, the hypervisor and the kernels are not.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

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
        })
    }

    /// Adds to `key` what makes one host behave unlike another.
    pub(super) fn add_to(&self, key: &mut Key) -> Result<()> {
        key.add("image", &self.image);
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
