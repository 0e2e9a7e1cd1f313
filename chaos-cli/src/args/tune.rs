//! The arguments of the commands that look at a guest or the host, and of those that set a guest's
//! share of the host.

use clap::Args;

use super::guest::Guest;
use crate::cpulist::CpuList;

/// Show the host, or everything about one guest
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  chaos info\n  chaos info web0\
                  \n  chaos info --format json | jq .free_memory_kib")]
pub(crate) struct InfoArgs {
    /// The guest, by domain id or name; without it the host is shown
    #[arg(value_name = "GUEST")]
    pub(crate) guest: Option<Guest>,
}

/// Set which physical CPUs a virtual CPU may run on
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  chaos vcpu-pin web0 0 2-3\n  chaos vcpu-pin web0 all 0-7,^1\
                  \n  chaos vcpu-pin web0 0 all")]
pub(crate) struct VcpuPinArgs {
    /// The guest, by domain id or name
    #[arg(value_name = "GUEST")]
    pub(crate) guest: Guest,
    /// The virtual CPU, counted from 0, or "all"
    #[arg(value_name = "VCPU", value_parser = vcpu)]
    pub(crate) vcpu: Vcpu,
    /// The physical CPUs: a list such as 0-3,5 or 0-7,^2, or "all"
    #[arg(value_name = "CPULIST")]
    pub(crate) cpus: CpuList,
}

/// One virtual CPU of a guest, or all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Vcpu {
    All,
    One(u32),
}

fn vcpu(text: &str) -> Result<Vcpu, std::num::ParseIntError> {
    if text == "all" { Ok(Vcpu::All) } else { text.parse().map(Vcpu::One) }
}

/// Show or set a guest's share of the CPUs
///
/// Without --weight and --cap the share is shown. Which bounds apply is up to the host's scheduler;
/// credit2, the default, knows both.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  chaos sched web0\n  chaos sched web0 --weight 512\
                  \n  chaos sched web0 --cap 50")]
pub(crate) struct SchedArgs {
    /// The guest, by domain id or name
    #[arg(value_name = "GUEST")]
    pub(crate) guest: Guest,
    /// Its weight against other guests; 256 is that of a guest that nothing was said of
    #[arg(long, value_name = "WEIGHT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) weight: Option<u16>,
    /// The most CPU time that it gets, in per cent of one physical CPU; 0 is no limit
    #[arg(long, value_name = "CAP")]
    pub(crate) cap: Option<u16>,
}

/// Set the most memory that a guest may have
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  chaos mem-max web0 256")]
pub(crate) struct MemMaxArgs {
    /// The guest, by domain id or name
    #[arg(value_name = "GUEST")]
    pub(crate) guest: Guest,
    /// The limit in MiB
    #[arg(value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=16 * 1024 * 1024))]
    pub(crate) mib: u64,
}
