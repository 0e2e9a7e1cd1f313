//! The Debian packages that a task needs, installed when they are missing.

use std::process::Stdio;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::run::{self, Tool};

/// What the workspace needs to be compiled. libxen-dev brings the headers that h2-sys is generated
/// from, libclang-dev what reads them; xendevd hears of devices through libudev.
pub(crate) const BUILD: &[&str] =
    &["gcc", "libc6-dev", "libclang-dev", "libudev-dev", "libxen-dev", "pkg-config"];

/// What the lab needs: the emulator with its firmware, and what makes the disk of its host.
pub(crate) const LAB: &[&str] = &[
    "apt",
    "busybox-static",
    "e2fsprogs",
    "ipxe-qemu",
    "mmdebstrap",
    "qemu-system-x86",
    "seabios",
    "tar",
    "util-linux",
];

/// What those need who are not root: the image's files belong to root and others, if only in a user
/// namespace.
pub(crate) const LAB_WITHOUT_ROOT: &[&str] = &["uidmap"];

/// The same package list gets another try when the mirror fails, and then gives up.
const TRIES: u32 = 3;

/// Installs those of `packages` that are missing, and says which.
pub(crate) fn ensure(packages: &[&str]) -> Result<()> {
    let missing = missing(packages)?;
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("installing Debian packages: {}", missing.join(" "));
    // The lists first: a version that they name may have left the mirror since.
    retry("apt-get update", || as_root("apt-get").args(["--quiet", "update"]).log_on_failure())?;
    retry("apt-get install", || {
        as_root("apt-get")
            .args(["--quiet", "--yes", "--no-install-recommends", "install"])
            .args(&missing)
            .log_on_failure()
    })
}

/// Which of `packages` are not installed.
pub(crate) fn missing<'a>(packages: &[&'a str]) -> Result<Vec<&'a str>> {
    // dpkg-query fails when it knows one of the names not at all; what it prints about the others
    // holds all the same.
    let output = std::process::Command::new("dpkg-query")
        .args(["--show", "--showformat", "${Package} ${db:Status-Status}\n"])
        .args(packages)
        .stdin(Stdio::null())
        .output()
        .context("cannot run dpkg-query: the lab needs Debian 12")?;
    let known = String::from_utf8_lossy(&output.stdout);
    let installed =
        |name: &str| known.lines().any(|line| line.split_once(' ') == Some((name, "installed")));
    Ok(packages.iter().copied().filter(|name| !installed(name)).collect())
}

/// Runs `action` until it succeeds, with longer and longer breaks.
pub(crate) fn retry(what: &str, mut action: impl FnMut() -> Result<()>) -> Result<()> {
    let mut attempt = 1;
    loop {
        match action() {
            Ok(()) => return Ok(()),
            Err(error) if attempt < TRIES => eprintln!("{what} failed, trying again: {error:#}"),
            Err(error) => {
                return Err(error).with_context(|| format!("{what} failed {TRIES} times"));
            }
        }
        thread::sleep(Duration::from_secs(u64::from(5 * attempt)));
        attempt += 1;
    }
}

/// A command that needs root: as it is for root, through sudo for everyone else.
fn as_root(program: &str) -> Tool {
    let tool = if is_root() {
        Tool::new(program)
    } else {
        Tool::new("sudo").args(["DEBIAN_FRONTEND=noninteractive", program])
    };
    tool.env("DEBIAN_FRONTEND", "noninteractive")
}

/// Whether this process may do everything.
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// The machine's own Debian sources as one-line entries for a new system: whatever mirror it uses,
/// we use.
pub(crate) fn apt_sources(suite: &str) -> Result<Vec<String>> {
    let format = "$(ORIGIN)|$(CODENAME)|$(REPO_URI)|$(COMPONENT)";
    let list = || {
        run::Tool::new("apt-get")
            .args(["indextargets", "--format", format, "Created-By: Packages"])
            .output()
    };
    let mut targets = list()?;
    if !targets.lines().any(|line| line.starts_with("Debian|")) {
        retry("apt-get update", || {
            as_root("apt-get").args(["--quiet", "update"]).log_on_failure()
        })?;
        targets = list()?;
    }
    let mut sources: Vec<String> =
        targets.lines().filter_map(|line| source_of(line, suite)).collect();
    sources.sort();
    sources.dedup();
    if sources.is_empty() {
        bail!("this machine's apt has no source of Debian {suite}: the lab's host is made from it");
    }
    Ok(sources)
}

/// One index target as a line of sources.list, when it is Debian's, of `suite` or of its updates.
/// It names no key: Debian's are among those that apt trusts anyway.
fn source_of(target: &str, suite: &str) -> Option<String> {
    let mut fields = target.split('|');
    let (origin, codename, uri, component) =
        (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let wanted = codename
        .strip_prefix(suite)
        .is_some_and(|rest| matches!(rest, "" | "-updates" | "-security"));
    (origin == "Debian" && wanted).then(|| format!("deb {uri} {codename} {component}"))
}

/// The machine's apt settings for downloads (proxy, clock checks), as options for another apt.
pub(crate) fn apt_acquire_options() -> Result<Vec<String>> {
    let dump = Tool::new("apt-config").args(["dump"]).output()?;
    let wanted = |line: &&str| {
        ["Acquire::Check-", "Acquire::Max-", "Acquire::http", "Acquire::https", "Acquire::ForceIPv"]
            .iter()
            .any(|name| line.starts_with(name))
    };
    Ok(dump.lines().filter(wanted).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::source_of;

    #[test]
    fn sources_are_debians_and_of_the_suite() {
        assert_eq!(
            source_of("Debian|bookworm-security|http://mirror.test/sec/|main", "bookworm")
                .as_deref(),
            Some("deb http://mirror.test/sec/ bookworm-security main")
        );
        assert_eq!(source_of("Debian|trixie|http://mirror.test/|main", "bookworm"), None);
        assert_eq!(source_of("Other|bookworm|http://mirror.test/|main", "bookworm"), None);
    }
}
