//! Whether the series are for the newest packages that Debian has: a host with an older one lacks
//! what Debian has mended since. The lists count, whether or not the mirror has the files.

use std::cmp::Ordering;

use anyhow::{Context, Result, bail};

use super::archive::{self, Archive, Unreachable, compare};
use super::{series, source};
use crate::lab::image::SUITE;
use crate::{deps, files};

/// Fails if a BASE is behind the archive; returns why it was not looked at, if it was not.
pub(crate) fn check() -> Result<Option<String>> {
    deps::ensure(archive::PACKAGES)?;
    let archive = match Archive::open(archive::RECENT) {
        Err(error) if error.is::<Unreachable>() => return Ok(Some(error.to_string())),
        opened => opened?,
    };
    let mut behind = Vec::new();
    for series in series::all(&files::workspace()?)? {
        let package = series.package()?;
        let versions = archive.versions(&package)?;
        let newest = versions
            .first()
            .with_context(|| format!("Debian {SUITE} has no package {}", package.name()))?;
        let base = &series.base.version;
        if let Some(version) = source::substitute(&series, &archive)? {
            println!(
                "{}: the mirror lists {} {base}, but has not got its files; what is built here is \
                 built from {version}",
                series.shown(),
                package.name()
            );
        }
        if compare(base, newest)? == Ordering::Less {
            behind.push(format!(
                "{}/BASE is for {} {base}, and Debian has {newest}: rebase the series \
                 (CONTRIBUTING.md)",
                series.shown(),
                package.name()
            ));
        }
    }
    if !behind.is_empty() {
        bail!("{}", behind.join("\n"));
    }
    let security = format!(" {SUITE}-security ");
    let looked_at = deps::apt_sources(SUITE)?.iter().any(|line| line.contains(&security));
    Ok((!looked_at).then(|| format!("this machine's apt has no source of {}", security.trim())))
}
