//! What is dear to build and does not belong to one checkout: disk images, kernels, hypervisors.
//!
//! An entry is a folder named by what it is and by a hash of everything it is made from, so that an
//! entry that exists is right and a changed input makes another one. An entry appears whole or not
//! at all: it is built beside its place and renamed into it, under a lock that makes a
//! second `xtask` wait for the first one's result.
//!
//! Several checkouts share the folder, so an entry of other inputs may be somebody's. What nobody
//! has used for two weeks goes when another entry of its name is built; `cargo xtask clean` removes
//! all that this checkout does not use.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::run::Tool;
use crate::{deps, files};

/// How long an entry is kept that nobody uses.
const UNUSED: Duration = Duration::from_secs(14 * 24 * 3600);

/// The inputs of an entry, gathered into its key.
#[derive(Debug, Clone, Default)]
pub(crate) struct Key(Sha256);

impl Key {
    /// Adds one named input. The length goes in too, so that no two lists of inputs read the same.
    pub(crate) fn add(&mut self, name: &str, value: impl AsRef<[u8]>) -> &mut Self {
        for part in [name.as_bytes(), value.as_ref()] {
            self.0.update(part.len().to_le_bytes());
            self.0.update(part);
        }
        self
    }

    /// The key as 16 hexadecimal digits: enough, since nobody chooses the inputs to collide.
    pub(crate) fn hex(&self) -> String {
        self.0.clone().finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The folder that all checkouts on this machine share.
pub(crate) fn root() -> Result<PathBuf> {
    let set =
        |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(root) = set("LIGHTVM_CACHE") {
        return Ok(root);
    }
    let base = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    match base {
        Some(base) => Ok(base.join("lightvm")),
        None => bail!(
            "none of LIGHTVM_CACHE, XDG_CACHE_HOME and HOME is set: there is no place for the cache"
        ),
    }
}

/// The entry `name` for `key`, made by `build` in an empty folder if there is none yet.
pub(crate) fn entry(
    name: &str,
    key: &Key,
    build: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    if let Some(place) = existing(name, key)? {
        return Ok(place);
    }
    let root = root()?;
    let _lock = lock(&root, name)?;
    if let Some(place) = existing(name, key)? {
        return Ok(place);
    }
    let place = place(name, key)?;
    let temp = temporary(&root, name)?;
    build(temp.path()).with_context(|| format!("cannot build {name}"))?;
    let built = temp.keep();
    // A folder made by tempfile is 0700; what is in the cache is no secret.
    fs::set_permissions(&built, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    fs::rename(&built, &place)
        .with_context(|| format!("cannot put {} in its place", place.display()))?;
    trim(&root, name)?;
    Ok(place)
}

/// The entry `name` for `key`, if there is one.
pub(crate) fn existing(name: &str, key: &Key) -> Result<Option<PathBuf>> {
    let place = place(name, key)?;
    if !place.is_dir() {
        return Ok(None);
    }
    // The last use; an entry of another owner keeps its own time.
    let _ = File::open(&place).and_then(|dir| dir.set_modified(SystemTime::now()));
    Ok(Some(place))
}

/// Where the entry `name` for `key` is, or would be.
pub(crate) fn place(name: &str, key: &Key) -> Result<PathBuf> {
    Ok(root()?.join(format!("{name}-{}", key.hex())))
}

/// Whether `file`, in the cache, is an entry called `name`.
pub(crate) fn is_entry_of(file: &str, name: &str) -> bool {
    entry_name(file) == Some(name)
}

/// The name of the entry in the folder `file` of the cache, if it is one.
pub(crate) fn entry_name(file: &str) -> Option<&str> {
    let (name, key) = file.rsplit_once('-')?;
    (key.len() == 16 && key.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(name)
}

/// When an entry was used last.
pub(crate) fn last_use(entry: &Path) -> Result<SystemTime> {
    let meta = fs::metadata(entry).with_context(|| format!("cannot read {}", entry.display()))?;
    Ok(meta.modified()?)
}

/// Removes the entries `name` that nobody has used for long; called with the lock held.
fn trim(root: &Path, name: &str) -> Result<()> {
    for path in files::sorted_dir(root)? {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let unused = || last_use(&path).is_ok_and(|last| last.elapsed().is_ok_and(|t| t > UNUSED));
        if is_entry_of(&file, name) && unused() {
            // What is another user's stays.
            let _ = remove(&path);
        }
    }
    Ok(())
}

/// Removes a folder with all that is in it. Files that a build in a user namespace made belong to
/// ids that only such a namespace can stand for.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied && !deps::is_root() => {
            Tool::new("unshare")
                .args(["--map-root-user", "--map-auto", "rm", "-rf", "--"])
                .arg(path)
                .log_on_failure()
        }
        removed => removed.map_err(Into::into),
    }
    .with_context(|| format!("cannot remove {}", path.display()))
}

/// A folder that stays, for whoever holds the lock that comes with it.
pub(crate) fn kept_dir(name: &str) -> Result<(PathBuf, File)> {
    let root = root()?;
    let lock = lock(&root, name)?;
    let dir = root.join(name);
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    Ok((dir, lock))
}

/// Does `work` in an empty folder on the cache's file system, which is gone afterwards.
pub(crate) fn scratch<T>(name: &str, work: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    let root = root()?;
    let _lock = lock(&root, name)?;
    work(temporary(&root, name)?.path())
}

/// An empty folder on the cache's file system, which is gone when it is dropped, and the lock to be
/// held meanwhile: what killed runs left is removed.
pub(crate) fn temporary_dir(name: &str) -> Result<(TempDir, File)> {
    let root = root()?;
    let lock = lock(&root, name)?;
    Ok((temporary(&root, name)?, lock))
}

/// The lock of the entries `name`, if nobody has it.
pub(crate) fn try_lock(name: &str) -> Result<Option<File>> {
    let path = root()?.join(format!("{name}.lock"));
    let lock = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    Ok(lock.try_lock().is_ok().then_some(lock))
}

/// Has whoever else wants to build `name` wait.
fn lock(root: &Path, name: &str) -> Result<File> {
    fs::create_dir_all(root)
        .with_context(|| format!("cannot make the cache {}", root.display()))?;
    let path = root.join(format!("{name}.lock"));
    let lock = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    if lock.try_lock().is_err() {
        eprintln!("waiting for another xtask that builds {name}");
        lock.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    }
    Ok(lock)
}

/// A folder to work in; called with the lock held.
fn temporary(root: &Path, name: &str) -> Result<TempDir> {
    remove_leftovers(root, name)?;
    Ok(tempfile::Builder::new().prefix(&format!("{name}.tmp-")).tempdir_in(root)?)
}

/// Removes what a killed build left; called with the lock held, so none of it is in use.
fn remove_leftovers(root: &Path, name: &str) -> Result<()> {
    let prefix = format!("{name}.tmp-");
    for path in files::sorted_dir(root)? {
        if path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(&prefix)) {
            // What is another user's stays. It is in nobody's way.
            let _ = remove(&path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Key, entry_name};

    #[test]
    fn an_entry_is_told_from_what_else_is_in_the_cache() {
        assert_eq!(entry_name("linux-host-0b36aa3d0cee6232"), Some("linux-host"));
        for other in ["linux-host.lock", "linux-host.tmp-wkqSD5", "passed", "apt-lists"] {
            assert_eq!(entry_name(other), None);
        }
    }

    #[test]
    fn a_key_tells_where_one_input_ends() {
        let (mut left, mut right) = (Key::default(), Key::default());
        left.add("ab", "c");
        right.add("a", "bc");
        assert_ne!(left.hex(), right.hex());
    }
}
