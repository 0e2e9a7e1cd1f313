//! What a configuration asks for, against what the host has; and what a failed step means in terms
//! of the configuration.

use crate::config::{GuestConfig, GuestType};
use crate::error::{CallError, CreateError};
use crate::host::{HostInfo, Scheduler};
use crate::id::{DomId, KiB, MiB, PAGE_SIZE, Pages};
use crate::inner::Inner;
use crate::seam::Hypercalls;

fn unsupported(key: &'static str, problem: String) -> CreateError {
    CreateError::Unsupported { key, problem }
}

/// Refuses what this host cannot do, before anything is made.
pub(crate) fn check(host: &HostInfo, config: &GuestConfig) -> Result<(), CreateError> {
    match config.guest_type {
        GuestType::Pv if !host.pv => {
            return Err(unsupported(
                "type",
                "this hypervisor cannot run PV guests; give \"pvh\"".to_owned(),
            ));
        }
        GuestType::Pvh if !host.hvm => {
            let problem = "the host's CPUs have no virtualisation, or the firmware has it off: \
                           PVH guests cannot run; give \"pv\"";
            return Err(unsupported("type", problem.to_owned()));
        }
        _ => {}
    }
    for (vcpu, cpus) in config.vcpus.affinity() {
        if let Some(highest) = cpus.highest()
            && u32::from(highest) > host.max_cpu_id
        {
            let problem = format!(
                "vcpu {vcpu} is pinned to CPU {highest}, and the host's highest CPU is {}",
                host.max_cpu_id
            );
            return Err(unsupported("vcpus.cpumap", problem));
        }
    }
    let needs_weights = config.cpu_weight.is_some() || config.cpu_cap.is_some();
    if needs_weights && !matches!(host.scheduler, Scheduler::Credit | Scheduler::Credit2) {
        let problem =
            format!("the host's scheduler, {:?}, has no weights and caps", host.scheduler);
        return Err(unsupported("cpu_weight", problem));
    }
    Ok(())
}

/// What the host must have free for this guest: its memory, its page tables, and the slack of the
/// hypervisor's own structures, about 70 KiB for a small one.
fn needed(config: &GuestConfig, hap: bool) -> KiB {
    const OWN_STRUCTURES: u64 = 128;
    let pool =
        if config.guest_type == GuestType::Pvh { paging_pool(config, hap) / 1024 } else { 0 };
    KiB::new(config.memory_kib().get().saturating_add(pool).saturating_add(OWN_STRUCTURES))
}

/// Refuses a guest that does not fit, before anything is made.
pub(crate) fn check_memory(
    calls: &dyn Hypercalls,
    host: &HostInfo,
    config: &GuestConfig,
) -> Result<(), CreateError> {
    let free = calls.free_memory()?;
    let needed = needed(config, host.hap);
    if needed > free {
        return Err(CreateError::NoMemory {
            needed: needed.to_mib_up(),
            free: MiB::new(free.get() / 1024),
            source: None,
        });
    }
    Ok(())
}

/// A step that gives a guest memory has failed: say how much was missing if that is why.
pub(crate) fn explain_memory(
    calls: &dyn Hypercalls,
    host: &HostInfo,
    config: &GuestConfig,
    error: CallError,
) -> CreateError {
    // libxenguest loses errno on some of its ways out, so what is free now decides, too.
    let short =
        calls.free_memory().is_ok_and(|free| free.get() < needed(config, host.hap).get() / 2);
    if !error.is(libc::ENOMEM) && !short {
        return error.into();
    }
    let free = calls.free_memory().unwrap_or(KiB::new(0));
    CreateError::NoMemory {
        needed: needed(config, host.hap).to_mib_up(),
        free: MiB::new(free.get() / 1024),
        source: Some(error),
    }
}

/// Memory for a PVH guest's nested page tables, in bytes: 1 MiB a vcpu, a page for each MiB of
/// memory, and another one where the hypervisor shadows page tables. These are libxl's numbers
/// (libxl__get_required_paging_memory).
pub(crate) fn paging_pool(config: &GuestConfig, hap: bool) -> u64 {
    let mebibytes = config.maxmem_kib().to_mib_up().get();
    let pages_a_mebibyte = if hap { 1 } else { 2 };
    let pages = 256 * u64::from(config.vcpus.count()) + pages_a_mebibyte * mebibytes;
    Pages::new(pages).to_bytes().unwrap_or(pages.saturating_mul(PAGE_SIZE))
}

/// Gives the guest its share of the CPUs, if the configuration says one.
pub(crate) fn apply_scheduling(
    inner: &Inner,
    domain: DomId,
    config: &GuestConfig,
) -> Result<(), CreateError> {
    if config.cpu_weight.is_none() && config.cpu_cap.is_none() {
        return Ok(());
    }
    let scheduler = inner.host.scheduler;
    let mut params = inner.calls.scheduler_params(scheduler, domain)?;
    params.weight = config.cpu_weight.unwrap_or(params.weight);
    params.cap = config.cpu_cap.unwrap_or(params.cap);
    inner.calls.set_scheduler_params(scheduler, domain, params)?;
    Ok(())
}
