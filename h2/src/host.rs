//! What the host is: versions, capabilities, CPUs, memory, scheduler.

use serde::Serialize;

use crate::id::KiB;

/// A snapshot of the host, from `XENVER_*`, `XEN_SYSCTL_physinfo` and `XEN_SYSCTL_sched_id`.
#[derive(Debug, Clone, Serialize)]
pub struct HostInfo {
    /// The hypervisor's version, such as "4.17.5".
    pub hypervisor_version: String,
    /// The version of the libxenctrl that this program was built with.
    pub library_version: &'static str,
    /// The guest types that the hypervisor can run, in its own words ("xen-3.0-x86_64",
    /// "hvm-3.0-x86_64", ...).
    pub capabilities: Vec<String>,
    /// The hypervisor's command line.
    pub command_line: String,
    /// Online physical CPUs.
    pub cpus: u32,
    /// The highest physical CPU id.
    pub max_cpu_id: u32,
    /// NUMA nodes.
    pub nodes: u32,
    /// Hardware threads of a core.
    pub threads_per_core: u32,
    /// Cores of a socket.
    pub cores_per_socket: u32,
    /// The CPUs' frequency in kHz.
    pub cpu_khz: u32,
    /// All memory of the host, in KiB.
    pub total_memory: KiB,
    /// Memory that no domain has, in KiB.
    pub free_memory: KiB,
    /// The part of the free memory that still has to be scrubbed before it is given out, in KiB.
    pub scrub_memory: KiB,
    /// The part of the free memory that is promised to domains, in KiB.
    pub outstanding_memory: KiB,
    /// Whether PV guests can run.
    pub pv: bool,
    /// Whether PVH guests can run: the CPUs have virtualisation and it is enabled.
    pub hvm: bool,
    /// Whether the CPUs have nested paging (hardware-assisted paging).
    pub hap: bool,
    /// The highest grant table version that guests can use.
    pub grant_version: u32,
    /// The scheduler of CPU pool 0.
    pub scheduler: Scheduler,
}

/// The hypervisor's schedulers (`XEN_SCHEDULER_*` of xen/include/public/domctl.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Scheduler {
    /// credit: proportional share, the default before Xen 4.12.
    Credit,
    /// credit2: proportional share, the default.
    Credit2,
    /// ARINC 653.
    Arinc653,
    /// Real time, deferrable server.
    Rtds,
    /// One vcpu a CPU.
    Null,
    /// One that this library does not know.
    Unknown,
}

/// A domain's share of the CPUs under the schedulers credit and credit2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SchedulerParams {
    /// Its weight against other domains: 1 to 65535, 256 where nothing was said.
    pub weight: u16,
    /// The most that it may use, in per cent of one CPU; 0 is no limit.
    pub cap: u16,
}
