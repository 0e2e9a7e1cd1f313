//! What holds for the whole tree and no compiler checks: layers, unsafe code, file sizes, names
//! that must not be in it, tests that nobody runs.

mod guests;
mod ignored;
mod layers;
mod source;
mod text;
mod unsafe_code;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use ignore::WalkBuilder;

use crate::files;

/// Checks everything, and fails with all that is wrong.
pub(crate) fn structure() -> Result<()> {
    let tree = Tree::read()?;
    let mut wrong = layers::check(&tree)?;
    wrong.extend(unsafe_code::check(&tree)?);
    wrong.extend(text::check(&tree)?);
    wrong.extend(ignored::check(&tree)?);
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n"));
    }
    Ok(())
}

/// Checks the images of the guests, and fails with all that is wrong.
pub(crate) fn images() -> Result<()> {
    let wrong = guests::check(&files::workspace()?)?;
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n"));
    }
    Ok(())
}

/// The files of the checkout, but for those that `.gitignore` names. Git itself is not asked: an
/// unpacked archive has none, and in a folder of another owner it refuses.
#[derive(Debug)]
struct Tree {
    root: PathBuf,
    /// Relative to the root.
    files: Vec<String>,
}

impl Tree {
    fn read() -> Result<Self> {
        Self::of(files::workspace()?)
    }

    fn of(root: PathBuf) -> Result<Self> {
        let mut files = Vec::new();
        let entries = WalkBuilder::new(&root)
            .standard_filters(false)
            .git_ignore(true)
            .require_git(false)
            .filter_entry(|entry| entry.file_name() != ".git")
            .sort_by_file_name(Ord::cmp)
            .build();
        for entry in entries {
            let entry = entry.context("cannot list the checkout's files")?;
            if entry.file_type().is_some_and(|kind| kind.is_file()) {
                let path = entry.path().strip_prefix(&root)?;
                files.push(path.to_str().context("a file's name is not UTF-8")?.to_owned());
            }
        }
        Ok(Tree { root, files })
    }

    /// The files with this ending, each with its text.
    fn texts(&self, ending: &str) -> impl Iterator<Item = (&str, String)> {
        self.files.iter().filter(move |file| file.ends_with(ending)).filter_map(|file| {
            // What is not text has no rules.
            Some((file.as_str(), std::fs::read_to_string(self.root.join(file)).ok()?))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::Tree;

    #[test]
    fn the_tree_is_read_without_git() {
        let dir = tempfile::tempdir().unwrap();
        for folder in [".git", ".ci", "src", "target", "src/target"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
            fs::write(dir.path().join(folder).join("file"), "").unwrap();
        }
        fs::write(dir.path().join(".gitignore"), "/target\n").unwrap();
        let tree = Tree::of(dir.path().to_owned()).unwrap();
        assert_eq!(tree.files, [".ci/file", ".gitignore", "src/file", "src/target/file"]);
    }
}
