//! The sources that the series are for, from Debian's mirror into the cache.
//!
//! The version that BASE names is fetched, and its files are compared with BASE's sums. When the
//! mirror has it no more, or only in its lists, the next lower one that it has is taken, since the
//! patches are to apply to that, too. Each time this is said, and it is that version which
//! everything that is made from it goes by.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use sha2::{Digest, Sha256};

use super::archive::{self, Archive, Gone, Package, Unreachable};
use super::series::{Base, Series};
use crate::run::Tool;
use crate::{cache, deps, files};

/// What unpacks and patches.
pub(super) const PACKAGES: &[&str] = &["dpkg-dev", "patch", "perl", "tar", "xz-utils"];

/// To be counted up when this file makes something else from the same inputs.
const FORMAT: &str = "2";

/// An unpacked source.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) version: String,
    /// Its folder, in the cache.
    pub(super) tree: PathBuf,
}

/// The source for a series.
pub(super) fn get(series: &Series) -> Result<Source> {
    let package = series.package()?;
    let base = &series.base;
    // What the cache has needs no mirror.
    if let Some(source) = cached(&package, &base.version)? {
        return Ok(source);
    }
    let versions = candidates(&Archive::open_or_old(archive::RECENT)?, &package, &base.version)?;
    let mut why = None;
    for version in &versions {
        // Without a mirror what the cache has will do.
        let offline = why.as_ref().is_some_and(|error: &anyhow::Error| error.is::<Unreachable>());
        let found = match cached(&package, version)? {
            Some(source) => Ok(source),
            None if offline => continue,
            None => fetched(&package, version, base),
        };
        match found {
            Ok(source) => {
                if source.version != base.version {
                    instead(&package, base, version, why.as_ref());
                }
                return Ok(source);
            }
            Err(error) if error.is::<Gone>() || error.is::<Unreachable>() => why = Some(error),
            Err(error) => return Err(error),
        }
    }
    let why = why.unwrap_or_else(|| anyhow!("the lists have no version that the mirror has"));
    Err(why.context(format!("there is no source of {} {}", package.name(), base.version)))
}

/// The version that is used in the place of BASE's, if the mirror was found not to have that.
pub(super) fn substitute(series: &Series, archive: &Archive) -> Result<Option<String>> {
    let package = series.package()?;
    let base = &series.base.version;
    if cached(&package, base)?.is_some() || !archive.is_gone(&package, base) {
        return Ok(None);
    }
    for version in candidates(archive, &package, base)? {
        if cached(&package, &version)?.is_some() {
            return Ok(Some(version));
        }
    }
    Ok(None)
}

/// Says what is used in the place of BASE's version.
fn instead(package: &Package, base: &Base, version: &str, why: Option<&anyhow::Error>) {
    let why = why.map(|error| error.root_cause().to_string());
    let why = why.unwrap_or_else(|| "the mirror has not got its files".to_owned());
    eprintln!(
        "{} {}, which BASE names: {why}; using {version} in its place",
        package.name(),
        base.version
    );
}

/// The versions that may be used, the best one first: BASE's and those below; if the archive does
/// not know that one, all. Those are left out whose files the mirror was found not to have.
fn candidates(archive: &Archive, package: &Package, base: &str) -> Result<Vec<String>> {
    let listed = archive.versions(package)?;
    ensure!(!listed.is_empty(), "this machine's mirrors have no package {}", package.name());
    let first = listed.iter().position(|version| version == base).unwrap_or(0);
    Ok(listed
        .into_iter()
        .skip(first)
        .filter(|version| !archive.is_gone(package, version))
        .collect())
}

/// A source that is in the cache.
fn cached(package: &Package, version: &str) -> Result<Option<Source>> {
    let entry = cache::existing(&name(package), &key(package, version))?;
    Ok(entry.map(|entry| Source { version: version.to_owned(), tree: entry.join("source") }))
}

/// A source from the mirror.
fn fetched(package: &Package, version: &str, base: &Base) -> Result<Source> {
    let entry = cache::entry(&name(package), &key(package, version), |place| {
        deps::ensure(PACKAGES)?;
        println!("getting {} {version} from Debian", package.name());
        fetch(package, version, base, place)
    })?;
    Ok(Source { version: version.to_owned(), tree: entry.join("source") })
}

/// Where the source of BASE's version is in the cache, or would be.
pub(super) fn place(series: &Series) -> Result<PathBuf> {
    let package = series.package()?;
    cache::place(&name(&package), &key(&package, &series.base.version))
}

fn name(package: &Package) -> String {
    format!("source-{}", package.name())
}

fn key(package: &Package, version: &str) -> cache::Key {
    let mut key = cache::Key::default();
    key.add("package", package.name()).add("version", version).add("format", FORMAT);
    key
}

/// Gets a source and unpacks it into the folder `source` in `place`.
fn fetch(package: &Package, version: &str, base: &Base, place: &Path) -> Result<()> {
    Archive::open_or_old(archive::FRESH)?.download(package, version, place)?;
    match package {
        Package::Source(_) => {
            verify(place, version, base)?;
            unpack_source(place)
        }
        Package::Binary(name) => {
            let deb = only(place, "deb")?;
            let unpacked = place.join("deb");
            Tool::new("dpkg-deb").arg("--extract").arg(&deb).arg(&unpacked).log_on_failure()?;
            fs::remove_file(deb)?;
            let sources = unpacked.join("usr/src");
            verify(&sources, version, base)?;
            Tool::new("tar")
                .args(["--extract", "--file"])
                .arg(only(&sources, "xz")?)
                .arg("--directory")
                .arg(place)
                .log_on_failure()?;
            fs::rename(place.join(name), place.join("source"))?;
            fs::remove_dir_all(unpacked).context("cannot remove the unpacked package")
        }
    }
}

/// Unpacks a Debian source package, with Debian's own patches applied. dpkg-source compares the
/// files with the .dsc's sums. It warns that it has no key for the .dsc's signature: the .dsc is
/// what apt has compared with a signed list.
fn unpack_source(place: &Path) -> Result<()> {
    Tool::new("dpkg-source")
        .arg("--extract")
        .arg(only(place, "dsc")?)
        .arg("source")
        .dir(place)
        .log_on_failure()
}

fn only(folder: &Path, ending: &str) -> Result<PathBuf> {
    let mut found = files::find_in(folder, ending)?;
    ensure!(found.len() == 1, "expected one .{ending} in {}, found {found:?}", folder.display());
    found.pop().context("no file")
}

/// Compares the files of BASE's version with BASE's sums. Those of another version have none there.
fn verify(folder: &Path, version: &str, base: &Base) -> Result<()> {
    if version != base.version {
        return Ok(());
    }
    ensure!(!base.files.is_empty(), "BASE names no files");
    for (sum, name) in &base.files {
        let path = folder.join(name);
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let found: String =
            Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        if found != *sum {
            bail!("{name} is not the file that BASE names: its SHA-256 is {found}");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::verify;
    use crate::patches::series::Base;

    /// SHA-256 of "x".
    const SUM: &str = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";

    #[test]
    fn the_files_of_bases_version_have_bases_sums() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.dsc"), "x").unwrap();
        let base = |sum: &str| Base {
            package: "xen".to_owned(),
            version: "4.17.5-1".to_owned(),
            files: vec![(sum.to_owned(), "a.dsc".to_owned())],
        };
        verify(dir.path(), "4.17.5-1", &base(SUM)).unwrap();
        assert!(verify(dir.path(), "4.17.5-1", &base(&SUM.replace('2', "3"))).is_err());
        verify(dir.path(), "4.17.6-1", &base("")).unwrap();
        let none = Base { files: Vec::new(), ..base(SUM) };
        assert!(verify(dir.path(), "4.17.5-1", &none).is_err());
    }
}
