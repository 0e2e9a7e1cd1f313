//! Guests that are between two lives: their domain is being destroyed or gone already, and they are
//! to be made again. Written before the old domain goes and removed when the new one runs, so that
//! no death of a process in between loses a guest.

use std::fs;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::guests::GuestRecord;
use super::{StateDir, failed, optional};
use crate::error::StateError;
use crate::id::DomId;
use crate::info::ShutdownReason;

pub(super) const FOLDER: &str = "restarts";

/// What is needed to make the guest again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Restart {
    /// The guest, with the configuration that it is to have.
    pub(crate) guest: GuestRecord,
    /// The domain of its last life.
    pub(crate) domain: DomId,
    /// How that ended.
    pub(crate) reason: ShutdownReason,
}

fn file(uuid: Uuid) -> String {
    format!("{uuid}.json")
}

pub(crate) fn write(state: &StateDir, restart: &Restart) -> Result<(), StateError> {
    let path = state.path(FOLDER, &file(restart.guest.uuid));
    let text =
        serde_json::to_string(restart).map_err(|error| failed("write", &path)(error.into()))?;
    state.replace(&path, &text)
}

pub(crate) fn read(state: &StateDir, uuid: Uuid) -> Result<Option<Restart>, StateError> {
    let path = state.path(FOLDER, &file(uuid));
    let Some(text) = optional(fs::read_to_string(&path)).map_err(failed("read", &path))? else {
        return Ok(None);
    };
    serde_json::from_str(&text).map(Some).map_err(|error| failed("read", &path)(error.into()))
}

pub(crate) fn remove(state: &StateDir, uuid: Uuid) -> Result<(), StateError> {
    StateDir::remove(&state.path(FOLDER, &file(uuid)))
}

/// All of them; what cannot be read is logged and left alone.
pub(crate) fn all(state: &StateDir) -> Result<Vec<Restart>, StateError> {
    let mut found = Vec::new();
    for uuid in
        state.entries(FOLDER)?.iter().filter_map(|name| name.strip_suffix(".json")?.parse().ok())
    {
        match read(state, uuid) {
            Ok(restart) => found.extend(restart),
            Err(error) => log::warn!("{error}: {}", error.source),
        }
    }
    Ok(found)
}
