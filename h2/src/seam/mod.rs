//! The seam below which there is Xen: the few operations of the hypervisor, of xenstored and of the
//! kernel's NoXS backend that `h2` uses, as small traits.
//!
//! In production they are implemented by this crate's `raw` module over libxenctrl and libxenguest,
//! and by its `store` module over xenstored's protocol. A test may put something else below
//! [`Options::over`](crate::Options::over) to make the Nth operation of a create fail and
//! to see that nothing leaks. What such a fake answers is never a measurement.
//!
//! Each method is one call of the C library or one request of xs_wire.h, named in its
//! documentation, and reports a failure as a [`CallError`].

#![allow(clippy::missing_errors_doc)] // Every method fails as the call that it names does.

mod noxs;

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use ::noxs::device::Class;

use crate::config::{GuestType, TscMode};
use crate::error::CallError;
use crate::host::{HostInfo, Scheduler, SchedulerParams};
use crate::id::{DomId, Gfn, KiB, MiB, Port};
use crate::info::DomainInfo;

pub use self::noxs::{
    NoxsChange, NoxsDevice, NoxsListed, NoxsName, NoxsNews, NoxsNode, NoxsPage, NoxsRead, NoxsSlot,
    NoxsWatch, NoxsWhich,
};

/// What a new domain is to be: the argument of `XEN_DOMCTL_createdomain`.
#[derive(Debug, Clone)]
pub struct NewDomain {
    /// The 16 bytes that Xen keeps for the toolstack, by convention the guest's UUID.
    pub handle: [u8; 16],
    /// PV or PVH.
    pub guest_type: GuestType,
    /// How many vcpus it may ever have.
    pub vcpus: u32,
    /// The highest event channel port.
    pub max_event_channels: u32,
    /// Grant table frames; `None` leaves the hypervisor's default.
    pub max_grant_frames: Option<u32>,
    /// The highest grant table version: 2 where the host can, else 1.
    pub grant_version: u32,
}

/// The ports of a new guest's two rings, and who sits at their other ends.
#[derive(Debug, Clone, Copy)]
pub struct Rings {
    /// The guest's event channel to xenstored; port 0 for a guest without a Xenstore.
    pub store_port: Port,
    /// The domain that xenstored runs in.
    pub store_domain: DomId,
    /// The guest's event channel to the console daemon.
    pub console_port: Port,
    /// The domain that the console daemon runs in.
    pub console_domain: DomId,
}

/// What the image builder must know to populate a domain.
#[derive(Debug, Clone)]
pub struct BuildParams {
    /// PV or PVH.
    pub guest_type: GuestType,
    /// How many vcpus the guest starts with.
    pub vcpus: u32,
    /// Memory that the guest starts with.
    pub memory: MiB,
    /// Memory that it may grow to.
    pub max_memory: MiB,
    /// Its console and store rings.
    pub rings: Rings,
}

/// What a guest boots.
#[derive(Debug, Clone, Copy)]
pub struct Images<'a> {
    /// An uncompressed ELF image.
    pub kernel: &'a [u8],
    /// A ramdisk, as it is in its file.
    pub ramdisk: Option<&'a [u8]>,
    /// The kernel's command line.
    pub cmdline: &'a str,
    /// Whether the kernel looks for the ACPI tables of a PVH guest only where a PC's firmware has
    /// them.
    pub low_rsdp: bool,
}

/// Where the console and store rings of a built guest lie: machine frames for PV, guest frames for
/// PVH.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingFrames {
    /// The frame of the store ring.
    pub store: Gfn,
    /// The frame of the console ring.
    pub console: Gfn,
}

/// The HVM parameters that are of use for a PVH guest (`HVM_PARAM_*` of
/// xen/include/public/hvm/params.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HvmParam {
    /// How timer ticks that a descheduled vcpu missed are delivered.
    TimerMode,
    /// The guest frame of the console ring.
    ConsoleFrame,
    /// Why a domain counts as ended after a triple fault: `SHUTDOWN_*` of sched.h.
    TripleFaultReason,
}

/// The operations of the hypervisor.
pub trait Hypercalls: fmt::Debug {
    /// What the host is: `xc_version`, `xc_physinfo` and `xc_sched_id`.
    fn host_info(&self) -> Result<HostInfo, CallError>;
    /// Memory that no domain has (`xc_physinfo`).
    fn free_memory(&self) -> Result<KiB, CallError>;
    /// Creates a paused domain without memory (`xc_domain_create`).
    fn create_domain(&self, new: &NewDomain) -> Result<DomId, CallError>;
    /// Destroys a domain and frees its memory (`xc_domain_destroy`).
    fn destroy_domain(&self, domain: DomId) -> Result<(), CallError>;
    /// Replaces the handle (`xc_domain_sethandle`).
    fn set_handle(&self, domain: DomId, handle: &[u8; 16]) -> Result<(), CallError>;
    /// Pauses all vcpus (`xc_domain_pause`); pauses count.
    fn pause(&self, domain: DomId) -> Result<(), CallError>;
    /// Takes one pause back (`xc_domain_unpause`).
    fn unpause(&self, domain: DomId) -> Result<(), CallError>;
    /// Allocates the vcpus (`xc_domain_max_vcpus`).
    fn set_vcpus(&self, domain: DomId, vcpus: u32) -> Result<(), CallError>;
    /// Limits the domain's memory (`xc_domain_setmaxmem`).
    fn set_max_memory(&self, domain: DomId, limit: KiB) -> Result<(), CallError>;
    /// Limits the memory map that a PV guest is told of (`xc_domain_set_memmap_limit`).
    fn set_memory_map_limit(&self, domain: DomId, limit: KiB) -> Result<(), CallError>;
    /// How the guest's time stamp counter behaves (`xc_domain_set_tsc_info`).
    fn set_tsc_mode(&self, domain: DomId, mode: TscMode) -> Result<(), CallError>;
    /// Memory for the nested page tables of a PVH guest (`xc_set_paging_mempool_size`), in bytes.
    fn set_paging_pool(&self, domain: DomId, bytes: u64) -> Result<(), CallError>;
    /// Gives the domain the host's default CPUID policy (`xc_cpuid_apply_policy`).
    fn set_cpuid_policy(&self, domain: DomId) -> Result<(), CallError>;
    /// Allocates a port in `domain` that `remote` may bind (`xc_evtchn_alloc_unbound`).
    fn alloc_unbound(&self, domain: DomId, remote: DomId) -> Result<Port, CallError>;
    /// Sets a vcpu's hard affinity to these physical CPUs (`xc_vcpu_setaffinity`).
    fn set_affinity(&self, domain: DomId, vcpu: u32, cpus: &[u32]) -> Result<(), CallError>;
    /// Reads a vcpu's hard affinity (`xc_vcpu_getaffinity`).
    fn affinity(&self, domain: DomId, vcpu: u32) -> Result<Vec<u32>, CallError>;
    /// Reads weight and cap (`xc_sched_credit2_domain_get` or `xc_sched_credit_domain_get`).
    fn scheduler_params(
        &self,
        scheduler: Scheduler,
        domain: DomId,
    ) -> Result<SchedulerParams, CallError>;
    /// Sets weight and cap (`xc_sched_credit2_domain_set` or `xc_sched_credit_domain_set`).
    fn set_scheduler_params(
        &self,
        scheduler: Scheduler,
        domain: DomId,
        params: SchedulerParams,
    ) -> Result<(), CallError>;
    /// Domains with an id of at least `first`, at most `max` of them, in the order of their ids
    /// (`xc_domain_getinfolist`).
    fn domains(&self, first: DomId, max: usize) -> Result<Vec<DomainInfo>, CallError>;
    /// Starts to build a guest in a domain (`xc_dom_allocate`, `xc_dom_boot_xen_init`).
    fn builder(&self, domain: DomId, params: &BuildParams) -> Result<Box<dyn Builder>, CallError>;
    /// Reads the last output in a guest's console ring, and takes nothing from it
    /// (`xenforeignmemory_map`).
    fn console_ring(&self, domain: DomId, frame: Gfn) -> Result<Vec<u8>, CallError>;
    /// Reads an HVM parameter (`xc_hvm_param_get`).
    fn hvm_param(&self, domain: DomId, param: HvmParam) -> Result<u64, CallError>;
    /// Sets an HVM parameter (`xc_hvm_param_set`).
    fn set_hvm_param(&self, domain: DomId, param: HvmParam, value: u64) -> Result<(), CallError>;
    /// The NoXS ABI that the hypervisor speaks; `None` if it has no NoXS (`XENMEM_noxs_op`, query).
    fn noxs_abi(&self) -> Result<Option<u32>, CallError>;
    /// Adds a device to a guest's device page, and tells the guest (`XEN_DOMCTL_noxs_op`, add).
    fn noxs_add(&self, domain: DomId, device: &NoxsDevice) -> Result<(), CallError>;
    /// Removes the device with this class, id and backend (`XEN_DOMCTL_noxs_op`, remove).
    fn noxs_remove(
        &self,
        domain: DomId,
        class: Class,
        id: u32,
        backend: DomId,
    ) -> Result<(), CallError>;
    /// What is in a guest's device page (`XEN_DOMCTL_noxs_op`, list).
    fn noxs_page(&self, domain: DomId) -> Result<NoxsPage, CallError>;
}

/// One guest on its way to its first instruction, over libxenguest's image builder: first
/// [`populate`](Self::populate), then [`boot`](Self::boot), once each.
pub trait Builder: fmt::Debug {
    /// Gives the guest its memory (`xc_dom_mem_init`, `xc_dom_boot_mem_init`).
    fn populate(&mut self) -> Result<(), CallError>;
    /// Writes images, page tables and start information into the guest (`xc_dom_kernel_mem`,
    /// `xc_dom_module_mem`, `xc_dom_parse_image`, `xc_dom_build_image`, `xc_dom_boot_image`),
    /// and grants its two rings to the daemons (`xc_dom_gnttab_init`).
    fn boot(&mut self, images: &Images<'_>) -> Result<RingFrames, CallError>;
    /// Bytes of images and tables that were written into the guest so far.
    fn bytes_copied(&self) -> u64;
}

/// Who may do what with a Xenstore node: one entry of its list, in xenstored's own letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodePermission {
    /// The domain that it is about; the first entry of a list names the owner.
    pub domain: DomId,
    /// May read.
    pub read: bool,
    /// May write.
    pub write: bool,
}

/// A change to Xenstore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreChange {
    /// `XS_WRITE`: sets a node's value, makes it and its parents where missing.
    Write {
        /// The node.
        path: String,
        /// Its value.
        value: String,
    },
    /// `XS_MKDIR`: makes an empty node unless it is there.
    Mkdir {
        /// The node.
        path: String,
    },
    /// `XS_RM`: removes a node and all below it; one that is not there is no failure.
    Remove {
        /// The node.
        path: String,
    },
    /// `XS_SET_PERMS`: replaces a node's permissions.
    SetPermissions {
        /// The node.
        path: String,
        /// Who may do what; the first entry names the owner.
        permissions: Vec<NodePermission>,
    },
}

/// The operations of xenstored. Failures carry xenstored's errno; a node that is not there is
/// `None`, not a failure.
pub trait StoreCalls: fmt::Debug {
    /// The value of a node (`XS_READ`).
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>>;
    /// Sets a node's value, makes it and its parents where missing (`XS_WRITE`).
    fn write(&self, path: &str, value: &str) -> io::Result<()>;
    /// Makes an empty node unless it is there (`XS_MKDIR`).
    fn mkdir(&self, path: &str) -> io::Result<()>;
    /// Removes a node and all below it; one that is not there is no failure (`XS_RM`).
    fn remove(&self, path: &str) -> io::Result<()>;
    /// The names of a node's children (`XS_DIRECTORY`; `XS_DIRECTORY_PART` where they are more than
    /// a message holds).
    fn directory(&self, path: &str) -> io::Result<Option<Vec<String>>>;
    /// Replaces a node's permissions (`XS_SET_PERMS`).
    fn set_permissions(&self, path: &str, permissions: &[NodePermission]) -> io::Result<()>;
    /// Makes changes in their order. A failure comes with the index of the first change that
    /// failed; those behind it may have been made all the same.
    ///
    /// # Errors
    /// As the single operations.
    fn change(&self, changes: &[StoreChange]) -> Result<(), (usize, io::Error)> {
        for (index, change) in changes.iter().enumerate() {
            let result = match change {
                StoreChange::Write { path, value } => self.write(path, value),
                StoreChange::Mkdir { path } => self.mkdir(path),
                StoreChange::Remove { path } => self.remove(path),
                StoreChange::SetPermissions { path, permissions } => {
                    self.set_permissions(path, permissions)
                }
            };
            result.map_err(|error| (index, error))?;
        }
        Ok(())
    }
    /// Tells xenstored of a new guest's ring (`XS_INTRODUCE`).
    fn introduce(&self, domain: DomId, frame: Gfn, port: Port) -> io::Result<()>;
    /// Whether xenstored knows the guest's ring (`XS_IS_DOMAIN_INTRODUCED`).
    fn is_introduced(&self, domain: DomId) -> io::Result<bool>;
    /// Asks for an event whenever `path` or something below it changes (`XS_WATCH`).
    fn watch(&self, path: &str, token: &str) -> io::Result<()>;
    /// Takes a watch back (`XS_UNWATCH`).
    fn unwatch(&self, path: &str, token: &str) -> io::Result<()>;
    /// The next watch event as (path, token), or `None` after `timeout` (`XS_WATCH_EVENT`).
    fn next_event(&self, timeout: Duration) -> io::Result<Option<(String, String)>>;
    /// Opens a new connection in the place of a broken one.
    fn reconnect(&self) -> io::Result<()>;
    /// A duplicate of what becomes readable when an event has come, for poll(2).
    fn descriptor(&self) -> io::Result<OwnedFd> {
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }
}
