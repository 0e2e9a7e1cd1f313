//! `cargo xtask clean`: makes room in the cache.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::lab::image;
use crate::patches::built;
use crate::{bare, cache, deny, files};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Remove everything, also what this checkout uses
    #[arg(long)]
    all: bool,
}

/// Removes what this checkout does not use: entries for other inputs, and what killed builds left.
/// Of a name that has no entry for the current inputs the last used one stays. Hosts of other
/// checkouts should not be running.
pub(crate) fn run(options: &Options) -> Result<()> {
    let root = cache::root()?;
    if !root.is_dir() {
        println!("there is no cache at {}", root.display());
        return Ok(());
    }
    let mut current = vec![image::place()?, deny::place()?];
    current.extend(built::places()?);
    current.extend(bare::root::places()?);
    let folders: Vec<PathBuf> =
        files::sorted_dir(&root)?.into_iter().filter(|path| path.is_dir()).collect();
    let kept = if options.all { Vec::new() } else { kept(&folders, &current)? };
    let mut freed = 0;
    for path in folders {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(name) = removable(&file, options.all) else {
            continue;
        };
        if kept.contains(&path) {
            continue;
        }
        let Some(_lock) = cache::try_lock(name)? else {
            println!("{file} stays: another xtask is at work on it");
            continue;
        };
        let size = size(&path);
        cache::remove(&path)?;
        println!("removed {file} ({} MiB)", size >> 20);
        freed += size;
    }
    println!("{} MiB freed in {}", freed >> 20, root.display());
    Ok(())
}

/// The name of the lock that guards the folder `file` of the cache, if it may go at all: an entry
/// or what a build left of one; with `all` also the package lists and the notes of passed suites.
fn removable(file: &str, all: bool) -> Option<&str> {
    let left = || file.split_once(".tmp-").map(|(name, _)| name);
    cache::entry_name(file).or_else(left).or(all.then_some(file))
}

/// Those of `folders` that stay.
fn kept(folders: &[PathBuf], current: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut by_name: BTreeMap<String, Vec<&PathBuf>> = BTreeMap::new();
    for path in folders {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        if let Some(name) = cache::entry_name(&file) {
            by_name.entry(name.to_owned()).or_default().push(path);
        }
    }
    let mut kept = Vec::new();
    let file = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    for (name, entries) in by_name {
        // What is no longer made under any key has no last one either.
        if !current.iter().any(|path| cache::is_entry_of(&file(path), &name)) {
            continue;
        }
        let mut of_now: Vec<&PathBuf> =
            entries.iter().copied().filter(|path| current.contains(path)).collect();
        if of_now.is_empty() {
            let mut last = None;
            for path in &entries {
                last = last.max(Some((cache::last_use(path)?, *path)));
            }
            of_now.extend(last.map(|(_, path)| path));
        }
        kept.extend(of_now.into_iter().cloned());
    }
    Ok(kept)
}

/// How much room a file or folder takes, as far as it can be read.
fn size(path: &Path) -> u64 {
    let Ok(meta) = fs::symlink_metadata(path) else {
        return 0;
    };
    let children = if meta.is_dir() { files::sorted_dir(path).unwrap_or_default() } else { vec![] };
    meta.blocks() * 512 + children.iter().map(|child| size(child)).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::time::{Duration, SystemTime};

    use super::{kept, removable};

    #[test]
    fn the_current_entry_stays_or_else_the_last() {
        let dir = tempfile::tempdir().unwrap();
        let entry = |name: &str, age: u64| {
            let path = dir.path().join(name);
            fs::create_dir(&path).unwrap();
            let time = SystemTime::now() - Duration::from_secs(age);
            File::open(&path).unwrap().set_modified(time).unwrap();
            path
        };
        let (old, new) = (entry("x-0000000000000001", 9), entry("x-0000000000000002", 5));
        let all = [old.clone(), new.clone(), entry("x.tmp-1", 1)];
        assert_eq!(kept(&all, std::slice::from_ref(&old)).unwrap(), [old]);
        let missing = dir.path().join("x-0000000000000003");
        assert_eq!(kept(&all, &[missing]).unwrap(), [new]);
        let other = dir.path().join("y-0000000000000003");
        assert!(kept(&all, &[other]).unwrap().is_empty());
    }

    #[test]
    fn what_is_no_entry_stays() {
        assert_eq!(removable("x-0000000000000001", false), Some("x"));
        assert_eq!(removable("x.tmp-aB3", false), Some("x"));
        assert_eq!(removable("passed", false), None);
        assert_eq!(removable("passed", true), Some("passed"));
    }
}
