//! The commands that set a guest's share of the host: vcpu-pin, sched, mem-max.

use anyhow::{Context, Result};
use h2::id::MiB;

use crate::args::{MemMaxArgs, SchedArgs, Vcpu, VcpuPinArgs};
use crate::failure::Usage;
use crate::host;
use crate::output::Output;
use crate::views::{Sched, Share};

pub(crate) fn vcpu_pin(args: &VcpuPinArgs) -> Result<()> {
    let hypervisor = host::open()?;
    let domain = host::find(&hypervisor, &args.guest)?;
    let cpus = args.cpus.resolve(hypervisor.host_info()?.max_cpu_id)?;
    let has = domain.info()?.max_vcpus;
    let vcpus = match args.vcpu {
        Vcpu::All => 0..has,
        Vcpu::One(vcpu) if vcpu < has => vcpu..vcpu + 1,
        Vcpu::One(vcpu) => {
            return Err(Usage::new(format!(
                "{} has no vcpu {vcpu}; it has {has}, counted from 0",
                args.guest
            ))
            .into());
        }
    };
    for vcpu in vcpus {
        domain
            .set_affinity(vcpu, &cpus)
            .with_context(|| format!("cannot pin vcpu {vcpu} of {}", args.guest))?;
    }
    Ok(())
}

pub(crate) fn sched(args: &SchedArgs, output: Output) -> Result<()> {
    let domain = host::find(&host::open()?, &args.guest)?;
    let mut params = domain
        .scheduler_params()
        .with_context(|| format!("cannot read the CPU share of {}", args.guest))?;
    if args.weight.is_none() && args.cap.is_none() {
        let share = Share { weight: params.weight, cap_percent: params.cap };
        let sched = Sched { domid: domain.id().get(), name: domain.name()?, share };
        return output.print(&sched, Sched::text);
    }
    params.weight = args.weight.unwrap_or(params.weight);
    params.cap = args.cap.unwrap_or(params.cap);
    domain
        .set_scheduler_params(params)
        .with_context(|| format!("cannot set the CPU share of {}", args.guest))
}

pub(crate) fn mem_max(args: &MemMaxArgs) -> Result<()> {
    let domain = host::find(&host::open()?, &args.guest)?;
    domain
        .set_max_memory(MiB::new(args.mib))
        .with_context(|| format!("cannot set the most memory of {}", args.guest))
}
