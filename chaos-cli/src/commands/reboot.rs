//! `chaos reboot`.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use h2::{
    BootImage, Domain, DomainState, ErrorKind, GuestConfig, Hypervisor, ShutdownReason,
    ShutdownRequest,
};

use super::simple::refuse_control_domain;
use crate::args::RebootArgs;
use crate::host;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::views::Rebooted;

/// How long xl's process may take to start a guest again once it went down.
const RESTART_BY_XL: Duration = Duration::from_secs(60);
/// xl announces nothing to others, so there is no event to wait for.
const LOOK: Duration = Duration::from_millis(200);

pub(crate) fn run(args: &RebootArgs, output: Output) -> Result<()> {
    let hypervisor = host::open()?;
    let domain = host::find(&hypervisor, &args.guest)?;
    refuse_control_domain(&domain, "reboot")?;
    let old = domain.id();
    let name = domain.name()?;
    // The signals are held back until the answer is printed.
    let (started, _interrupt) = match domain.config()? {
        Some(config) => restart(domain, config, name.as_deref(), args)?,
        None => (leave_to_xl(&hypervisor, &domain, name.as_deref(), args)?, None),
    };
    let rebooted = Rebooted { domid: started.id().get(), name, old_domid: old.get() };
    output.print(&rebooted, Rebooted::text)
}

/// Reboots a guest of ours: there is a new domain, made from the same configuration.
fn restart(
    domain: Domain,
    mut config: GuestConfig,
    name: Option<&str>,
    args: &RebootArgs,
) -> Result<(Domain, Option<Interrupt>)> {
    // The name may have been changed since.
    if let Some(name) = name {
        config.name = name.parse()?;
    }
    // A kernel that is not there any more is found while the guest still runs.
    let image = BootImage::open(&config)?;
    // xendevd would start it again, too.
    let _in_hand = domain.take_in_hand()?;
    // One that has ended already needs no request.
    if domain.info()?.shutdown_reason().is_none() {
        let reason = domain.shutdown(ShutdownRequest::Reboot, args.timeout);
        let reason = reason.with_context(|| format!("cannot reboot {}", args.guest))?;
        if reason != ShutdownReason::Reboot {
            log::warn!(
                "{} was asked to reboot and ended with: {reason}; starting it again",
                args.guest
            );
        }
    }
    // Between here and its new start there is no guest: no signal may come between.
    let interrupt = Interrupt::catch()?;
    let started = domain.start_again(&config, &image);
    Ok((
        started
            .with_context(|| format!("{} went down, but cannot be started again", args.guest))?,
        Some(interrupt),
    ))
}

/// Reboots a guest that xl made and watches over: xl starts it again, with its name and a new
/// domain id.
fn leave_to_xl(
    hypervisor: &Hypervisor,
    domain: &Domain,
    name: Option<&str>,
    args: &RebootArgs,
) -> Result<Domain> {
    let Some(name) = name else {
        bail!("{} has no name by which it could be found after its reboot", args.guest)
    };
    domain
        .shutdown(ShutdownRequest::Reboot, args.timeout)
        .with_context(|| format!("cannot reboot {}", args.guest))?;
    let start = Instant::now();
    while start.elapsed() < RESTART_BY_XL {
        match hypervisor.find(name) {
            Ok(found) if found.id() != domain.id() && runs(&found) => return Ok(found),
            // For a moment xl has two of them, or none.
            Ok(_) | Err(h2::Error::AmbiguousName { .. }) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        std::thread::sleep(LOOK);
    }
    bail!(
        "{} went down, and xl has not started it again within {} s; was it created by an xl that \
         still runs?",
        args.guest,
        RESTART_BY_XL.as_secs()
    )
}

/// xl makes a domain paused and lets it run when its devices are there.
fn runs(domain: &Domain) -> bool {
    domain.info().is_ok_and(|info| info.state != DomainState::Paused)
}
