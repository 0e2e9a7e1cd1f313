//! Kernel images and ramdisks: read once, uncompressed, and checked before a domain is made.
//!
//! [`KernelImage`] is an ELF image in memory with what its headers and Xen notes say
//! ([`XenNotes`]); whatever wrapping the file had (a Linux bzImage, a [`Compression`]) is gone. So
//! libxenguest only ever sees a plain ELF image that has passed the checks it would make itself,
//! and a mistake has a message with the path in it. [`Ramdisk`] is a file's content.
//!
//! The bytes of a kernel are as untrusted as whoever may name one: every offset is checked, what is
//! uncompressed is bounded, and the property tests feed the parsers with damaged images.

mod bytes;
mod bzimage;
mod compression;
mod elf;
mod error;
mod file;
mod guess;
mod notes;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};

pub use self::compression::Compression;
pub use self::error::{ImageError, ImageProblem, Role};
pub use self::notes::XenNotes;
use crate::config::GuestType;
use crate::id::MiB;

/// The largest kernel, as a file and when uncompressed, in bytes.
const MAX_KERNEL: u64 = 512 << 20;
/// The largest ramdisk, in bytes: its size is a 32-bit number to some guests.
const MAX_RAMDISK: u64 = u32::MAX as u64;

/// A kernel that a guest of one type can start from: a plain ELF image in memory.
#[derive(Clone, PartialEq, Eq)]
pub struct KernelImage {
    path: PathBuf,
    guest_type: GuestType,
    compression: Option<Compression>,
    bytes: Vec<u8>,
    facts: elf::Facts,
}

impl KernelImage {
    /// Reads a kernel file: an ELF image, a compressed ELF image, or a Linux bzImage, of at most
    /// 512 MiB.
    ///
    /// # Errors
    /// [`ImageError`] with the path and the [`ImageProblem`].
    pub fn open(path: impl AsRef<Path>, guest_type: GuestType) -> Result<Self, ImageError> {
        let path = path.as_ref();
        let wrong = |problem| ImageError { role: Role::Kernel, path: path.to_owned(), problem };
        let bytes = file::read(path, MAX_KERNEL).map_err(wrong)?;
        Self::from_bytes(bytes, path, guest_type)
    }

    /// Takes the content of a kernel file; `path` only stands in messages.
    ///
    /// # Errors
    /// [`ImageError`] with the path and the [`ImageProblem`].
    pub fn from_bytes(
        bytes: Vec<u8>,
        path: impl Into<PathBuf>,
        guest_type: GuestType,
    ) -> Result<Self, ImageError> {
        let path = path.into();
        let parsed = unwrap(bytes, MAX_KERNEL).and_then(|(bytes, compression)| {
            let facts =
                elf::read(&bytes, guest_type).map_err(|problem| match (problem, compression) {
                    (ImageProblem::NotAKernel(looks), Some(how)) => {
                        ImageProblem::NotAKernelInside(how, looks)
                    }
                    (problem, _) => problem,
                })?;
            facts.check(guest_type)?;
            Ok((bytes, compression, facts))
        });
        match parsed {
            Ok((bytes, compression, facts)) => {
                Ok(Self { path, guest_type, compression, bytes, facts })
            }
            Err(problem) => Err(ImageError { role: Role::Kernel, path, problem }),
        }
    }

    /// The file that it was read from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The type of guest that it was checked for.
    #[must_use]
    pub fn guest_type(&self) -> GuestType {
        self.guest_type
    }

    /// How it was compressed in the file.
    #[must_use]
    pub fn compression(&self) -> Option<Compression> {
        self.compression
    }

    /// The ELF image.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What its Xen notes say.
    #[must_use]
    pub fn notes(&self) -> &XenNotes {
        &self.facts.notes
    }

    /// Where the guest starts: the virtual address for PV, the physical one for PVH.
    #[must_use]
    pub fn entry(&self) -> u64 {
        let note = match self.guest_type {
            GuestType::Pv => self.facts.notes.entry,
            GuestType::Pvh => self.facts.notes.phys32_entry,
        };
        note.unwrap_or(self.facts.elf_entry)
    }

    /// Bytes from the start of the guest's memory to the end of the loaded kernel, with what it
    /// leaves free before itself (16 MiB for an ordinary Linux) and its zeroed data.
    #[must_use]
    pub fn loaded_size(&self) -> u64 {
        self.facts.size_from_zero(self.guest_type)
    }

    /// Whether the guest's memory can hold this kernel and the ramdisk at all. What passes may
    /// still be too small to boot.
    ///
    /// # Errors
    /// [`ImageProblem::MemoryTooSmall`] with what would be the least.
    pub fn check_memory(&self, memory: MiB, ramdisk: Option<&Ramdisk>) -> Result<(), ImageError> {
        let ramdisk = ramdisk.map_or(0, |ramdisk| bytes::len(ramdisk.bytes()));
        let needed = MiB::from_bytes_up(self.loaded_size().saturating_add(ramdisk));
        if needed <= memory {
            return Ok(());
        }
        let problem = ImageProblem::MemoryTooSmall { needed, memory };
        Err(ImageError { role: Role::Kernel, path: self.path.clone(), problem })
    }
}

impl fmt::Debug for KernelImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KernelImage")
            .field("path", &self.path)
            .field("guest_type", &self.guest_type)
            .field("compression", &self.compression)
            .field("bytes", &self.bytes.len())
            .field("facts", &self.facts)
            .finish()
    }
}

/// Takes off what is around the ELF image.
fn unwrap(bytes: Vec<u8>, limit: u64) -> Result<(Vec<u8>, Option<Compression>), ImageProblem> {
    if bytes.is_empty() {
        return Err(ImageProblem::Empty);
    }
    if elf::is_elf(&bytes) {
        return Ok((bytes, None));
    }
    let payload = bzimage::payload(&bytes)?;
    match Compression::detect(payload.unwrap_or(&bytes))? {
        Some(compression) => {
            let inside = compression.uncompress(payload.unwrap_or(&bytes), limit)?;
            Ok((inside, Some(compression)))
        }
        // A bzImage may hold its kernel as it is.
        None => Ok((payload.map(<[u8]>::to_vec).unwrap_or(bytes), None)),
    }
}

/// An initial ramdisk in memory, as it is in its file.
#[derive(Clone, PartialEq, Eq)]
pub struct Ramdisk {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Ramdisk {
    /// Reads a file of less than 4 GiB.
    ///
    /// # Errors
    /// [`ImageError`] with the path and the [`ImageProblem`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ImageError> {
        let path = path.as_ref().to_owned();
        match file::read(&path, MAX_RAMDISK) {
            Ok(bytes) => Ok(Self { path, bytes }),
            Err(problem) => Err(ImageError { role: Role::Ramdisk, path, problem }),
        }
    }

    /// The file that it was read from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its content.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for Ramdisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ramdisk")
            .field("path", &self.path)
            .field("bytes", &self.bytes.len())
            .finish()
    }
}
