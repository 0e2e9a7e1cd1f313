//! The sources that the series are for, from Debian's mirror into the cache.
//!
//! The version that BASE names is fetched and its files are compared with their sums. When the
//! mirror has it no more, the one that it has is taken, and said to be another: the patches are to
//! apply to that, too.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use super::series::{Project, Series};
use crate::lab::image::SUITE;
use crate::run::Tool;
use crate::{cache, deps, files};

/// What unpacks and patches.
pub(super) const PACKAGES: &[&str] = &["apt", "dpkg-dev", "patch", "perl", "tar", "xz-utils"];

/// The unpacked source.
pub(super) fn get(series: &Series) -> Result<PathBuf> {
    let mut key = cache::Key::default();
    key.add("package", &series.base.package)
        .add("version", &series.base.version)
        .add("format", "1");
    let name = format!("source-{}", series.base.package);
    let entry = cache::entry(&name, &key, |place| {
        println!("getting {} {} from Debian", series.base.package, series.base.version);
        match series.project {
            Project::Xen => source_package(series, place),
            Project::Linux => linux_source(series, place),
        }
    })?;
    Ok(entry.join("source"))
}

/// A Debian source package, with Debian's own patches applied.
fn source_package(series: &Series, place: &Path) -> Result<()> {
    // Of its own: this machine's may have no sources of sources.
    let lists = place.join("apt");
    fs::create_dir_all(lists.join("lists/partial"))?;
    let sources: Vec<String> = deps::apt_sources(SUITE)?
        .iter()
        .filter_map(|line| Some(format!("deb-src{}", line.strip_prefix("deb")?)))
        .collect();
    fs::write(lists.join("sources.list"), sources.join("\n") + "\n")?;
    let apt = |words: &[&str]| {
        Tool::new("apt-get")
            .arg("-o")
            .arg(format!("Dir::Etc::sourcelist={}", lists.join("sources.list").display()))
            .args(["-o", "Dir::Etc::sourceparts=/dev/null", "-o"])
            .arg(format!("Dir::State::lists={}", lists.join("lists").display()))
            .args(["--quiet", "--download-only", "-o", "APT::Sandbox::User=root"])
            .args(words)
            .dir(place)
    };
    deps::retry("apt-get update", || apt(&["update"]).log_on_failure())?;
    let base = &series.base;
    let wanted = format!("{}={}", base.package, base.version);
    if apt(&["source", &wanted]).log_on_failure().is_err() {
        eprintln!("the mirror has no {wanted}: taking the version that it has");
        deps::retry("apt-get source", || apt(&["source", &base.package]).log_on_failure())?;
    } else {
        verify(place, &base.files)?;
    }
    let dsc = files::find(place, "dsc")?.pop().context("apt-get source brought no .dsc")?;
    Tool::new("dpkg-source")
        .args(["--no-check", "--extract"])
        .arg(dsc)
        .arg("source")
        .dir(place)
        .log_on_failure()?;
    fs::remove_dir_all(lists)?;
    Ok(())
}

/// Debian's kernel source, a tar in a binary package.
fn linux_source(series: &Series, place: &Path) -> Result<()> {
    let (major, _) =
        series.base.version.rsplit_once('.').context("the version of the kernel has no point")?;
    let package = format!("linux-source-{major}");
    let wanted = format!("{package}={}", series.base.version);
    let get = |what: &str| {
        Tool::new("apt-get").args(["--quiet", "download", what]).dir(place).log_on_failure()
    };
    let same = get(&wanted).is_ok();
    if !same {
        eprintln!("the mirror has no {wanted}: taking the version that it has");
        deps::retry("apt-get download", || get(&package))?;
    }
    let deb = files::find(place, "deb")?.pop().context("apt-get download brought no package")?;
    Tool::new("dpkg-deb").arg("--extract").arg(&deb).arg(place.join("deb")).log_on_failure()?;
    fs::remove_file(deb)?;
    let sources = place.join("deb/usr/src");
    if same {
        verify(&sources, &series.base.files)?;
    }
    let tar =
        files::find(&sources, "xz")?.pop().with_context(|| format!("{package} has no tar"))?;
    Tool::new("tar")
        .args(["--extract", "--file"])
        .arg(&tar)
        .arg("--directory")
        .arg(place)
        .log_on_failure()?;
    fs::rename(place.join(&package), place.join("source"))?;
    fs::remove_dir_all(place.join("deb"))?;
    Ok(())
}

fn verify(folder: &Path, sums: &[(String, String)]) -> Result<()> {
    for (sum, name) in sums {
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
