//! The commands that do one thing to guests and print nothing: destroy, pause, unpause, rename.

use anyhow::{Context, Result, anyhow};
use h2::{Domain, ErrorKind};

use crate::args::{GuestsArgs, RenameArgs};
use crate::failure::{Usage, for_each};
use crate::host;

/// How often a guest is looked for that somebody else ends or starts again.
const TRIES: usize = 3;

pub(crate) fn destroy(args: &GuestsArgs) -> Result<()> {
    let hypervisor = host::open()?;
    for_each(&args.guests, |guest| {
        // A guest that is being started again has another domain by the time it is in our hands.
        for _ in 0..TRIES {
            let domain = match hypervisor.find(guest.as_str()) {
                // It has none at all, but it may be one that is to be started again.
                Err(error)
                    if error.kind() == ErrorKind::NotFound
                        && hypervisor.cancel_restart(guest.as_str())? =>
                {
                    return Ok(());
                }
                found => found?,
            };
            refuse_control_domain(&domain, "destroy")?;
            match domain.destroy() {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                result => return result.with_context(|| format!("cannot destroy {guest}")),
            }
        }
        Err(host::find(&hypervisor, guest)
            .err()
            .unwrap_or_else(|| anyhow!("{guest} was started again each time")))
    })
}

pub(crate) fn pause(args: &GuestsArgs) -> Result<()> {
    each(args, "pause", |domain| domain.pause())
}

pub(crate) fn unpause(args: &GuestsArgs) -> Result<()> {
    each(args, "unpause", |domain| domain.unpause())
}

pub(crate) fn rename(args: &RenameArgs) -> Result<()> {
    let domain = host::find(&host::open()?, &args.guest)?;
    domain.rename(&args.name).with_context(|| format!("cannot rename {}", args.guest))
}

fn each(
    args: &GuestsArgs,
    verb: &str,
    work: impl Fn(Domain) -> Result<(), h2::Error>,
) -> Result<()> {
    let hypervisor = host::open()?;
    for_each(&args.guests, |guest| {
        let domain = host::find(&hypervisor, guest)?;
        refuse_control_domain(&domain, verb)?;
        work(domain).with_context(|| format!("cannot {verb} {guest}"))
    })
}

/// What would end the host, or this process, is refused before Xen is asked.
pub(super) fn refuse_control_domain(domain: &Domain, verb: &str) -> Result<(), Usage> {
    if domain.id().is_dom0() {
        return Err(Usage::new(format!(
            "cannot {verb} Domain-0: it is the control domain, which runs this command"
        )));
    }
    Ok(())
}
