//! `cargo xtask bare`: the README's two commands on a Debian that has nothing of ours yet.
//!
//! ```text
//!  this machine                     a root of its own, in namespaces of its own
//!  ------------                     -------------------------------------------
//!  root: mmdebstrap, git archive ->  Debian 12 with gcc, and sudo with a user of it
//!  toolchain                     ->  /opt/rust, read-only
//!  kernels, with --share-cache   ->  ~/.cache/lightvm
//!  namespace: unshare, pivot_root -> cargo xtask test; cargo xtask demo    (or the other way)
//!                                      |
//!  target/bare-logs/FIRST-AS.log  <----+
//! ```
//!
//! What is found here and nowhere else: a package that nobody asks for, since every developer's
//! machine has it; a question that a script cannot answer; a command that only root can run.

mod namespace;
pub(crate) mod root;

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;

use self::namespace::{Namespace, Stop};
use self::root::Root;
use crate::lab::failure::Failure;
use crate::run::{Tool, tail};
use crate::{cache, deps, files};

/// One of the README's commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Task {
    Test,
    Demo,
}

/// Who runs them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Account {
    /// Root, on a machine without sudo
    Root,
    /// A user who may do everything through sudo, without a password
    User,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Which command is the first on the machine; the other one follows [default: each, on a
    /// machine of its own]
    #[arg(long, value_enum)]
    first: Option<Task>,

    /// Who runs them [default: each, on a machine of its own]
    #[arg(long = "as", value_enum, value_name = "WHO")]
    account: Option<Account>,

    /// Give this to `cargo xtask test`: only this suite (may repeat)
    #[arg(long = "suite", value_name = "NAME")]
    suites: Vec<String>,

    /// Give this to `cargo xtask test`: no suites at all
    #[arg(long, conflicts_with = "suites")]
    no_lab: bool,

    /// Give the machine the hypervisors and kernels that this one has built already
    #[arg(long)]
    share_cache: bool,

    /// Keep the machine's files, and say where they are
    #[arg(long)]
    keep: bool,
}

/// How long one command may take: a cold run of all tests, several times.
const LIMIT: Duration = Duration::from_secs(4 * 3600);

/// Lines of a failed command's log that are shown.
const SHOWN: usize = 40;

/// Runs the commands; true if all of them did what they promise.
pub(crate) fn run(options: &Options) -> Result<bool> {
    deps::supported()?;
    if !deps::is_root() {
        return Err(again_as_root()?);
    }
    let logs = files::target()?.join("bare-logs");
    fs::create_dir_all(&logs).with_context(|| format!("cannot make {}", logs.display()))?;
    let stop = Stop::catch()?;
    let mut lines = Vec::new();
    let mut ended = Ok(());
    for first in options.first.map_or(vec![Task::Test, Task::Demo], |first| vec![first]) {
        for account in
            options.account.map_or(vec![Account::Root, Account::User], |account| vec![account])
        {
            if ended.is_ok() {
                ended = machine(options, first, account, &stop, &logs, &mut lines);
            }
        }
    }
    give_to_caller(&logs)?;
    println!("\n== summary");
    for line in &lines {
        println!("{line}");
    }
    ended?;
    Ok(lines.iter().all(|line| line.passed))
}

/// One line of the closing table.
#[derive(Debug)]
struct Line {
    first: Task,
    account: Account,
    task: Task,
    time: Duration,
    passed: bool,
}

impl fmt::Display for Line {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.passed { "ok" } else { "FAILED" };
        let place = format!("{} first, as {}", self.first, self.account);
        let time = self.time.as_secs_f64();
        write!(formatter, "{verdict:6} {place:20} cargo xtask {} {time:8.1} s", self.task)
    }
}

impl Task {
    /// What `cargo xtask` is called with.
    fn words(self, options: &Options) -> Vec<String> {
        let mut words = vec![self.to_string()];
        if self == Task::Test {
            words.extend(
                options.suites.iter().flat_map(|name| ["--suite".to_owned(), name.clone()]),
            );
            words.extend(options.no_lab.then(|| "--no-lab".to_owned()));
        }
        words
    }
}

impl fmt::Display for Task {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Task::Test => "test",
            Task::Demo => "demo",
        })
    }
}

impl fmt::Display for Account {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Account::Root => "root",
            Account::User => "user",
        })
    }
}

/// Both commands on one machine.
fn machine(
    options: &Options,
    first: Task,
    account: Account,
    stop: &Stop,
    logs: &Path,
    lines: &mut Vec<Line>,
) -> Result<()> {
    println!("== a bare Debian: {first} first, as {account}");
    let start = Instant::now();
    let root = Root::make(account, options.share_cache)?;
    println!("   made in {:.1} s", start.elapsed().as_secs_f64());
    let second = if first == Task::Test { Task::Demo } else { Task::Test };
    let log = logs.join(format!("{first}-{account}.log"));
    let mut file = File::create(&log).with_context(|| format!("cannot make {}", log.display()))?;
    for task in [first, second] {
        let words = task.words(options);
        writeln!(file, "== cargo xtask {}", words.join(" "))?;
        let start = Instant::now();
        let ended = Namespace { root: &root, stop }.run(&words, file.try_clone()?, LIMIT);
        let interrupted = matches!(
            &ended, Err(error) if error.downcast_ref::<Failure>().is_some_and(Failure::is_interrupt)
        );
        if interrupted {
            println!("   removing its files");
            return ended;
        }
        let line = Line { first, account, task, time: start.elapsed(), passed: ended.is_ok() };
        println!("   {line}");
        lines.push(line);
        if let Err(error) = ended {
            eprintln!("{error:#}; its log is {}, the end of which is", log.display());
            eprintln!("{}", tail(&String::from_utf8_lossy(&fs::read(&log)?), SHOWN));
        }
    }
    if let Err(error) = no_escapes(&log) {
        eprintln!("{error:#}");
        lines.iter_mut().rev().take(2).for_each(|line| line.passed = false);
    }
    if options.keep {
        println!("   kept: {}", root.keep().display());
        return Ok(());
    }
    root.remove()
}

/// The log is no terminal, so nothing in it is for one.
fn no_escapes(log: &Path) -> Result<()> {
    let text = fs::read(log).with_context(|| format!("cannot read {}", log.display()))?;
    let at = text.split(|byte| *byte == b'\n').position(|line| line.contains(&0x1b));
    if let Some(at) = at {
        bail!("{}:{}: escape codes of a terminal, where there is none", log.display(), at + 1);
    }
    Ok(())
}

/// Starts this program again through sudo, in place of this process; returns only if that fails.
fn again_as_root() -> Result<anyhow::Error> {
    ensure!(deps::in_path("sudo"), "namespaces and mounts need root's rights, or sudo");
    println!("going on as root, through sudo: namespaces and mounts need its rights");
    // The same checkout, toolchain and cache as here.
    let kept = ["PATH", "HOME", "CARGO", "CARGO_HOME", "RUSTUP_HOME", "CARGO_MANIFEST_DIR"];
    let kept = kept.iter().chain(&["CARGO_TARGET_DIR", "LIGHTVM_CACHE", "XDG_CACHE_HOME"]);
    let settings = kept.filter_map(|name| {
        let mut setting = OsString::from(format!("{name}="));
        setting.push(std::env::var_os(name)?);
        Some(setting)
    });
    let error = std::process::Command::new("sudo")
        .arg("env")
        .args(settings)
        .arg(std::env::current_exe().context("cannot find this program")?)
        .args(std::env::args_os().skip(1))
        .exec();
    Ok(anyhow::Error::new(error).context("cannot run sudo"))
}

/// Gives what lies in the checkout or the cache to the user who called sudo.
fn give_to_caller(path: &Path) -> Result<()> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    let (Some(user), Some(group)) = (number("SUDO_UID"), number("SUDO_GID")) else {
        return Ok(());
    };
    Tool::new("chown").args(["-R", &format!("{user}:{group}")]).arg(path).log_on_failure()?;
    let parent = path.parent().context("a folder in the checkout has a parent")?;
    chown(parent, Some(user), Some(group)).with_context(|| format!("{}", parent.display()))
}

/// The compiler that this checkout is built with.
fn toolchain() -> Result<PathBuf> {
    let sysroot = Tool::new("rustc").args(["--print", "sysroot"]).dir(&files::workspace()?);
    Ok(PathBuf::from(sysroot.output()?.trim()))
}

/// The cache that the hypervisors and kernels are taken from.
fn shared_cache() -> Result<PathBuf> {
    cache::root()
}
