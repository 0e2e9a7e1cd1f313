//! Between the C structures of domctl.h and the types of this crate. No unsafe, no calls.

use std::io;
use std::time::Duration;

use h2_sys as sys;
use uuid::Uuid;

use crate::config::GuestType;
use crate::host::Scheduler;
use crate::id::{DomId, KiB, Pages};
use crate::info::{DomainInfo, DomainKind, DomainState, ShutdownReason};
use crate::seam::{HvmParam, NewDomain};

/// What the hypervisor reads as "your default".
const HYPERVISOR_DEFAULT: i32 = -1;

pub(super) fn createdomain(new: &NewDomain) -> sys::xen_domctl_createdomain {
    let mut config = sys::xen_domctl_createdomain {
        handle: new.handle,
        max_vcpus: new.vcpus,
        max_evtchn_port: new.max_event_channels,
        max_grant_frames: new
            .max_grant_frames
            .and_then(|frames| i32::try_from(frames).ok())
            .unwrap_or(HYPERVISOR_DEFAULT),
        max_maptrack_frames: HYPERVISOR_DEFAULT,
        grant_opts: new.grant_version & sys::XEN_DOMCTL_GRANT_version_mask,
        ..Default::default()
    };
    if new.guest_type == GuestType::Pvh {
        config.flags = sys::XEN_DOMCTL_CDF_hvm | sys::XEN_DOMCTL_CDF_hap;
        config.arch.emulation_flags = sys::XEN_X86_EMU_LAPIC;
    }
    config
}

/// Pages of 4 KiB, as an amount that people read.
pub(super) fn kib(pages: u64) -> KiB {
    Pages::new(pages).to_kib().unwrap_or(KiB::new(u64::MAX))
}

pub(super) fn hvm_param(param: HvmParam) -> u32 {
    match param {
        HvmParam::TimerMode => sys::HVM_PARAM_TIMER_MODE,
        HvmParam::ConsoleFrame => sys::HVM_PARAM_CONSOLE_PFN,
        HvmParam::TripleFaultReason => sys::HVM_PARAM_TRIPLE_FAULT_REASON,
    }
}

pub(super) fn scheduler(id: u32) -> Scheduler {
    match id {
        sys::XEN_SCHEDULER_CREDIT => Scheduler::Credit,
        sys::XEN_SCHEDULER_CREDIT2 => Scheduler::Credit2,
        sys::XEN_SCHEDULER_ARINC653 => Scheduler::Arinc653,
        sys::XEN_SCHEDULER_RTDS => Scheduler::Rtds,
        sys::XEN_SCHEDULER_NULL => Scheduler::Null,
        _ => Scheduler::Unknown,
    }
}

/// `None` for the ids that are reserved, which the hypervisor does not list.
pub(super) fn domain_info(raw: &sys::xc_domaininfo_t) -> Option<DomainInfo> {
    let has = |flag: u32| raw.flags & flag != 0;
    let state = if has(sys::XEN_DOMINF_dying) {
        DomainState::Dying
    } else if has(sys::XEN_DOMINF_shutdown) {
        DomainState::Shutdown(shutdown_reason(
            (raw.flags >> sys::XEN_DOMINF_shutdownshift) & sys::XEN_DOMINF_shutdownmask,
        ))
    } else if has(sys::XEN_DOMINF_paused) {
        DomainState::Paused
    } else if has(sys::XEN_DOMINF_running) {
        DomainState::Running
    } else if has(sys::XEN_DOMINF_blocked) {
        DomainState::Blocked
    } else {
        DomainState::Ready
    };
    let emulated_pc = raw.arch_config.emulation_flags & !sys::XEN_X86_EMU_LAPIC != 0;
    Some(DomainInfo {
        id: DomId::new(raw.domain)?,
        state,
        kind: match (has(sys::XEN_DOMINF_hvm_guest), emulated_pc) {
            (false, _) => DomainKind::Pv,
            (true, false) => DomainKind::Pvh,
            (true, true) => DomainKind::Hvm,
        },
        memory: kib(raw.tot_pages),
        max_memory: kib(raw.max_pages),
        vcpus: raw.nr_online_vcpus,
        max_vcpus: raw.max_vcpu_id.saturating_add(1),
        cpu_time: Duration::from_nanos(raw.cpu_time),
        handle: Uuid::from_bytes(raw.handle),
        cpu_pool: raw.cpupool,
    })
}

fn shutdown_reason(code: u32) -> ShutdownReason {
    match code {
        sys::SHUTDOWN_poweroff => ShutdownReason::PowerOff,
        sys::SHUTDOWN_reboot => ShutdownReason::Reboot,
        sys::SHUTDOWN_suspend => ShutdownReason::Suspend,
        sys::SHUTDOWN_crash => ShutdownReason::Crash,
        sys::SHUTDOWN_watchdog => ShutdownReason::Watchdog,
        sys::SHUTDOWN_soft_reset => ShutdownReason::SoftReset,
        other => ShutdownReason::Unknown(other),
    }
}

/// Sets the bits with these numbers; one beyond the map is an error.
pub(super) fn set_bits(map: &mut [u8], numbers: &[u32]) -> io::Result<()> {
    for &number in numbers {
        let byte = usize::try_from(number / 8).ok().and_then(|index| map.get_mut(index));
        match byte {
            Some(byte) => *byte |= 1 << (number % 8),
            None => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("the host has no CPU {number}"),
                ));
            }
        }
    }
    Ok(())
}

/// The numbers of the bits that are set.
pub(super) fn bits(map: &[u8]) -> Vec<u32> {
    (0u32..)
        .zip(map.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1)))
        .filter_map(|(number, set)| set.then_some(number))
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn cpu_maps() {
        let mut map = [0u8; 2];
        set_bits(&mut map, &[0, 3, 15]).unwrap();
        assert_eq!(map, [0b1001, 0x80]);
        assert_eq!(bits(&map), [0, 3, 15]);
        assert!(set_bits(&mut map, &[16]).is_err());
    }

    #[test]
    fn states() {
        let info = |flags| {
            domain_info(&sys::xc_domaininfo_t { flags, ..Default::default() }).unwrap().state
        };
        assert_eq!(
            info(sys::XEN_DOMINF_shutdown | 3 << 16),
            DomainState::Shutdown(ShutdownReason::Crash)
        );
        assert_eq!(info(sys::XEN_DOMINF_dying | sys::XEN_DOMINF_shutdown), DomainState::Dying);
        assert_eq!(info(sys::XEN_DOMINF_paused | sys::XEN_DOMINF_blocked), DomainState::Paused);
        assert_eq!(info(0), DomainState::Ready);
    }
}
