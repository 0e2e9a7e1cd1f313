//! The state directory, by default /run/lightvm: what this library remembers of guests beyond what
//! Xen keeps.
//!
//! ```text
//! building/<mark>       one file for each guest that is being built; its builder holds a lock on it (flock), which the
//!                       kernel lets go when the builder dies, however it dies
//! guests/<domid>.json   the configuration of each finished guest, and where its console is if it has no Xenstore
//! console/<domid>       the socket at which xendevd offers that console
//! held/<uuid>           locked by whoever ends a guest or starts it again
//! restarts/<uuid>.json  a guest between two lives: its old domain goes or is gone, the new one is not there yet
//! uuids/<uuid>          a symbolic link to the id of the domain, of guests without Xenstore
//! names/<name>          a symbolic link that says whose name it is: build:<mark>:<pid> or guest:<domid>:<uuid>
//! lock                  held while something under names or guests changes
//! new                   such a change, until it takes its place
//! ```
//!
//! Nothing here is believed without asking the hypervisor: a record may outlive its guest, when
//! another tool destroyed it or the host's directory survived.
//!
//! - [`building`]: the marks of unfinished guests
//! - [`names`]: the index of names
//! - [`guests`]: the records of finished guests
//! - [`held`]: whose hands a guest is in
//! - [`restarts`]: guests between two lives
//! - [`uuids`]: whose UUID is taken, of guests without Xenstore

pub(crate) mod building;
pub(crate) mod guests;
pub(crate) mod held;
pub(crate) mod names;
pub(crate) mod restarts;
pub(crate) mod uuids;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use crate::error::StateError;
use crate::id::DomId;

/// What a change is made in before it takes its place. There is one, under the lock, so what a
/// killed process leaves of it is overwritten by the next change.
const TEMPORARY: &str = "new";

/// The state directory.
#[derive(Debug, Clone)]
pub(crate) struct StateDir {
    root: PathBuf,
}

/// A [`StateError`] for `operation` on `path`.
pub(crate) fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
    move |source| StateError { operation, path: path.to_owned(), source }
}

/// A file that is not there is not a failure.
fn optional<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl StateDir {
    pub(crate) fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// One of its own for a test, which lives as long as the folder.
    #[cfg(test)]
    #[allow(clippy::unwrap_used)]
    fn temporary() -> (tempfile::TempDir, Self) {
        let folder = tempfile::tempdir().unwrap();
        let state = Self::new(folder.path());
        state.prepare().unwrap();
        (folder, state)
    }

    /// Makes the directories, readable for root alone: configurations may hold secrets in command
    /// lines.
    pub(crate) fn prepare(&self) -> Result<(), StateError> {
        for folder in [
            building::FOLDER,
            guests::FOLDER,
            held::FOLDER,
            names::FOLDER,
            restarts::FOLDER,
            uuids::FOLDER,
        ] {
            let path = self.root.join(folder);
            if !path.is_dir() {
                DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(&path)
                    .map_err(failed("create", &path))?;
            }
        }
        Ok(())
    }

    /// Where xendevd lets others attach to the console of a guest without Xenstore.
    pub(crate) fn console_socket(&self, domain: DomId) -> PathBuf {
        self.root.join("console").join(domain.to_string())
    }

    fn path(&self, folder: &str, name: &str) -> PathBuf {
        self.root.join(folder).join(name)
    }

    /// The lock for changes. It is held for a few file operations, so waiting for it is bounded.
    fn lock(&self) -> Result<Flock<File>, StateError> {
        let path = self.root.join("lock");
        let file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed("open", &path))?;
        Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, errno)| failed("lock", &path)(errno.into()))
    }

    /// Writes a file so that a reader sees the old or the new content, never a part.
    fn replace(&self, path: &Path, content: &str) -> Result<(), StateError> {
        let _lock = self.lock()?;
        let temporary = self.root.join(TEMPORARY);
        // What a killed process left there may be the link of a name, and opening it would make the
        // file that it points to.
        Self::remove(&temporary)?;
        let result = (|| {
            let mut file =
                OpenOptions::new().create_new(true).write(true).mode(0o600).open(&temporary)?;
            file.write_all(content.as_bytes())?;
            fs::rename(&temporary, path)
        })();
        result.map_err(|error| {
            let _ = fs::remove_file(&temporary);
            failed("write", path)(error)
        })
    }

    /// Removes a file; one that is not there is no failure.
    fn remove(path: &Path) -> Result<(), StateError> {
        optional(fs::remove_file(path)).map_err(failed("remove", path))?;
        Ok(())
    }

    /// The names of the files in one of the folders.
    fn entries(&self, folder: &str) -> Result<Vec<String>, StateError> {
        let path = self.root.join(folder);
        let Some(entries) = optional(fs::read_dir(&path)).map_err(failed("read", &path))? else {
            return Ok(Vec::new());
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed("read", &path))?;
            if let Ok(name) = entry.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A process was killed between making the link of a name and putting it in its place.
    #[test]
    fn a_link_that_was_left_is_not_followed() {
        let (folder, state) = StateDir::temporary();
        std::os::unix::fs::symlink("build:mark:1", state.root.join(TEMPORARY)).unwrap();
        let path = state.path(guests::FOLDER, "1.json");
        state.replace(&path, "{}").unwrap();
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
        assert_eq!(fs::read_to_string(&path).unwrap(), "{}");
        assert!(
            !folder.path().join("build:mark:1").exists() && !folder.path().join(TEMPORARY).exists()
        );
    }
}
