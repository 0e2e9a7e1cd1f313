//! The errors of this crate: one enum per operation whose callers branch, and [`ErrorKind`] for the
//! few distinctions that callers act on.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::ConfigError;
use crate::device::DeviceError;
use crate::id::{DomId, MiB};
use crate::image::ImageError;
use crate::noxs_backend::NoxsError;

/// A hypercall or a call of a Xen library that failed.
#[derive(Debug, thiserror::Error)]
#[error("{operation}{} failed{}", for_domain(*domain), in_brackets(detail.as_deref()))]
#[non_exhaustive]
pub struct CallError {
    /// The call, by the name that the C library gives it.
    pub operation: &'static str,
    /// The domain that it was about.
    pub domain: Option<DomId>,
    /// What the library had to say beyond errno.
    pub detail: Option<String>,
    /// errno.
    #[source]
    pub source: io::Error,
}

/// The domain of a failed call, as part of its message.
fn for_domain(domain: Option<DomId>) -> String {
    domain.map(|id| format!(" for domain {id}")).unwrap_or_default()
}

fn in_brackets(text: Option<&str>) -> String {
    text.map(|text| format!(" ({text})")).unwrap_or_default()
}

fn listed(ids: &[DomId]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl CallError {
    /// A failure of `operation` with `source` as the reason.
    #[must_use]
    pub fn new(operation: &'static str, domain: Option<DomId>, source: io::Error) -> Self {
        Self { operation, domain, detail: None, source }
    }

    /// Whether the call failed with this errno of <errno.h>.
    #[must_use]
    pub fn is(&self, errno: i32) -> bool {
        self.source.raw_os_error() == Some(errno)
    }
}

/// An operation on Xenstore that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} Xenstore node {path}")]
#[non_exhaustive]
pub struct StoreError {
    /// What was tried: read, write, remove, ...
    pub operation: &'static str,
    /// The node.
    pub path: String,
    /// xenstored's errno, or the connection's.
    #[source]
    pub source: io::Error,
}

/// Why the hypervisor, or one of its daemons, cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no hypervisor below this kernel.
    #[error(
        "this machine is not running under Xen (no /dev/xen/privcmd and no /proc/xen); boot the \
         Xen hypervisor first"
    )]
    NotXen,
    /// There is one, but its interface to the control domain is not there.
    #[error(
        "this is not a Xen control domain (dom0): /proc/xen/capabilities does not say control_d"
    )]
    NotControlDomain,
    /// There is one, and the caller may not use it.
    #[error("no permission to use the hypervisor ({path}); run as root")]
    Permission {
        /// The device that could not be opened.
        path: PathBuf,
    },
    /// The hypervisor speaks another interface version than the library.
    #[error(
        "libxenctrl {library} does not match the hypervisor, which is Xen {hypervisor}: it \
         refuses the library's interface \
         (sysctl version {sysctl:#x}, domctl version {domctl:#x}); install the Xen libraries of \
         the running hypervisor's version"
    )]
    VersionMismatch {
        /// The version of the library that this program was built with.
        library: &'static str,
        /// The version of the running hypervisor.
        hypervisor: String,
        /// The sysctl interface version that the library speaks.
        sysctl: u32,
        /// The domctl interface version that the library speaks.
        domctl: u32,
    },
    /// xenstored cannot be reached.
    #[error("xenstored does not answer: {reason}; is the daemon running (service xen status)?")]
    StoreNotAnswering {
        /// What was tried, and what came of it.
        reason: String,
    },
    /// The control domain's kernel has no NoXS.
    #[error(
        "this kernel has no NoXS: there is no /dev/xen/noxs_backend; boot the control domain with \
         the kernel of linux-patches/ \
         (CONFIG_XEN_NOXS_BACKEND), or give the guest \"dev_method\": \"xenstore\""
    )]
    NoNoxsKernel,
    /// The hypervisor has no NoXS.
    #[error(
        "this hypervisor (Xen {hypervisor}) has no NoXS: boot one that is built with xen-patches/ \
         (CONFIG_NOXS), or give the guest \
         \"dev_method\": \"xenstore\""
    )]
    NoNoxsHypervisor {
        /// The version of the running hypervisor.
        hypervisor: String,
    },
    /// Kernel or hypervisor speak another version of NoXS.
    #[error(
        "/dev/xen/noxs_backend speaks version {ioctls} and NoXS ABI {abi}, this program version \
         {} and ABI {}",
        noxs::ioctl::IOCTL_VERSION,
        noxs::ABI
    )]
    NoxsVersion {
        /// The version of the kernel's ioctls.
        ioctls: u32,
        /// The ABI of its control pages.
        abi: u32,
    },
    /// The kernel's NoXS node cannot be used.
    #[error(transparent)]
    Noxs(#[from] NoxsError),
    /// The directory that holds records of guests cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// Something else.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// A file under the state directory that could not be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {path}")]
#[non_exhaustive]
pub struct StateError {
    /// What was tried.
    pub operation: &'static str,
    /// The file.
    pub path: PathBuf,
    /// The reason.
    #[source]
    pub source: io::Error,
}

/// Why a guest was not created. Whatever had been made for it is undone.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// The configuration is wrong or asks for what this host does not have.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Kernel or ramdisk cannot be used.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The configuration asks for something that this host does not offer.
    #[error("key `{key}`: {problem}")]
    Unsupported {
        /// The configuration key.
        key: &'static str,
        /// What was asked for, and what the host has.
        problem: String,
    },
    /// The name belongs to another guest.
    #[error("the name {name:?} is in use by domain {domain}")]
    NameInUse {
        /// The name.
        name: String,
        /// Its owner.
        domain: DomId,
    },
    /// Another process is creating a guest with this name.
    #[error("the name {name:?} is in use by a guest that process {pid} is creating now")]
    NameReserved {
        /// The name.
        name: String,
        /// The process that is at it.
        pid: u32,
    },
    /// The UUID belongs to another guest.
    #[error("the UUID {uuid} is in use by the guest {name:?}")]
    UuidInUse {
        /// The UUID.
        uuid: uuid::Uuid,
        /// The name of its owner.
        name: String,
    },
    /// The host has too little free memory.
    #[error("not enough free memory on the host: the guest needs {needed}, and {free} are free")]
    NoMemory {
        /// What the configuration asks for.
        needed: MiB,
        /// What the host has.
        free: MiB,
        /// The call that failed, if it came to one.
        #[source]
        source: Option<CallError>,
    },
    /// A device could not be made.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The control plane is not available.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A hypercall failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A Xenstore operation failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An operation of the kernel's on a NoXS device failed.
    #[error(transparent)]
    Noxs(#[from] NoxsError),
    /// A record could not be written.
    #[error(transparent)]
    State(#[from] StateError),
}

/// Why an operation on an existing domain, or on the host, failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such domain.
    #[error("there is no domain {0}")]
    NoSuchDomain(String),
    /// More than one domain has this name.
    #[error("{} domains are named {name:?} (ids {}); give the id", ids.len(), listed(ids))]
    AmbiguousName {
        /// The name.
        name: String,
        /// The domains.
        ids: Vec<DomId>,
    },
    /// The name belongs to another domain.
    #[error("the name {name:?} is in use by domain {domain}")]
    NameInUse {
        /// The name.
        name: String,
        /// Its owner.
        domain: DomId,
    },
    /// The recorded configuration of a guest is damaged.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The guest was asked and did not react in time.
    #[error("the guest did not react to the {request} request within {} s", timeout.as_secs_f32())]
    GuestDidNotReact {
        /// poweroff, reboot, ...
        request: &'static str,
        /// How long it was waited for.
        timeout: Duration,
    },
    /// xenconsoled offers no terminal for the guest.
    #[error("xenconsoled has not offered a terminal for domain {domain} within {} s; is the \
             daemon running (service xen status)?", timeout.as_secs_f32())]
    NoTerminal {
        /// The guest.
        domain: DomId,
        /// How long it was waited for.
        timeout: Duration,
    },
    /// xendevd offers no console for the guest.
    #[error("xendevd has not offered the console of domain {domain} within {} s; is the daemon \
             running (systemctl status xendevd)?", timeout.as_secs_f32())]
    NoConsole {
        /// The guest.
        domain: DomId,
        /// How long it was waited for.
        timeout: Duration,
    },
    /// The guest was asked, and has answered that it does not do such things.
    #[error("the guest has refused the {request} request")]
    GuestRefused {
        /// poweroff, reboot, ...
        request: &'static str,
    },
    /// The operation did not end in time.
    #[error("{what} took longer than {} s", timeout.as_secs_f32())]
    Timeout {
        /// What was waited for.
        what: String,
        /// For how long.
        timeout: Duration,
    },
    /// The domain is not in a state in which this can be done.
    #[error("{0}")]
    WrongState(String),
    /// A value that the caller gave is out of bounds.
    #[error("{0}")]
    Invalid(String),
    /// A device could not be attached or detached.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The control plane is not available.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A hypercall failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A Xenstore operation failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An operation of the kernel's on a NoXS device failed.
    #[error(transparent)]
    Noxs(#[from] NoxsError),
    /// A record could not be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// A guest could not be created again.
    #[error(transparent)]
    Create(#[from] Box<CreateError>),
    /// A terminal, a pipe or a file of the caller's failed.
    #[error("{what}")]
    Io {
        /// What was done.
        what: String,
        /// The reason.
        #[source]
        source: io::Error,
    },
}

/// The few distinctions between failures that a caller acts on; the exit codes of `chaos` are made
/// from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The user's input is wrong: a configuration, an image, a value.
    Input,
    /// There is no Xen below, or not one that this library can use, or no permission.
    NoXen,
    /// A daemon does not answer.
    NoDaemon,
    /// No such domain, or it has no such device.
    NotFound,
    /// A name, or a device of a guest, is taken.
    InUse,
    /// The host has too little of something.
    NoResources,
    /// A guest did not do what it was asked in time.
    GuestDidNotReact,
    /// Something else failed.
    Failed,
}

impl OpenError {
    /// What a caller would do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::StoreNotAnswering { .. } => ErrorKind::NoDaemon,
            Self::State(_) | Self::Call(_) | Self::Noxs(_) => ErrorKind::Failed,
            Self::NotXen
            | Self::NotControlDomain
            | Self::Permission { .. }
            | Self::VersionMismatch { .. }
            | Self::NoNoxsKernel
            | Self::NoNoxsHypervisor { .. }
            | Self::NoxsVersion { .. } => ErrorKind::NoXen,
        }
    }
}

impl CreateError {
    /// What a caller would do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Config(_) | Self::Image(_) | Self::Unsupported { .. } => ErrorKind::Input,
            Self::NameInUse { .. } | Self::NameReserved { .. } | Self::UuidInUse { .. } => {
                ErrorKind::InUse
            }
            Self::NoMemory { .. } => ErrorKind::NoResources,
            Self::Device(error) => error.kind(),
            Self::Open(error) => error.kind(),
            Self::Call(_) | Self::Store(_) | Self::Noxs(_) | Self::State(_) => ErrorKind::Failed,
        }
    }
}

impl Error {
    /// What a caller would do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoSuchDomain(_) => ErrorKind::NotFound,
            Self::NoTerminal { .. } | Self::NoConsole { .. } => ErrorKind::NoDaemon,
            Self::AmbiguousName { .. } | Self::Invalid(_) => ErrorKind::Input,
            Self::NameInUse { .. } => ErrorKind::InUse,
            Self::GuestDidNotReact { .. } | Self::GuestRefused { .. } => {
                ErrorKind::GuestDidNotReact
            }
            Self::Device(error) => error.kind(),
            Self::Open(error) => error.kind(),
            Self::Create(error) => error.kind(),
            Self::Config(_)
            | Self::Timeout { .. }
            | Self::WrongState(_)
            | Self::Call(_)
            | Self::Store(_)
            | Self::Noxs(_)
            | Self::State(_)
            | Self::Io { .. } => ErrorKind::Failed,
        }
    }
}
