//! `chaos info`.

use anyhow::{Context, Result};
use h2::{Domain, GuestConfig};

use crate::args::{Guest, InfoArgs};
use crate::host;
use crate::output::Output;
use crate::views::{Affinity, Details, GuestRow, Host, Share};

pub(crate) fn run(args: &InfoArgs, output: Output) -> Result<()> {
    let hypervisor = host::open()?;
    match &args.guest {
        None => output.print(&Host::from(hypervisor.host_info()?), Host::text),
        Some(guest) => {
            let domain = host::find(&hypervisor, guest)?;
            output.print(&details(&domain, guest)?, Details::text)
        }
    }
}

fn details(domain: &Domain, guest: &Guest) -> Result<Details> {
    let info = domain.info()?;
    let config = domain.config()?;
    let affinity =
        (0..info.max_vcpus).map(|vcpu| Ok(Affinity { vcpu, cpus: domain.affinity(vcpu)? }));
    let affinity = affinity
        .collect::<Result<Vec<Affinity>, h2::Error>>()
        .with_context(|| format!("cannot read where {guest} may run"))?;
    Ok(Details {
        max_vcpus: info.max_vcpus,
        shutdown_reason: info.shutdown_reason().map(|reason| reason.to_string()),
        cpu_pool: info.cpu_pool,
        made_by: if config.is_some() { "chaos" } else { "other" },
        scheduler: share(domain),
        vcpu_affinity: affinity,
        console_tty: console(domain),
        devices: super::device::rows(domain)?,
        config: config.map(|config| as_value(&config)).transpose()?,
        row: GuestRow::new(&info, domain.name()?),
    })
}

/// Not all schedulers have weights and caps.
fn share(domain: &Domain) -> Option<Share> {
    match domain.scheduler_params() {
        Ok(params) => Some(Share { weight: params.weight, cap_percent: params.cap }),
        Err(error) => {
            log::info!("no weight and cap: {}", crate::failure::line(&error.into()));
            None
        }
    }
}

/// The control domain has no console here, and neither has a guest whose daemon is not running.
fn console(domain: &Domain) -> Option<String> {
    if domain.id().is_dom0() {
        return None;
    }
    match domain.console().and_then(|console| console.current_tty()) {
        Ok(tty) => tty.map(|tty| tty.display().to_string()),
        Err(error) => {
            log::info!("no console: {}", crate::failure::line(&error.into()));
            None
        }
    }
}

fn as_value(config: &GuestConfig) -> Result<serde_json::Value> {
    serde_json::to_value(config).context("cannot show the guest's configuration")
}
