//! The marks of guests that are being built.
//!
//! A builder first makes a file under `building/`, locks it, and only then creates the domain,
//! whose handle is the file's name. So at every instant a domain that belongs to nobody can be told
//! from one that is being built and from one that is finished:
//!
//! ```text
//! file there, locked         the builder lives: hands off
//! file there, not locked     the builder is dead: a domain with that handle is unfinished, destroy it
//! no file                    finished, or not ours
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::names::Owner;
use super::{StateDir, failed};
use crate::config::Plane;
use crate::error::StateError;
use crate::id::DomId;

pub(super) const FOLDER: &str = "building";

/// The first bytes of every mark, "h2build" in ASCII and a version: no random UUID looks like it.
const PREFIX: [u8; 8] = *b"h2build\x01";

/// What a builder leaves for whoever cleans up after it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Unfinished {
    /// The guest's name.
    pub(crate) name: String,
    /// The UUID that the finished guest is to have.
    pub(crate) uuid: Uuid,
    /// Its domain, as soon as there is one.
    pub(crate) domain: Option<DomId>,
    /// The builder.
    pub(crate) pid: u32,
    /// It is to have no Xenstore.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) noxs: bool,
}

impl Unfinished {
    pub(crate) fn plane(&self) -> Plane {
        if self.noxs { Plane::Noxs } else { Plane::Xenstore }
    }
}

/// A mark that this process holds. Dropping it leaves the file, as dying does;
/// [`finish`](Self::finish) removes it.
#[derive(Debug)]
pub(crate) struct Mark {
    handle: Uuid,
    path: PathBuf,
    record: Unfinished,
    file: Flock<File>,
}

impl Mark {
    /// Makes a mark for a new guest.
    pub(crate) fn new(
        state: &StateDir,
        name: &str,
        uuid: Uuid,
        plane: Plane,
    ) -> Result<Self, StateError> {
        let mut bytes = *Uuid::new_v4().as_bytes();
        bytes[..PREFIX.len()].copy_from_slice(&PREFIX);
        let handle = Uuid::from_bytes(bytes);
        let path = state.path(FOLDER, &handle.to_string());
        let file = Self::create(&path)?;
        let noxs = plane == Plane::Noxs;
        let record =
            Unfinished { name: name.to_owned(), uuid, domain: None, pid: process::id(), noxs };
        let mut mark = Self { handle, path, record, file };
        mark.write()?;
        Ok(mark)
    }

    /// A new file that is ours. Between its making and its locking a cleaner may take it for an
    /// orphan's and remove it; then there is another one to make.
    fn create(path: &Path) -> Result<Flock<File>, StateError> {
        loop {
            let file = OpenOptions::new()
                .create_new(true)
                .write(true)
                .mode(0o600)
                .open(path)
                .map_err(failed("create", path))?;
            let file = Flock::lock(file, FlockArg::LockExclusive)
                .map_err(|(_, errno)| failed("lock", path)(errno.into()))?;
            if file.metadata().map_err(failed("read", path))?.nlink() > 0 {
                return Ok(file);
            }
        }
    }

    /// The handle that the domain gets.
    pub(crate) fn handle(&self) -> Uuid {
        self.handle
    }

    /// Whom the guest's name belongs to while it is being built.
    pub(crate) fn owner(&self) -> Owner {
        Owner::Building { handle: self.handle, pid: self.record.pid }
    }

    /// Notes the domain.
    pub(crate) fn set_domain(&mut self, domain: DomId) -> Result<(), StateError> {
        self.record.domain = Some(domain);
        self.write()
    }

    /// One line a write, appended: whoever reads the file takes the last whole one.
    fn write(&mut self) -> Result<(), StateError> {
        let mut line = serde_json::to_string(&self.record)
            .map_err(|error| failed("write", &self.path)(error.into()))?;
        line.push('\n');
        self.file.write_all(line.as_bytes()).map_err(failed("write", &self.path))
    }

    /// The guest is finished, or undone.
    pub(crate) fn finish(self) -> Result<(), StateError> {
        StateDir::remove(&self.path)
    }
}

/// An unfinished guest whose builder is dead, held by this process so that nobody else cleans up
/// the same.
#[derive(Debug)]
pub(crate) struct Orphan {
    pub(crate) handle: Uuid,
    /// `None` if the builder died before it had written a line; then it had not made a domain
    /// either.
    pub(crate) record: Option<Unfinished>,
    path: PathBuf,
    _lock: Flock<File>,
}

impl Orphan {
    /// All traces but this file are gone.
    pub(crate) fn finish(self) -> Result<(), StateError> {
        StateDir::remove(&self.path)
    }
}

/// The unfinished guests of dead builders.
pub(crate) fn orphans(state: &StateDir) -> Result<Vec<Orphan>, StateError> {
    let mut orphans = Vec::new();
    for name in state.entries(FOLDER)? {
        if let Ok(handle) = name.parse::<Uuid>()
            && let Some(orphan) = claim(state, handle)?
        {
            orphans.push(orphan);
        }
    }
    Ok(orphans)
}

/// Whether the builder behind a mark lives.
pub(crate) fn is_live(state: &StateDir, handle: Uuid) -> Result<bool, StateError> {
    let path = state.path(FOLDER, &handle.to_string());
    let Some(file) = super::optional(File::open(&path)).map_err(failed("open", &path))? else {
        return Ok(false);
    };
    match Flock::lock(file, FlockArg::LockSharedNonblock) {
        Ok(_) => Ok(false),
        Err((_, Errno::EWOULDBLOCK)) => Ok(true),
        Err((_, errno)) => Err(failed("lock", &path)(errno.into())),
    }
}

fn claim(state: &StateDir, handle: Uuid) -> Result<Option<Orphan>, StateError> {
    let path = state.path(FOLDER, &handle.to_string());
    let Some(file) = super::optional(File::open(&path)).map_err(failed("open", &path))? else {
        return Ok(None);
    };
    let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => lock,
        Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
        Err((_, errno)) => return Err(failed("lock", &path)(errno.into())),
    };
    // Another cleaner, or the builder, may have removed it between our open and our lock.
    if lock.metadata().map_err(failed("read", &path))?.nlink() == 0 {
        return Ok(None);
    }
    let text = fs::read_to_string(&path).map_err(failed("read", &path))?;
    let record = text.lines().rev().find_map(|line| serde_json::from_str(line).ok());
    Ok(Some(Orphan { handle, record, path, _lock: lock }))
}
