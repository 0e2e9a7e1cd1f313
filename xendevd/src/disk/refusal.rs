//! Why a disk is not served. Each text completes "vbd 51712 of domain 5: ", and says what its user
//! can do.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::format::ImageFormat;

/// Why a disk is not served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// There is nothing of that name.
    #[error("there is no file {}", .0.display())]
    Missing(PathBuf),
    /// This daemon may not use it.
    #[error(
        "no permission to open {} for {}",
        path.display(),
        if *write { "writing" } else { "reading" }
    )]
    Permission {
        /// The file.
        path: PathBuf,
        /// Whether the guest is to write.
        write: bool,
    },
    /// It cannot be written, and the guest is to.
    #[error("{} can only be read, and the guest is to write to it; give it access r", .0.display())]
    ReadOnly(PathBuf),
    /// It is neither a file nor a block device.
    #[error("{} is a {kind}, neither a file nor a block device", path.display())]
    NoDisk {
        /// What it names.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// It has no bytes.
    #[error("{} is empty", .0.display())]
    Empty(PathBuf),
    /// It is not a raw disk.
    #[error("{} is a {format}, and only raw ones are served: {}", path.display(), format.hint())]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: ImageFormat,
    },
    /// The control domain itself uses it.
    #[error("{} is in use in this domain: {by}", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
        /// By what.
        by: String,
    },
    /// It changed between two looks.
    #[error("{} was replaced while it was opened", .0.display())]
    Replaced(PathBuf),
    /// It has not answered.
    #[error(
        "{} has not answered within {} s; is its disk or file server all right?",
        path.display(),
        limit.as_secs()
    )]
    Silent {
        /// The file.
        path: PathBuf,
        /// How long it was waited for.
        limit: Duration,
    },
    /// Nobody frees a loop device.
    #[error("no loop device for {}", path.display())]
    NoLoop {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Something else.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was done.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl Refusal {
    /// The error of opening `path`, in its own words where there are some.
    pub(super) fn opening(path: PathBuf, write: bool, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::NotFound => Self::Missing(path),
            io::ErrorKind::PermissionDenied => Self::Permission { path, write },
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly(path),
            _ => Self::Io { operation: "open", path, source },
        }
    }
}
