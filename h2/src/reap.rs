//! Undoing guests: those that dead builders left unfinished, and the records of those that are
//! gone.

use crate::config::Plane;
use crate::error::{CallError, Error, StateError};
use crate::id::DomId;
use crate::inner::Inner;
use crate::state::building::{self, Orphan, Unfinished};
use crate::state::held;
use crate::state::names::{self, Owner};
use crate::state::{StateDir, guests};

/// An unfinished guest that was undone.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Reaped {
    /// The name that it was to have.
    pub name: Option<String>,
    /// Its domain, if it had one already.
    pub domain: Option<DomId>,
    /// The process that was building it.
    pub pid: Option<u32>,
}

pub(crate) fn reap(inner: &Inner) -> Result<Vec<Reaped>, Error> {
    let mut reaped = Vec::new();
    let mut failure = None;
    for orphan in building::orphans(&inner.state)? {
        match undo(inner, orphan) {
            Ok(undone) => reaped.extend(undone),
            // The others are tried all the same.
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    held::sweep(&inner.state)?;
    failure.map_or(Ok(reaped), Err)
}

/// Undoes what a dead builder left. `None`: its guest was finished, and only the mark was left.
fn undo(inner: &Inner, orphan: Orphan) -> Result<Option<Reaped>, Error> {
    // The builder may have died between the hypercall and its note of the domain's id, so the
    // handle decides.
    let domain = inner.all()?.iter().find(|info| info.handle == orphan.handle).map(|info| info.id);
    let record = orphan.record.clone();
    if let Some(domain) = domain {
        // A builder writes the mark before it makes a domain.
        let plane = record.as_ref().map_or(Plane::Xenstore, Unfinished::plane);
        inner.control(plane)?.remove(domain, record.as_ref().map(|record| record.uuid))?;
        destroy(inner, domain)?;
    }
    if let Some(record) = &record {
        if domain.is_none()
            && let Some(noted) = record.domain
            && inner.info(noted)?.is_some_and(|info| info.handle == record.uuid)
        {
            orphan.finish()?;
            return Ok(None);
        }
        // Without a domain: an earlier cleaner may have died after it had destroyed it.
        let gone = domain.or(record.domain);
        if let Some(gone) = gone
            && guests::read(&inner.state, gone, record.uuid)?.is_some()
        {
            guests::remove(&inner.state, gone)?;
        }
        names::release(&inner.state, &record.name, |owner| match owner {
            Owner::Building { handle, .. } => handle == orphan.handle,
            Owner::Guest { domain: owner, uuid } => Some(owner) == gone && uuid == record.uuid,
        })?;
    }
    orphan.finish()?;
    Ok(Some(Reaped {
        name: record.as_ref().map(|record| record.name.clone()),
        domain,
        pid: record.map(|record| record.pid),
    }))
}

/// Destroys a domain; one that is gone already is no failure.
pub(crate) fn destroy(inner: &Inner, domain: DomId) -> Result<(), CallError> {
    match inner.calls.destroy_domain(domain) {
        Err(error) if error.is(libc::ESRCH) => Ok(()),
        result => result,
    }
}

/// Removes what is remembered of a guest that is gone.
pub(crate) fn forget(state: &StateDir, domain: DomId) -> Result<(), StateError> {
    if let Some(record) = guests::any(state, domain)? {
        names::release(state, &record.name, |owner| {
            owner == Owner::Guest { domain, uuid: record.uuid }
        })?;
    }
    guests::remove(state, domain)
}
