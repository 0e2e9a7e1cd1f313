//! The index of names: whose is a name, without asking every domain.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use uuid::Uuid;

use super::{StateDir, TEMPORARY, failed, optional};
use crate::error::StateError;
use crate::id::DomId;

pub(super) const FOLDER: &str = "names";

/// Whose a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A guest that is being built.
    Building {
        /// The builder's mark.
        handle: Uuid,
        /// The builder.
        pid: u32,
    },
    /// A finished guest.
    Guest {
        /// Its domain.
        domain: DomId,
        /// Its UUID; another one in that domain means that the entry is out of date.
        uuid: Uuid,
    },
}

impl Owner {
    fn to_link(self) -> String {
        match self {
            Self::Building { handle, pid } => format!("build:{handle}:{pid}"),
            Self::Guest { domain, uuid } => format!("guest:{domain}:{uuid}"),
        }
    }

    fn from_link(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let owner = match (parts.next()?, parts.next()?, parts.next()?) {
            ("build", handle, pid) => {
                Self::Building { handle: handle.parse().ok()?, pid: pid.parse().ok()? }
            }
            ("guest", domain, uuid) => {
                Self::Guest { domain: domain.parse().ok()?, uuid: uuid.parse().ok()? }
            }
            _ => return None,
        };
        parts.next().is_none().then_some(owner)
    }
}

/// The link of a name. The first letter makes file names of the names "." and "..".
fn link(state: &StateDir, name: &str) -> PathBuf {
    state.path(FOLDER, &format!("@{name}"))
}

/// Who owns a name, as far as the index knows.
pub(crate) fn owner(state: &StateDir, name: &str) -> Result<Option<Owner>, StateError> {
    // A name with a slash is none of ours (GuestName), and would lead elsewhere.
    if name.contains('/') {
        return Ok(None);
    }
    let path = link(state, name);
    let link = optional(fs::read_link(&path)).map_err(failed("read", &path))?;
    Ok(link.as_deref().and_then(|link| link.to_str()).and_then(Owner::from_link))
}

/// Gives a name to `new`, unless the owner that it has is alive: then that owner comes back. What
/// else belongs to the change is done by `commit`, before anyone else can look.
pub(crate) fn claim<E: From<StateError>>(
    state: &StateDir,
    name: &str,
    new: Owner,
    alive: impl FnOnce(Owner) -> Result<bool, E>,
    commit: impl FnOnce() -> Result<(), E>,
) -> Result<Result<(), Owner>, E> {
    let _lock = state.lock()?;
    match owner(state, name)? {
        Some(owner) if owner != new && alive(owner)? => Ok(Err(owner)),
        _ => {
            commit()?;
            Ok(Ok(set(state, name, new)?))
        }
    }
}

/// Gives a name to a guest, whoever had it.
pub(crate) fn assign(
    state: &StateDir,
    name: &str,
    domain: DomId,
    uuid: Uuid,
) -> Result<(), StateError> {
    let _lock = state.lock()?;
    set(state, name, Owner::Guest { domain, uuid })
}

/// Takes a name from this owner; if it is another's by now, it stays.
pub(crate) fn release(
    state: &StateDir,
    name: &str,
    owned: impl FnOnce(Owner) -> bool,
) -> Result<(), StateError> {
    let _lock = state.lock()?;
    match owner(state, name)? {
        Some(owner) if owned(owner) => StateDir::remove(&link(state, name)),
        _ => Ok(()),
    }
}

/// Replaces the link at once: nobody sees the name without an owner in between.
fn set(state: &StateDir, name: &str, owner: Owner) -> Result<(), StateError> {
    let path = link(state, name);
    let temporary = state.root.join(TEMPORARY);
    StateDir::remove(&temporary)?;
    symlink(owner.to_link(), &temporary).map_err(failed("create", &temporary))?;
    fs::rename(&temporary, &path).map_err(|error| {
        // Not the error that is told: the next change of a name removes it, too.
        let _ = fs::remove_file(&temporary);
        failed("create", &path)(error)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::Plane;
    use crate::state::building::{self, Mark};

    /// As a builder does; guests are alive or not as told, builders as their marks say.
    fn reserve_with(state: &StateDir, mark: &Mark, guests_alive: bool) -> Result<(), Owner> {
        let alive = |owner| match owner {
            Owner::Building { handle, .. } => building::is_live(state, handle),
            Owner::Guest { .. } => Ok(guests_alive),
        };
        claim::<StateError>(state, "web", mark.owner(), alive, || Ok(())).unwrap()
    }

    #[test]
    fn a_name_has_one_owner() {
        let (_folder, state) = StateDir::temporary();
        let uuid = Uuid::new_v4();
        let mark = Mark::new(&state, "web", uuid, Plane::Xenstore).unwrap();
        reserve_with(&state, &mark, false).unwrap();
        // flock belongs to the open file, so a second mark in the same process is a competitor as
        // any other is.
        let other = Mark::new(&state, "web", Uuid::new_v4(), Plane::Xenstore).unwrap();
        assert!(matches!(reserve_with(&state, &other, false), Err(Owner::Building { .. })));

        let domain = DomId::new(7).unwrap();
        assign(&state, "web", domain, uuid).unwrap();
        mark.finish().unwrap();
        assert_eq!(owner(&state, "web").unwrap(), Some(Owner::Guest { domain, uuid }));
        assert_eq!(reserve_with(&state, &other, true), Err(Owner::Guest { domain, uuid }));
        reserve_with(&state, &other, false).unwrap();
    }

    #[test]
    fn a_dead_builders_name_is_free() {
        let (_folder, state) = StateDir::temporary();
        let mark = Mark::new(&state, "web", Uuid::new_v4(), Plane::Xenstore).unwrap();
        reserve_with(&state, &mark, false).unwrap();
        drop(mark);
        let orphans = building::orphans(&state).unwrap();
        assert_eq!(orphans.len(), 1);
        drop(orphans);
        let other = Mark::new(&state, "web", Uuid::new_v4(), Plane::Xenstore).unwrap();
        reserve_with(&state, &other, true).unwrap();
    }

    #[test]
    fn a_live_builder_is_no_orphan() {
        let (_folder, state) = StateDir::temporary();
        let mark = Mark::new(&state, "web", Uuid::new_v4(), Plane::Xenstore).unwrap();
        assert!(building::orphans(&state).unwrap().is_empty());
        assert!(building::is_live(&state, mark.handle()).unwrap());
    }
}
