//! What is left of a host to be read: its console, what QEMU said, and the job's output.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::files;

/// In the folder of a running host.
pub(crate) const CONSOLE: &str = "console.log";
pub(crate) const QEMU: &str = "qemu.log";
/// The job's stdout and stderr as they came.
pub(crate) const OUTPUT: &str = "output.log";

/// Where the logs of hosts are.
fn root() -> Result<PathBuf> {
    Ok(files::target()?.join("lab-logs"))
}

/// Where those of the last host `name` are.
pub(crate) fn of(name: &str) -> Result<PathBuf> {
    Ok(root()?.join(name))
}

/// Removes what other runs of the tests left.
pub(crate) fn clear() -> Result<()> {
    let root = root()?;
    if root.exists() {
        fs::remove_dir_all(&root).with_context(|| format!("cannot remove {}", root.display()))?;
    }
    Ok(())
}

/// Keeps the logs that lie in `dir` under `name`, in the place of those of the last host of that
/// name, and says where.
pub(crate) fn keep(name: &str, dir: &Path) -> Result<PathBuf> {
    keep_in(&root()?, name, dir)
}

fn keep_in(root: &Path, name: &str, dir: &Path) -> Result<PathBuf> {
    let place = root.join(name);
    if place.exists() {
        fs::remove_dir_all(&place).with_context(|| format!("cannot remove {}", place.display()))?;
    }
    for log in [CONSOLE, QEMU, OUTPUT] {
        let from = dir.join(log);
        if from.exists() {
            files::install(&from, &place.join(log), 0o644)?;
        }
    }
    Ok(place)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{CONSOLE, OUTPUT, keep_in};

    #[test]
    fn the_last_hosts_logs_alone_are_kept() {
        let (root, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(dir.path().join(CONSOLE), "first").unwrap();
        fs::write(dir.path().join(OUTPUT), "first").unwrap();
        keep_in(root.path(), "run", dir.path()).unwrap();
        fs::write(dir.path().join(CONSOLE), "second").unwrap();
        fs::remove_file(dir.path().join(OUTPUT)).unwrap();
        let place = keep_in(root.path(), "run", dir.path()).unwrap();
        assert_eq!(fs::read_to_string(place.join(CONSOLE)).unwrap(), "second");
        assert!(!place.join(OUTPUT).exists());
    }
}
