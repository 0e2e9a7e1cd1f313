//! A copy of a source that may be patched.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::series::Series;
use super::source::Source;
use crate::run::Tool;

/// A source in `place`, which has to be in the cache, with nothing applied: hard links, which take
/// a moment; patch(1) writes new files.
pub(super) fn pristine(source: &Source, place: &Path) -> Result<PathBuf> {
    let tree = place.join("source");
    Tool::new("cp").args(["--archive", "--link"]).arg(&source.tree).arg(&tree).log_on_failure()?;
    Ok(tree)
}

/// The same with the whole series applied, and `extra` behind it.
pub(super) fn patched(
    source: &Source,
    series: &Series,
    place: &Path,
    extra: &[PathBuf],
) -> Result<PathBuf> {
    let tree = pristine(source, place)?;
    series.patches.iter().chain(extra).try_for_each(|patch| apply(&tree, patch))?;
    Ok(tree)
}

/// Applies a patch, without fuzz.
pub(super) fn apply(tree: &Path, patch: &Path) -> Result<()> {
    Tool::new("patch")
        .args([
            "--strip=1",
            "--fuzz=0",
            "--no-backup-if-mismatch",
            "--silent",
            "--batch",
            "--input",
        ])
        .arg(patch)
        .dir(tree)
        .log_on_failure()
        .with_context(|| format!("{} does not apply", shown(patch)))
}

/// A patch's name.
pub(super) fn shown(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
