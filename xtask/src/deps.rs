//! The Debian packages that a task needs, installed when they are missing.
//!
//! What needs a package asks for it itself, and has its list beside it; here is what all of the
//! workspace is compiled with. A task that asks a person to wait anyway may ask for the packages of
//! all its parts at once, so that sudo has its question answered before anything takes long.

use std::error::Error;
use std::fmt;
use std::process::Stdio;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::run::{self, Ended, Tool};

/// What the workspace needs to be compiled. libxen-dev brings the headers that h2-sys is generated
/// from, libclang-dev what reads them; xendevd hears of devices through libudev.
pub(crate) const BUILD: &[&str] =
    &["gcc", "libc6-dev", "libclang-dev", "libudev-dev", "libxen-dev", "pkg-config"];

/// What the mirror refuses gets another try, and then we give up.
const TRIES: u32 = 3;

/// How long another apt may take that has its lists or packages locked.
const LOCK_WAIT: Duration = Duration::from_secs(600);

/// The same for dpkg's own lock, which apt knows how to wait for.
const DPKG_LOCK_WAIT: &str = "DPkg::Lock::Timeout=600";

/// Root's rights were not to be had: nothing that another try would change.
#[derive(Debug)]
pub(crate) struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Error for Refused {}

/// Installs those of `packages` that are missing, and says which.
pub(crate) fn ensure(packages: &[&str]) -> Result<()> {
    // The hosts of several groups start side by side, and one apt serves all of them.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME.lock();
    supported()?;
    let missing = missing(packages)?;
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("installing Debian packages: {}", missing.join(" "));
    let start = Instant::now();
    let installed = retry("apt-get install", || {
        // A version that the lists name may have left the mirror since. That one of the machine's
        // sources is broken need not be in our way.
        match apt_as_root(&["update"]) {
            Err(error) if error.is::<Refused>() => return Err(error),
            Err(error) => eprintln!("{error:#}\ngoing on with the package lists as they are"),
            Ok(()) => {}
        }
        apt_as_root(&[&["--yes", "--no-install-recommends", "install"], &missing[..]].concat())
    });
    installed.with_context(|| {
        format!("cannot install what is missing (as root: apt-get install {})", missing.join(" "))
    })?;
    eprintln!("installed ({:.1} s)", start.elapsed().as_secs_f64());
    Ok(())
}

/// Fails on anything but Debian 12: its packages are what we install, and what is built here has to
/// run with the libraries of a Debian 12 in the lab.
pub(crate) fn supported() -> Result<()> {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    match other_system(&text) {
        None => Ok(()),
        Some(found) => bail!(
            "this needs Debian 12 (bookworm), and the machine has {found}: the packages that are \
             installed, and the libraries that the lab's host has, are those of Debian 12"
        ),
    }
}

/// The name of the system that an os-release describes, if it is not Debian 12.
fn other_system(os_release: &str) -> Option<String> {
    let field = |name: &str| {
        let of = |line: &str| Some(line.strip_prefix(name)?.strip_prefix('=')?.to_owned());
        os_release.lines().find_map(of).map(|value| value.trim_matches(['"', '\'']).to_owned())
    };
    let (id, version) = (field("ID"), field("VERSION_ID"));
    if (id.as_deref(), version.as_deref()) == (Some("debian"), Some("12")) {
        return None;
    }
    Some(field("PRETTY_NAME").or(id).unwrap_or_else(|| "an unknown system".to_owned()))
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
        .context("cannot run dpkg-query")?;
    let known = String::from_utf8_lossy(&output.stdout);
    let installed =
        |name: &str| known.lines().any(|line| line.split_once(' ') == Some((name, "installed")));
    let mut missing: Vec<&str> = packages.iter().copied().filter(|name| !installed(name)).collect();
    missing.sort_unstable();
    missing.dedup();
    Ok(missing)
}

/// Runs `action` until it succeeds, with longer and longer breaks.
pub(crate) fn retry(what: &str, mut action: impl FnMut() -> Result<()>) -> Result<()> {
    let mut attempt = 1;
    loop {
        match action() {
            Ok(()) => return Ok(()),
            Err(error) if error.is::<Refused>() => return Err(error),
            Err(error) if attempt < TRIES => eprintln!("{what} failed, trying again: {error:#}"),
            Err(error) => {
                return Err(error).with_context(|| format!("{what} failed {TRIES} times"));
            }
        }
        thread::sleep(Duration::from_secs(u64::from(5 * attempt)));
        attempt += 1;
    }
}

/// apt-get with root's rights. Another apt that holds a lock is waited for.
fn apt_as_root(args: &[&str]) -> Result<()> {
    let start = Instant::now();
    let mut reported = false;
    loop {
        // What apt says about locks is looked at.
        let tool = as_root("env")?
            .args(["DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8"])
            .args(["apt-get", "--quiet", "-o", DPKG_LOCK_WAIT])
            .args(args);
        let shown = tool.shown();
        let ended = tool.ended()?;
        if ended.status.success() {
            return Ok(());
        }
        let said = ended.said();
        if is_locked(&said) && start.elapsed() < LOCK_WAIT {
            if !reported {
                eprintln!("waiting for another apt, which holds a lock");
                reported = true;
            }
            // A lock of fcntl's tells nobody when it is free.
            thread::sleep(Duration::from_secs(1));
            continue;
        }
        if let Some(refused) = refusal(&ended) {
            return Err(refused.into());
        }
        bail!("`{shown}` failed ({}):\n{}", ended.status, run::tail(&said, run::TAIL));
    }
}

/// Whether apt ended because another one works on the same files.
fn is_locked(said: &str) -> bool {
    said.contains("Could not get lock")
}

/// What sudo refused, if it was sudo that failed: it ends with 1 then, apt-get with 100.
fn refusal(ended: &Ended) -> Option<Refused> {
    if is_root() || ended.status.code() != Some(1) {
        return None;
    }
    let said = ended.said();
    let why = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no reason given");
    Some(Refused(format!("sudo did not give root's rights ({})", why.trim())))
}

/// A command that needs root: as it is for root, through sudo for everyone else. Sudo asks for the
/// password on the terminal, so nothing else may be drawn there meanwhile.
pub(crate) fn as_root(program: &str) -> Result<Tool> {
    if is_root() {
        Ok(Tool::new(program))
    } else if in_path("sudo") {
        Ok(Tool::new("sudo").arg(program))
    } else {
        let what = format!("{program} needs root's rights, and this machine has no sudo");
        Err(Refused(what).into())
    }
}

/// Whether a folder of the search path has `program`.
pub(crate) fn in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
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
        Tool::new("apt-get")
            .args(["indextargets", "--format", format, "Created-By: Packages"])
            .output()
    };
    let mut targets = list()?;
    if !targets.lines().any(|line| line.starts_with("Debian|")) {
        retry("apt-get update", || apt_as_root(&["update"]))?;
        targets = list()?;
    }
    let mut sources: Vec<String> =
        targets.lines().filter_map(|line| source_of(line, suite)).collect();
    sources.sort();
    sources.dedup();
    if sources.is_empty() {
        bail!("this machine's apt has no source of Debian {suite}, which everything is made from");
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
    use anyhow::{Context, Result};

    use super::{Refused, is_locked, other_system, retry, source_of};

    #[test]
    fn only_debian_12_is_supported() {
        let bookworm =
            "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nID=debian\n";
        assert_eq!(other_system(bookworm), None);
        let trixie = bookworm.replace("12", "13").replace("bookworm", "trixie");
        assert_eq!(other_system(&trixie).as_deref(), Some("Debian GNU/Linux 13 (trixie)"));
        assert_eq!(other_system("ID=arch\n").as_deref(), Some("arch"));
        assert_eq!(other_system("").as_deref(), Some("an unknown system"));
    }

    #[test]
    fn a_refusal_is_not_tried_again() {
        let mut tries = 0;
        let ended = retry("it", || -> Result<()> {
            tries += 1;
            Err(Refused("no".to_owned())).context("why")
        });
        assert!(ended.unwrap_err().is::<Refused>());
        assert_eq!(tries, 1);
    }

    #[test]
    fn a_lock_is_told_from_other_failures() {
        assert!(is_locked(
            "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 7 (apt-get)\n\
             E: Unable to lock directory /var/lib/apt/lists/\n"
        ));
        assert!(!is_locked("E: Failed to fetch http://mirror.test/x  404  Not Found\n"));
    }

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
