//! What Xen knows of a domain.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::id::{DomId, KiB};

/// A snapshot of a domain, from `XEN_DOMCTL_getdomaininfo`.
#[derive(Debug, Clone, Serialize)]
pub struct DomainInfo {
    /// The domain.
    pub id: DomId,
    /// What it does.
    pub state: DomainState,
    /// Whether and how its memory is virtualised.
    pub kind: DomainKind,
    /// The memory that it has, in KiB.
    pub memory: KiB,
    /// The memory that it may have, in KiB.
    pub max_memory: KiB,
    /// Online vcpus.
    pub vcpus: u32,
    /// Vcpus that were allocated.
    pub max_vcpus: u32,
    /// CPU time that all its vcpus have used.
    #[serde(skip)]
    pub cpu_time: Duration,
    /// The handle that the toolstack gave it: by convention the guest's UUID.
    pub handle: Uuid,
    /// The CPU pool that it runs in.
    pub cpu_pool: u32,
}

/// Where a domain runs: in ring 3 with its page tables checked by Xen, or in a hardware container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DomainKind {
    /// Paravirtualised.
    Pv,
    /// In a hardware container with the emulated devices of a PC (made by other toolstacks).
    Hvm,
    /// In a hardware container without emulated devices.
    Pvh,
}

impl DomainKind {
    /// The name that configurations use: "pv", "pvh" or "hvm".
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pv => "pv",
            Self::Hvm => "hvm",
            Self::Pvh => "pvh",
        }
    }
}

/// What a domain does at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DomainState {
    /// A vcpu runs on a CPU.
    Running,
    /// A vcpu is ready and waits for a CPU.
    Ready,
    /// All vcpus wait for an event.
    Blocked,
    /// Paused by the toolstack.
    Paused,
    /// It has ended; the domain still exists.
    Shutdown(ShutdownReason),
    /// It is being destroyed.
    Dying,
}

impl DomainState {
    /// One lower-case word: "running", "ready", "blocked", "paused", "shutdown", "crashed",
    /// "dying".
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Ready => "ready",
            Self::Blocked => "blocked",
            Self::Paused => "paused",
            Self::Shutdown(ShutdownReason::Crash) => "crashed",
            Self::Shutdown(_) => "shutdown",
            Self::Dying => "dying",
        }
    }
}

/// Why a guest ended (`SHUTDOWN_*` of xen/include/public/sched.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ShutdownReason {
    /// It powered itself off.
    PowerOff,
    /// It wants to be started again.
    Reboot,
    /// It is suspended, to be saved or migrated.
    Suspend,
    /// It crashed.
    Crash,
    /// Its watchdog expired.
    Watchdog,
    /// It wants to be started again in the same domain (kexec).
    SoftReset,
    /// A reason that this library does not know.
    Unknown(u32),
    /// Nobody knows: the domain was destroyed before the reason was read.
    Destroyed,
}

impl std::fmt::Display for ShutdownReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::PowerOff => f.write_str("poweroff"),
            Self::Reboot => f.write_str("reboot"),
            Self::Suspend => f.write_str("suspend"),
            Self::Crash => f.write_str("crash"),
            Self::Watchdog => f.write_str("watchdog"),
            Self::SoftReset => f.write_str("soft reset"),
            Self::Unknown(code) => write!(f, "unknown reason {code}"),
            Self::Destroyed => f.write_str("destroyed"),
        }
    }
}

impl DomainInfo {
    /// Why it ended, if it has.
    #[must_use]
    pub fn shutdown_reason(&self) -> Option<ShutdownReason> {
        match self.state {
            DomainState::Shutdown(reason) => Some(reason),
            _ => None,
        }
    }
}
