//! What holds for the whole tree and no compiler checks: layers, unsafe code, file sizes, names
//! that must not be in it, tests that nobody runs.

mod ignored;
mod layers;
mod source;
mod text;
mod unsafe_code;

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::files;
use crate::run::Tool;

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

/// The files of the checkout: those that git knows, and those that it would take.
#[derive(Debug)]
struct Tree {
    root: PathBuf,
    /// Relative to the root.
    files: Vec<String>,
}

impl Tree {
    fn read() -> Result<Self> {
        let root = files::workspace()?;
        let listed = Tool::new("git")
            .dir(&root)
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .output()?;
        let known = |file: &&str| !file.is_empty() && root.join(file).is_file();
        let files = listed.split('\0').filter(known).map(str::to_owned).collect();
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
