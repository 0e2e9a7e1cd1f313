//! Files and folders: where the checkout is, and a few operations that std has not.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The checkout that this program was built from.
pub(crate) fn workspace() -> Result<PathBuf> {
    // Cargo sets the variable for `cargo xtask`; a binary that is called directly goes by where it
    // was compiled.
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    let root = package.parent().context("the package xtask has no parent folder")?;
    Ok(root.to_path_buf())
}

/// Where Cargo puts what it builds for this checkout.
pub(crate) fn target() -> Result<PathBuf> {
    Ok(match std::env::var_os("CARGO_TARGET_DIR") {
        Some(target) => workspace()?.join(target),
        None => workspace()?.join("target"),
    })
}

/// What `dir` holds, in an order that does not depend on the file system.
pub(crate) fn sorted_dir(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut children = fs::read_dir(dir)
        .with_context(|| format!("cannot list {}", dir.display()))?
        .map(|child| Ok(child?.path()))
        .collect::<Result<Vec<_>>>()?;
    children.sort();
    Ok(children)
}

/// Writes `content` to `path`, making the folders above it.
pub(crate) fn write(path: &Path, content: impl AsRef<[u8]>, mode: u32) -> Result<()> {
    make_parent(path)?;
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok(())
}

/// Copies one file with its permissions, making the folders above the copy.
pub(crate) fn install(from: &Path, to: &Path, mode: u32) -> Result<()> {
    make_parent(to)?;
    fs::copy(from, to)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode))?;
    Ok(())
}

/// Copies a file, a symbolic link or a whole folder. Folders that exist are filled, files that
/// exist are replaced.
pub(crate) fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    let meta =
        fs::symlink_metadata(from).with_context(|| format!("cannot read {}", from.display()))?;
    if meta.is_dir() {
        fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
        for child in sorted_dir(from)? {
            copy_tree(&child, &to.join(child.file_name().unwrap_or_default()))?;
        }
        return Ok(());
    }
    make_parent(to)?;
    if meta.is_symlink() {
        link(&fs::read_link(from)?, to)
    } else {
        fs::copy(from, to)
            .map(drop)
            .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
    }
}

/// Makes the symbolic link `at`, which points to `target`, replacing a link or file that is there.
pub(crate) fn link(target: &Path, at: &Path) -> Result<()> {
    make_parent(at)?;
    if fs::symlink_metadata(at).is_ok() {
        fs::remove_file(at).with_context(|| format!("cannot replace {}", at.display()))?;
    }
    symlink(target, at).with_context(|| format!("cannot make the link {}", at.display()))
}

/// Every file below `dir` whose name ends in `extension`.
pub(crate) fn find(dir: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if !dir.is_dir() {
        return Ok(found);
    }
    for child in sorted_dir(dir)? {
        if child.is_dir() {
            found.extend(find(&child, extension)?);
        } else if child.extension() == Some(OsStr::new(extension)) {
            found.push(child);
        }
    }
    Ok(found)
}

/// The files in `dir` itself whose names end in `extension`.
pub(crate) fn find_in(dir: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut found = sorted_dir(dir)?;
    found.retain(|path| path.is_file() && path.extension() == Some(OsStr::new(extension)));
    Ok(found)
}

fn make_parent(path: &Path) -> Result<()> {
    let parent = path.parent().context("the path has no parent folder")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))
}
