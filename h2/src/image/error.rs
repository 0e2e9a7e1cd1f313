//! What can be wrong with a kernel image or a ramdisk.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::Compression;
use crate::config::GuestType;
use crate::id::MiB;

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// The kernel image.
    Kernel,
    /// The initial ramdisk.
    Ramdisk,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Kernel => "kernel",
            Role::Ramdisk => "ramdisk",
        })
    }
}

/// Why a kernel image or a ramdisk cannot be used: the file, what it is for, and what is wrong.
#[derive(Debug, thiserror::Error)]
#[error("{role} {}: {problem}", path.display())]
#[non_exhaustive]
pub struct ImageError {
    /// What the file is for.
    pub role: Role,
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it. Its own source, if any, is the error's source.
    pub problem: ImageProblem,
}

impl ImageError {
    /// The system's own error, where there is one.
    #[must_use]
    pub fn io(&self) -> Option<&io::Error> {
        match &self.problem {
            ImageProblem::Unreadable(error) | ImageProblem::Damaged(_, error) => Some(error),
            _ => None,
        }
    }
}

/// What is wrong with an image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageProblem {
    /// The path leads nowhere.
    #[error("there is no such file")]
    Missing,
    /// The system refuses to open or read it, for example for want of permission.
    #[error("it cannot be read: {0}")]
    Unreadable(io::Error),
    /// It is a folder.
    #[error("it is a folder")]
    Folder,
    /// It is a device, a socket or a pipe.
    #[error("it is no ordinary file")]
    Special,
    /// It has no bytes.
    #[error("it is empty")]
    Empty,
    /// It is larger than an image can be.
    #[error("{size} bytes are too many; the limit is {limit}")]
    TooLarge {
        /// Its size in bytes.
        size: u64,
        /// The most that is read, in bytes.
        limit: u64,
    },
    /// It ends before what its headers announce.
    #[error("it is cut off: {actual} bytes of the {expected} that its headers announce")]
    Truncated {
        /// The size that the headers announce, in bytes.
        expected: u64,
        /// The size that it has, in bytes.
        actual: u64,
    },
    /// It is neither an ELF image nor a Linux bzImage.
    #[error("it is no ELF image and no Linux bzImage; it looks like {0}")]
    NotAKernel(String),
    /// What is compressed in it is no ELF image.
    #[error("it holds no ELF image but, compressed with {0}, what looks like {1}")]
    NotAKernelInside(Compression, String),
    /// It is an ELF file, but not one that can be started.
    #[error("it is {0} and not an executable ELF image")]
    NotExecutable(&'static str),
    /// It is a 32-bit image for a PV guest.
    #[error("it is a 32-bit ELF image; 32-bit PV guests are not supported")]
    Bits32,
    /// It is for another processor.
    #[error("it is an ELF image for {0}, not for x86-64")]
    OtherMachine(String),
    /// Its ELF headers contradict themselves.
    #[error("its ELF headers are damaged: {0}")]
    BadElf(String),
    /// No part of it is to be loaded.
    #[error("it has no segment to load")]
    NothingToLoad,
    /// It was not built for Xen.
    #[error("it is no Xen guest's kernel: it has no Xen notes")]
    NoXenNotes,
    /// It describes itself in the section that notes replaced in 2006.
    #[error("it has a __xen_guest section in place of Xen notes, which is not supported")]
    LegacyGuestSection,
    /// It has Xen notes, but not what a PV guest needs.
    #[error("it is no PV kernel: {0}")]
    NotPv(String),
    /// It has Xen notes, but no entry point for PVH.
    #[error("it has no PVH entry point: the Xen note PHYS32_ENTRY is missing")]
    NoPvhEntry,
    /// It asks for what guests do not get.
    #[error("it requires the Xen feature {0}, which no guest has")]
    RequiredFeature(String),
    /// Its entry point is not in what is loaded.
    #[error(
        "its {kind} entry point {entry:#x} is outside of what is loaded, {start:#x} to {end:#x}"
    )]
    EntryOutside {
        /// The type of guest whose entry point that is.
        kind: GuestType,
        /// The entry point's address.
        entry: u64,
        /// The first address.
        start: u64,
        /// The address behind the last.
        end: u64,
    },
    /// Its addresses contradict each other.
    #[error("its Xen notes are damaged: {0}")]
    BadNotes(&'static str),
    /// Its compressed part cannot be uncompressed.
    #[error("its {0} data is damaged: {1}")]
    Damaged(Compression, io::Error),
    /// It is compressed in a way that we cannot undo.
    #[error(
        "it is compressed with {0}, which is not supported; gzip, xz, zstd, lz4 (legacy) and lzma \
         are"
    )]
    UnsupportedCompression(&'static str),
    /// It becomes larger than an image can be.
    #[error("it is larger than {limit} bytes when uncompressed")]
    TooLargeInside {
        /// The most that is uncompressed, in bytes.
        limit: u64,
    },
    /// It is a Linux image of before 2008.
    #[error("it is a Linux image of boot protocol {major}.{minor:02}; 2.08 or newer is needed")]
    OldBootProtocol {
        /// The protocol's major number.
        major: u8,
        /// The protocol's minor number.
        minor: u8,
    },
    /// It does not fit into the guest.
    #[error("it needs {needed} at least, and the guest has {memory}")]
    MemoryTooSmall {
        /// The least that holds the kernel where it wants to be and the ramdisk.
        needed: MiB,
        /// What the guest has.
        memory: MiB,
    },
}
