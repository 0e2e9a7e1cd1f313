//! What is dear to build and does not belong to one checkout: disk images, kernels, hypervisors.
//!
//! An entry is a folder named by what it is and by a hash of everything it is made from, so that an
//! entry that exists is right and a changed input makes another one. An entry appears whole or not
//! at all: it is built beside its place and renamed into it, under a lock that makes a
//! second `xtask` wait for the first one's result.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

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
    let place = place(&root, name, key);
    let temp = temporary(&root, name)?;
    build(temp.path()).with_context(|| format!("cannot build {name}"))?;
    let built = temp.keep();
    // A folder made by tempfile is 0700; what is in the cache is no secret.
    fs::set_permissions(&built, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    fs::rename(&built, &place)
        .with_context(|| format!("cannot put {} in its place", place.display()))?;
    Ok(place)
}

/// The entry `name` for `key`, if there is one.
pub(crate) fn existing(name: &str, key: &Key) -> Result<Option<PathBuf>> {
    let place = place(&root()?, name, key);
    Ok(place.is_dir().then_some(place))
}

fn place(root: &Path, name: &str, key: &Key) -> PathBuf {
    root.join(format!("{name}-{}", key.hex()))
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
    for path in crate::files::sorted_dir(root)? {
        if path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(&prefix)) {
            // Files of other owners, from a user namespace, cannot go. They are in nobody's way.
            let _ = fs::remove_dir_all(&path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Key;

    #[test]
    fn a_key_tells_where_one_input_ends() {
        let (mut left, mut right) = (Key::default(), Key::default());
        left.add("ab", "c");
        right.add("a", "bc");
        assert_ne!(left.hex(), right.hex());
    }
}
