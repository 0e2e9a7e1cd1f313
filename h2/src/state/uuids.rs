//! The index of the UUIDs of guests without Xenstore, which has one for the others: a symbolic link
//! each, to the domain's id.
//!
//! An entry may outlive its guest; whoever finds one asks the hypervisor.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;

use uuid::Uuid;

use super::{StateDir, failed, optional};
use crate::error::StateError;
use crate::id::DomId;

pub(super) const FOLDER: &str = "uuids";

/// The domain that has, or had, this UUID.
pub(crate) fn domain(state: &StateDir, uuid: Uuid) -> Result<Option<DomId>, StateError> {
    let path = state.path(FOLDER, &uuid.to_string());
    let target = optional(fs::read_link(&path)).map_err(failed("read", &path))?;
    Ok(target.and_then(|target| target.to_str()?.parse().ok()))
}

/// Notes the domain with this UUID, in the place of one that is gone.
pub(crate) fn write(state: &StateDir, uuid: Uuid, domain: DomId) -> Result<(), StateError> {
    let path = state.path(FOLDER, &uuid.to_string());
    let link = || symlink(domain.to_string(), &path);
    let linked = link().or_else(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => fs::remove_file(&path).and_then(|()| link()),
        _ => Err(error),
    });
    linked.map_err(failed("create", &path))
}

/// Forgets the UUID of a domain that is gone, unless another one has it.
pub(crate) fn remove(state: &StateDir, uuid: Uuid, gone: DomId) -> Result<(), StateError> {
    if domain(state, uuid)? == Some(gone) {
        StateDir::remove(&state.path(FOLDER, &uuid.to_string()))?;
    }
    Ok(())
}
