//! What long suites have passed before: notes in the cache, one for a suite and all that its
//! outcome depends on.
//!
//! A long suite repeats the same thing hundreds of times. Doing that once for the very same
//! programs, guests and host is enough, and the tests' output says which suites were not run again,
//! and since when they are known to pass.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};

use crate::cache::{self, Key};

/// A suite with its inputs.
#[derive(Debug)]
pub(crate) struct Known {
    note: PathBuf,
}

impl Known {
    /// `inputs` is everything that the outcome depends on.
    pub(crate) fn new(suite: &str, inputs: &Key) -> Result<Self> {
        Ok(Self { note: cache::root()?.join("passed").join(format!("{suite}-{}", inputs.hex())) })
    }

    /// How long ago it passed, if it did.
    pub(crate) fn age(&self) -> Option<Duration> {
        let passed = fs::metadata(&self.note).ok()?.modified().ok()?;
        Some(SystemTime::now().duration_since(passed).unwrap_or_default())
    }

    /// Notes that it has passed now.
    pub(crate) fn passed(&self) -> Result<()> {
        let folder = self.note.parent().context("the note is in a folder")?;
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        fs::write(&self.note, "").with_context(|| format!("cannot write {}", self.note.display()))
    }
}
