//! The way to Xen that all commands take.

use anyhow::Result;
use h2::{Domain, Hypervisor, Reaped};

use crate::args::Guest;

/// Opens the hypervisor and undoes what killed builders have left.
pub(crate) fn open() -> Result<Hypervisor> {
    let hypervisor = Hypervisor::open()?;
    match hypervisor.reap() {
        Ok(reaped) => reaped.iter().for_each(|reaped| log::warn!("{}", describe(reaped))),
        // The command itself can do without; it tells if it cannot.
        Err(error) => {
            log::warn!("cannot look for unfinished guests: {}", crate::failure::line(&error.into()))
        }
    }
    Ok(hypervisor)
}

/// The guest that the user named.
///
/// # Errors
/// [`h2::Error::NoSuchDomain`], or that the name is not unique.
pub(crate) fn find(hypervisor: &Hypervisor, guest: &Guest) -> Result<Domain> {
    Ok(hypervisor.find(guest.as_str())?)
}

fn describe(reaped: &Reaped) -> String {
    let name = reaped.name.as_deref().unwrap_or("without a name");
    let domain = reaped.domain.map(|domain| format!(" (domain {domain})")).unwrap_or_default();
    let builder = reaped.pid.map(|pid| format!(", process {pid},")).unwrap_or_default();
    format!("removed the unfinished guest {name}{domain}, whose builder{builder} has died")
}
