//! One domain of the fake host.

use std::collections::BTreeMap;
use std::time::Duration;

use h2::id::KiB;
use h2::seam::HvmParam;
use h2::{DomId, DomainInfo, DomainKind, DomainState, ShutdownReason};
use serde::{Deserialize, Serialize};

/// What a guest does when it finds a request in control/shutdown. It acts while its toolstack waits
/// for events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Reaction {
    /// Nothing: it has no driver for it, or hangs.
    #[default]
    Ignore,
    /// It says that it does not do such things; with Xenstore it cannot say so, and ignores it.
    Refuse,
    /// It takes the request and hangs after that.
    Acknowledge,
    /// It takes the request, and then ends as asked.
    Obey,
    /// It ends as asked without taking the request first.
    EndAtOnce,
    /// It crashes.
    Crash,
    /// Another tool destroys it in this moment, and removes its nodes.
    Vanish,
}

/// A domain as the fake hypervisor keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Guest {
    /// Whether it runs in a hardware container.
    pub pvh: bool,
    /// The 16 bytes that the toolstack gave it.
    pub handle: [u8; 16],
    /// How often it is paused; it runs at 0.
    pub pauses: u32,
    /// Vcpus that it may have.
    pub max_vcpus: u32,
    /// Vcpus that were allocated.
    pub vcpus: u32,
    /// The memory that it has.
    pub memory: KiB,
    /// The memory that it may have.
    pub memory_limit: KiB,
    /// Memory that the hypervisor holds for it beside: own structures, nested page tables.
    pub overhead: KiB,
    /// Nested page tables' part of it; a PVH guest cannot be populated without.
    pub paging_pool: KiB,
    /// Event channel ports that were allocated, 1 to this.
    pub ports: u32,
    /// The highest port that it may have.
    pub max_port: u32,
    /// HVM parameters that were set.
    pub params: BTreeMap<String, u64>,
    /// Vcpus that are pinned, and where.
    pub affinity: BTreeMap<u32, Vec<u32>>,
    /// Its weight in the scheduler.
    pub weight: u16,
    /// Its cap in the scheduler.
    pub cap: u16,
    /// Whether it has a kernel.
    pub built: bool,
    /// Whether it has a CPUID policy.
    pub has_cpuid: bool,
    /// Why it ended, as `SHUTDOWN_*` of xen/include/public/sched.h.
    pub ended: Option<u8>,
    /// Destroyed, but somebody still maps its memory.
    pub dying: bool,
    /// What it does when asked to end.
    pub reaction: Reaction,
    /// The request that it has taken.
    pub asked: Option<u8>,
}

impl Guest {
    /// Whether its vcpus run.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.pauses == 0 && self.ended.is_none() && !self.dying
    }

    /// An HVM parameter, if it was set.
    #[must_use]
    pub fn hvm_param(&self, param: HvmParam) -> Option<u64> {
        self.params.get(&format!("{param:?}")).copied()
    }

    pub(crate) fn info(&self, id: DomId) -> DomainInfo {
        let state = match self.ended {
            _ if self.dying => DomainState::Dying,
            Some(code) => DomainState::Shutdown(reason(code)),
            None if self.pauses > 0 => DomainState::Paused,
            None if id.is_dom0() => DomainState::Running,
            None => DomainState::Blocked,
        };
        DomainInfo {
            id,
            state,
            kind: if self.pvh { DomainKind::Pvh } else { DomainKind::Pv },
            memory: self.memory,
            max_memory: self.memory_limit,
            vcpus: self.vcpus,
            max_vcpus: self.max_vcpus,
            cpu_time: Duration::ZERO,
            handle: uuid_of(self.handle),
            cpu_pool: 0,
        }
    }
}

fn uuid_of(bytes: [u8; 16]) -> uuid::Uuid {
    uuid::Uuid::from_bytes(bytes)
}

fn reason(code: u8) -> ShutdownReason {
    match code {
        0 => ShutdownReason::PowerOff,
        1 => ShutdownReason::Reboot,
        2 => ShutdownReason::Suspend,
        3 => ShutdownReason::Crash,
        4 => ShutdownReason::Watchdog,
        5 => ShutdownReason::SoftReset,
        code => ShutdownReason::Unknown(u32::from(code)),
    }
}
