//! The records of finished guests: what is needed to make the same guest again, and to find it by
//! name.

use std::fs;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{StateDir, failed, optional, uuids};
use crate::config::{ConfigError, GuestConfig, Plane};
use crate::error::StateError;
use crate::id::{DomId, Gfn, Port};

pub(super) const FOLDER: &str = "guests";

/// What is remembered of a guest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct GuestRecord {
    /// Its UUID: a record whose UUID is not the domain's handle belongs to an earlier domain of
    /// that id.
    pub(crate) uuid: Uuid,
    /// Its name.
    pub(crate) name: String,
    /// Its configuration, in the form of a configuration file.
    pub(crate) config: String,
    /// Its domain is to stay when it has ended, whatever the configuration says.
    #[serde(default)]
    pub(crate) preserved: bool,
    /// Where its console is, of a guest without Xenstore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) console: Option<ConsolePlace>,
}

/// Where a guest's console ring is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ConsolePlace {
    /// Its frame: a machine frame of a PV guest, a guest frame of a PVH guest.
    pub(crate) frame: Gfn,
    /// The port that the guest has opened for whoever serves it.
    pub(crate) port: Port,
}

impl GuestRecord {
    pub(crate) fn new(uuid: Uuid, config: &GuestConfig) -> Result<Self, ConfigError> {
        Ok(Self {
            uuid,
            name: config.name.as_str().to_owned(),
            config: config.to_json()?,
            preserved: false,
            console: None,
        })
    }

    /// The same guest with another configuration.
    pub(crate) fn with_config(self, config: &GuestConfig) -> Result<Self, ConfigError> {
        let new = Self::new(self.uuid, config)?;
        Ok(Self { name: new.name, config: new.config, ..self })
    }

    /// A guest whose console we know has no Xenstore, by which others would find it.
    pub(crate) fn plane(&self) -> Plane {
        if self.console.is_some() { Plane::Noxs } else { Plane::Xenstore }
    }

    pub(crate) fn config(&self) -> Result<GuestConfig, ConfigError> {
        GuestConfig::from_json(&self.config, "the record of the guest")
    }
}

fn file(domain: DomId) -> String {
    format!("{domain}.json")
}

pub(crate) fn write(
    state: &StateDir,
    domain: DomId,
    record: &GuestRecord,
) -> Result<(), StateError> {
    let path = state.path(FOLDER, &file(domain));
    let text =
        serde_json::to_string(record).map_err(|error| failed("write", &path)(error.into()))?;
    state.replace(&path, &text)?;
    match record.plane() {
        Plane::Xenstore => Ok(()),
        Plane::Noxs => uuids::write(state, record.uuid, domain),
    }
}

/// The record of this domain, which may be of an earlier guest of that id.
pub(crate) fn any(state: &StateDir, domain: DomId) -> Result<Option<GuestRecord>, StateError> {
    let path = state.path(FOLDER, &file(domain));
    let Some(text) = optional(fs::read_to_string(&path)).map_err(failed("read", &path))? else {
        return Ok(None);
    };
    serde_json::from_str(&text).map(Some).map_err(|error| failed("read", &path)(error.into()))
}

/// The record of the guest with this UUID in this domain.
pub(crate) fn read(
    state: &StateDir,
    domain: DomId,
    uuid: Uuid,
) -> Result<Option<GuestRecord>, StateError> {
    Ok(any(state, domain)?.filter(|record| record.uuid == uuid))
}

pub(crate) fn remove(state: &StateDir, domain: DomId) -> Result<(), StateError> {
    // A record that nobody can read any more goes all the same.
    if let Ok(Some(record)) = any(state, domain)
        && record.plane() == Plane::Noxs
    {
        uuids::remove(state, record.uuid, domain)?;
    }
    StateDir::remove(&state.path(FOLDER, &file(domain)))
}

/// The domains that have a record.
pub(crate) fn domains(state: &StateDir) -> Result<Vec<DomId>, StateError> {
    let files = state.entries(FOLDER)?;
    Ok(files.iter().filter_map(|name| name.strip_suffix(".json")?.parse().ok()).collect())
}
