//! `cargo xtask deny`: whether the dependencies are as deny.toml wants them, by cargo-deny.
//!
//! It comes from the registry, is built once, and kept in the cache. The advisories are a git
//! repository of somebody else's that changes by the day, so they are looked at on demand only:
//! what passed yesterday is to pass today.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::install::cargo;
use crate::progress::Step;
use crate::run::Tool;
use crate::{cache, deps, files};

const VERSION: &str = "0.20.2";

/// The checks that need nothing but the checkout and the registry.
const CHECKS: &[&str] = &["bans", "licenses", "sources"];

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Look for known vulnerabilities, too. Gets the RustSec advisory database with git
    #[arg(long)]
    advisories: bool,
}

pub(crate) fn command(options: &Options) -> Result<()> {
    check(if options.advisories { &["advisories"] } else { &[] })
}

/// Checks all of the workspace, and what `more` names.
pub(crate) fn check(more: &[&str]) -> Result<()> {
    let root = files::workspace()?;
    // Cargo sets the variable for us; a program that is called directly goes by it, too.
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    Tool::tied(program(&root)?)
        .args(["--log-level", "warn", "check", "--hide-inclusion-graph"])
        .args(CHECKS)
        .args(more)
        .env("CARGO", cargo)
        .dir(&root)
        .run()
}

/// What it is called in the cache.
const ENTRY: &str = "cargo-deny";

/// Where it is in the cache, or would be.
pub(crate) fn place() -> Result<PathBuf> {
    cache::place(ENTRY, &key())
}

fn key() -> cache::Key {
    let mut key = cache::Key::default();
    key.add("version", VERSION).add("format", "1");
    key
}

/// cargo-deny, built now if this machine has none yet.
fn program(root: &Path) -> Result<PathBuf> {
    let entry = cache::entry(ENTRY, &key(), |place| {
        deps::ensure(deps::BUILD)?;
        let step = Step::start("building cargo-deny (once, about a minute on two processors)");
        let target = place.join("target");
        // It runs for a second, so the time to optimise it would never come back.
        cargo(root)
            .args(["install", "cargo-deny", "--locked", "--debug", "--version", VERSION, "--root"])
            .arg(place)
            .env("CARGO_TARGET_DIR", &target)
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .log_on_failure()?;
        std::fs::remove_dir_all(target)?;
        step.done();
        Ok(())
    })?;
    Ok(entry.join("bin/cargo-deny"))
}
