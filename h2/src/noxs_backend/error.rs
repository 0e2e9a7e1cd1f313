//! What can go wrong at the kernel's node.

use std::io;

use super::Name;

/// An operation on NoXS devices that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {}", subject(*device, detail.as_deref()))]
#[non_exhaustive]
pub struct NoxsError {
    /// What was tried: make, remove, read, ...
    pub operation: &'static str,
    /// The device.
    pub device: Option<Name>,
    /// What it was about, if not a device.
    pub detail: Option<String>,
    /// The kernel's errno.
    #[source]
    pub source: io::Error,
}

impl NoxsError {
    /// Whether the kernel gave this errno of <errno.h>.
    #[must_use]
    pub fn is(&self, errno: i32) -> bool {
        self.source.raw_os_error() == Some(errno)
    }
}

fn subject(device: Option<Name>, detail: Option<&str>) -> String {
    match (device, detail) {
        (Some(name), _) => format!("NoXS device {name}"),
        (None, Some(detail)) => detail.to_owned(),
        (None, None) => "NoXS devices".to_owned(),
    }
}
