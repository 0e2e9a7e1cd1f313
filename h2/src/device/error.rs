//! What can go wrong with a device.

use std::time::Duration;

use super::DeviceId;
use crate::error::ErrorKind;
use crate::id::DomId;

/// Why a device cannot be made, attached or detached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// Something that it needs on this host is missing or of the wrong kind. Found before anything
    /// was made.
    #[error("{device}: {problem}")]
    Unusable {
        /// The device.
        device: DeviceId,
        /// What was found, and what would be right.
        problem: String,
    },
    /// The guest has such a device.
    #[error("domain {domain} already has {device}")]
    Exists {
        /// The guest.
        domain: DomId,
        /// The device.
        device: DeviceId,
    },
    /// The guest has no such device.
    #[error("domain {domain} has no {device}")]
    Missing {
        /// The guest.
        domain: DomId,
        /// The device.
        device: DeviceId,
    },
    /// The hotplug agent (xendevd) has refused it.
    #[error("{device} of domain {domain} was refused by the hotplug agent: {reason}")]
    Hotplug {
        /// The guest.
        domain: DomId,
        /// The device.
        device: DeviceId,
        /// The agent's own words.
        reason: String,
    },
    /// The backend's driver has closed it.
    #[error("{device} of domain {domain} was closed by its backend: {reason}")]
    Closed {
        /// The guest.
        domain: DomId,
        /// The device.
        device: DeviceId,
        /// The driver's own words.
        reason: String,
    },
    /// The backend's driver or the hotplug agent has not answered in time.
    #[error(
        "{device} of domain {domain} was not ready within {} s: {missing}",
        timeout.as_secs_f32()
    )]
    NotReady {
        /// The guest.
        domain: DomId,
        /// The device.
        device: DeviceId,
        /// How long it was waited for.
        timeout: Duration,
        /// Who has not answered, and where to look.
        missing: String,
    },
    /// The guest has not connected its end in time. The device stays.
    #[error("domain {domain} has not connected {device} within {} s", timeout.as_secs_f32())]
    NotConnected {
        /// The guest.
        domain: DomId,
        /// The device.
        device: DeviceId,
        /// How long it was waited for.
        timeout: Duration,
    },
    /// The guest was asked to let go of it and has not in time. The device stays.
    #[error(
        "domain {domain} has not let go of {device} within {} s; it can be taken away by force",
        timeout.as_secs_f32()
    )]
    NotReleased {
        /// The guest.
        domain: DomId,
        /// The device.
        device: DeviceId,
        /// How long it was waited for.
        timeout: Duration,
    },
}

impl DeviceError {
    /// An interface's address belongs to another one of the same guest.
    pub(crate) fn mac_taken(device: DeviceId, mac: &str, other: u32, domain: DomId) -> Self {
        let problem =
            format!("{mac} is the address of vif {other} of domain {domain}; give another");
        Self::Unusable { device, problem }
    }

    /// What a caller would do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Unusable { .. } => ErrorKind::Input,
            Self::Exists { .. } => ErrorKind::InUse,
            Self::Missing { .. } => ErrorKind::NotFound,
            Self::Hotplug { .. } | Self::Closed { .. } => ErrorKind::Failed,
            Self::NotReady { .. } => ErrorKind::NoDaemon,
            Self::NotConnected { .. } | Self::NotReleased { .. } => ErrorKind::GuestDidNotReact,
        }
    }
}
