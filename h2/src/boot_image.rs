//! What a guest boots: a kernel and perhaps a ramdisk, read and checked before anything is made for
//! the guest.

use crate::config::GuestConfig;
use crate::error::CreateError;
use crate::image::{ImageError, KernelImage, Ramdisk};
use crate::seam::Images;

/// A kernel and a ramdisk in memory, fit for a type of guest. One may boot many guests.
#[derive(Debug)]
pub struct BootImage {
    kernel: KernelImage,
    ramdisk: Option<Ramdisk>,
}

impl BootImage {
    /// Reads the images that a configuration names.
    ///
    /// # Errors
    /// [`ImageError`] if one cannot be read, is no kernel for Xen, is none for the configuration's
    /// type of guest, or if both do not fit into its memory.
    pub fn open(config: &GuestConfig) -> Result<Self, ImageError> {
        let kernel = KernelImage::open(&config.kernel, config.guest_type)?;
        let ramdisk = config.ramdisk.as_ref().map(Ramdisk::open).transpose()?;
        kernel.check_memory(config.memory, ramdisk.as_ref())?;
        Ok(Self { kernel, ramdisk })
    }

    /// Whether these images, which were perhaps opened for another configuration, can boot this
    /// one's guest.
    pub(crate) fn fits(&self, config: &GuestConfig) -> Result<(), CreateError> {
        let (image, guest) = (self.kernel.guest_type(), config.guest_type);
        if image != guest {
            let problem =
                format!("the kernel was opened for a {image} guest, and this one is {guest}");
            return Err(CreateError::Unsupported { key: "type", problem });
        }
        Ok(self.kernel.check_memory(config.memory, self.ramdisk.as_ref())?)
    }

    /// Both in the form that the image builder takes.
    pub(crate) fn images<'a>(&'a self, cmdline: &'a str) -> Images<'a> {
        Images {
            kernel: self.kernel.bytes(),
            ramdisk: self.ramdisk.as_ref().map(Ramdisk::bytes),
            cmdline,
            low_rsdp: self.kernel.notes().needs_low_rsdp(),
        }
    }
}
