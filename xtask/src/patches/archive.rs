//! Debian's archive as this machine's mirrors have it: which versions of a package there are, and
//! their files.
//!
//! apt works on package lists of its own, kept in the cache: those of the machine may be old, only
//! root can renew them, and few have lists of source packages. The sources are the machine's, and
//! what comes is checked by apt against the signed sums of the lists.

use std::cmp::Ordering;
use std::error::Error;
use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};

use crate::lab::image::SUITE;
use crate::run::{TAIL, Tool, tail};
use crate::{cache, deps, files};

/// What asks and compares.
pub(super) const PACKAGES: &[&str] = &["apt", "dpkg"];

/// Lists that are about to be used for a download.
pub(super) const FRESH: Duration = Duration::from_secs(600);

/// Lists that are asked what there is, and how long it is remembered what there is not.
pub(super) const RECENT: Duration = Duration::from_secs(6 * 3600);

/// What apt says when a mirror cannot be reached, which is nobody's fault here.
const UNREACHABLE: &[&str] = &[
    "Could not resolve",
    "Temporary failure resolving",
    "Could not connect",
    "Cannot initiate the connection",
    "Unable to connect",
    "Connection failed",
    "Connection timed out",
    "connection timed out",
    "Network is unreachable",
    "No route to host",
];

/// The mirror cannot be reached.
#[derive(Debug)]
pub(super) struct Unreachable(String);

impl fmt::Display for Unreachable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the mirror cannot be reached: {}", self.0)
    }
}

impl Error for Unreachable {}

/// The mirror does not have the files of a version, though its lists may name it.
#[derive(Debug)]
pub(super) struct Gone(String);

impl fmt::Display for Gone {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the mirror has not got the files of {}", self.0)
    }
}

impl Error for Gone {}

/// A package as the archive names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Package {
    Source(String),
    Binary(String),
}

impl Package {
    pub(super) fn name(&self) -> &str {
        match self {
            Package::Source(name) | Package::Binary(name) => name,
        }
    }

    /// The kind of list that has it.
    fn list(&self) -> &'static str {
        match self {
            Package::Source(_) => "Sources",
            Package::Binary(_) => "Packages",
        }
    }
}

#[derive(Debug)]
pub(super) struct Archive {
    dir: PathBuf,
    _lock: File,
}

impl Archive {
    /// The archive by lists that are no older than `age`; where the mirror cannot be reached, the
    /// error is [`Unreachable`].
    pub(super) fn open(age: Duration) -> Result<Self> {
        let archive = Self::with_old_lists()?;
        if archive.age().is_none_or(|lists| lists > age) {
            archive.update()?;
        }
        Ok(archive)
    }

    /// The same with lists of any age, if there are any, where the mirror cannot be reached.
    pub(super) fn open_or_old(age: Duration) -> Result<Self> {
        // Behind the error, since one lock is not had twice.
        let error = match Self::open(age) {
            Err(error) if error.is::<Unreachable>() => error,
            ended => return ended,
        };
        let archive = Self::with_old_lists()?;
        ensure!(archive.age().is_some(), error);
        eprintln!("{error:#}; going by the package lists of the last time");
        Ok(archive)
    }

    fn with_old_lists() -> Result<Self> {
        deps::ensure(PACKAGES)?;
        let sources = sources(&deps::apt_sources(SUITE)?);
        let (dir, lock) = cache::kept_dir("apt-lists")?;
        fs::create_dir_all(dir.join("lists/partial"))?;
        fs::create_dir_all(dir.join("archives/partial"))?;
        let list = dir.join("sources.list");
        let archive = Archive { dir, _lock: lock };
        if fs::read_to_string(&list).ok().as_ref() != Some(&sources) {
            // The lists are of other sources.
            let _ = fs::remove_file(archive.stamp());
            files::write(&list, sources, 0o644)?;
        }
        Ok(archive)
    }

    /// Every version of `package` that the archive has, the newest first.
    pub(super) fn versions(&self, package: &Package) -> Result<Vec<String>> {
        let said = self.tool("apt-cache").args(["madison", package.name()]).output()?;
        let mut versions: Vec<String> =
            said.lines().filter_map(|line| found(line, package)).collect();
        let mut failed = Ok(());
        versions.sort_by(|left, right| {
            compare(right, left).unwrap_or_else(|error| {
                failed = Err(error);
                Ordering::Equal
            })
        });
        failed?;
        versions.dedup();
        Ok(versions)
    }

    /// Gets the files of `package`, of a version that the archive has, into `place`. Where its
    /// mirror has not got them the error is [`Gone`], and that is remembered for a while; where it
    /// cannot be reached it is [`Unreachable`].
    pub(super) fn download(&self, package: &Package, version: &str, place: &Path) -> Result<()> {
        let words: &[&str] = match package {
            Package::Source(_) => &["source", "--download-only", "--only-source"],
            Package::Binary(_) => &["download"],
        };
        let wanted = format!("{}={version}", package.name());
        let mut gone = false;
        deps::retry(&format!("getting {wanted}"), || {
            let tool = self.tool("apt-get").arg("--quiet").args(words).arg(&wanted).dir(place);
            let shown = tool.shown();
            let ended = tool.ended()?;
            let said = ended.said();
            gone = !ended.status.success() && is_gone(&said);
            match unreachable(&said) {
                _ if gone || ended.status.success() => Ok(()),
                Some(line) => Err(Unreachable(line.to_owned()).into()),
                None => bail!("`{shown}` failed ({}):\n{}", ended.status, tail(&said, TAIL)),
            }
        })?;
        if gone {
            files::write(&self.gone_stamp(package, version), "", 0o644)?;
            return Err(Gone(format!("{} {version}", package.name())).into());
        }
        Ok(())
    }

    /// Whether a mirror was found not to have the files of a version, not long ago.
    pub(super) fn is_gone(&self, package: &Package, version: &str) -> bool {
        age(&self.gone_stamp(package, version)).is_some_and(|age| age < RECENT)
    }

    fn gone_stamp(&self, package: &Package, version: &str) -> PathBuf {
        self.dir.join("gone").join(format!("{}_{version}", package.name()))
    }

    fn update(&self) -> Result<()> {
        // What was not to be had would else be left out, with a warning.
        let once = || {
            let tool = self.tool("apt-get").args(["--quiet", "--error-on=any", "update"]);
            let shown = tool.shown();
            let ended = tool.ended()?;
            if ended.status.success() {
                return Ok(());
            }
            let said = ended.said();
            match unreachable(&said) {
                Some(line) => Err(Unreachable(line.to_owned()).into()),
                None => bail!("`{shown}` failed ({}):\n{}", ended.status, tail(&said, TAIL)),
            }
        };
        deps::retry("apt-get update", once)?;
        files::write(&self.stamp(), "", 0o644)
    }

    /// How old the lists are, if there are any.
    fn age(&self) -> Option<Duration> {
        age(&self.stamp())
    }

    /// Written behind each update.
    fn stamp(&self) -> PathBuf {
        self.dir.join("updated")
    }

    fn tool(&self, program: &str) -> Tool {
        let place = |name: &str| self.dir.join(name).display().to_string();
        let settings = [
            format!("Dir::Etc::sourcelist={}", place("sources.list")),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            format!("Dir::State::lists={}", place("lists")),
            format!("Dir::Cache::archives={}", place("archives")),
            "Dir::Cache::pkgcache=".to_owned(),
            "Dir::Cache::srcpkgcache=".to_owned(),
            "Acquire::Languages=none".to_owned(),
            // The folder is the user's, so apt's own user could not write there.
            "APT::Sandbox::User=root".to_owned(),
        ];
        let tool = Tool::new(program).env("LC_ALL", "C.UTF-8");
        settings.iter().fold(tool, |tool, setting| tool.args(["-o", setting]))
    }
}

/// How long ago a file was written, if it was.
fn age(path: &Path) -> Option<Duration> {
    let written = fs::metadata(path).ok()?.modified().ok()?;
    Some(SystemTime::now().duration_since(written).unwrap_or_default())
}

/// Lines of sources.list for binary and source packages, from those for binary ones: nothing but
/// the two kinds of lists that are read here.
fn sources(binary: &[String]) -> String {
    let mut lines = String::new();
    for line in binary.iter().filter(|line| line.ends_with(" main")) {
        let rest = line.trim_start_matches("deb ");
        lines.push_str(&format!("deb [arch=amd64 target=Packages] {rest}\n"));
        lines.push_str(&format!("deb-src [target=Sources] {rest}\n"));
    }
    lines
}

/// The version in a line of `apt-cache madison`, `NAME | VERSION | WHERE LIST`, if it is the
/// package's.
fn found(line: &str, package: &Package) -> Option<String> {
    let mut fields = line.split(" | ").map(str::trim);
    let (name, version, place) = (fields.next()?, fields.next()?, fields.next()?);
    let wanted = name == package.name() && place.ends_with(package.list());
    wanted.then(|| version.to_owned())
}

/// Whether apt failed because the mirror has no such file, or its lists no such version.
fn is_gone(said: &str) -> bool {
    let missing = |line: &str| line.contains("404") && line.contains("Not Found");
    let unlisted = |line: &str| line.contains("Version '") && line.contains("was not found");
    said.lines()
        .any(|line| missing(line) || unlisted(line) || line.contains("Can not find version"))
}

/// The line in which apt says that it cannot reach a mirror.
fn unreachable(said: &str) -> Option<&str> {
    let line = said.lines().find(|line| UNREACHABLE.iter().any(|what| line.contains(what)))?;
    Some(line.trim_start_matches(['E', 'W', ':', ' ']))
}

/// Compares versions as dpkg does.
pub(super) fn compare(left: &str, right: &str) -> Result<Ordering> {
    let holds = |relation: &str| -> Result<bool> {
        let tool = Tool::new("dpkg").args(["--compare-versions", left, relation, right]);
        let ended = tool.ended()?;
        match ended.status.code() {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            _ => Err(anyhow::anyhow!("{}", ended.said().trim().to_owned()))
                .with_context(|| format!("cannot compare {left} with {right}")),
        }
    };
    Ok(match (holds("lt")?, holds("gt")?) {
        (true, _) => Ordering::Less,
        (_, true) => Ordering::Greater,
        _ => Ordering::Equal,
    })
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use super::{Package, compare, found, is_gone, sources, unreachable};

    #[test]
    fn a_version_is_the_packages_own() {
        let line = "       xen | 4.17.5-1 | http://mirror.test/debian bookworm/main Sources";
        let package = Package::Source("xen".to_owned());
        assert_eq!(found(line, &package).as_deref(), Some("4.17.5-1"));
        assert_eq!(found(line, &Package::Binary("xen".to_owned())), None);
        assert_eq!(found(&line.replace("xen ", "xen-utils "), &package), None);
        assert_eq!(found("N: Unable to locate package xen", &package), None);
    }

    #[test]
    fn versions_are_debians() {
        assert_eq!(compare("4.17.5+72-g01-1", "4.17.6-1").unwrap(), Ordering::Less);
        assert_eq!(compare("6.1.192-2", "6.1.192-2").unwrap(), Ordering::Equal);
        assert_eq!(compare("6.1.100-1", "6.1.99-1").unwrap(), Ordering::Greater);
        assert_eq!(compare("1~rc1", "1").unwrap(), Ordering::Less);
    }

    #[test]
    fn the_lists_are_of_the_two_kinds_that_are_read() {
        let machine =
            ["deb http://mirror.test bookworm main", "deb http://mirror.test bookworm contrib"];
        assert_eq!(
            sources(&machine.map(str::to_owned)),
            "deb [arch=amd64 target=Packages] http://mirror.test bookworm main\n\
             deb-src [target=Sources] http://mirror.test bookworm main\n"
        );
    }

    #[test]
    fn a_mirror_out_of_reach_is_told_from_other_failures() {
        let said = "Err:1 http://mirror.test x\n  Temporary failure resolving 'mirror.test'\n";
        assert_eq!(unreachable(said), Some("Temporary failure resolving 'mirror.test'"));
        assert_eq!(unreachable("E: You don't have enough free space in /var/lib\n"), None);
        let missing =
            "E: Failed to fetch http://mirror.test/x  404  Not Found [IP: 192.0.2.1 80]\n";
        assert_eq!(unreachable(missing), None);
        assert!(is_gone(missing));
        assert!(is_gone("E: Version '1-1' for 'linux-source-6.1' was not found\n"));
        assert!(is_gone("E: Can not find version '1-1' of package 'xen'\n"));
        assert!(!is_gone(said));
        assert!(!is_gone("E: Failed to fetch http://mirror.test/x  503  Service Unavailable\n"));
    }
}
