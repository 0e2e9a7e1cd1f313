//! Runs a command with another root, in namespaces of its own: all its processes end with it.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::root::{Root, TOOLCHAIN};
use super::toolchain;
use crate::lab::failure::Failure;
use crate::run::tied_command;

/// Makes `$1` the root, with `$2` as its toolchain, and runs the rest in it. The machine's root is
/// not only left but gone: in a chroot, which leaves it behind, nobody could make user namespaces,
/// and mmdebstrap needs one where it is not root.
const ENTER: &str = r#"
    set -e
    root=$1 toolchain=$2 place=$3
    shift 3
    mount --bind "$root" "$root"
    mount --bind "$toolchain" "$root$place"
    mount -o remount,bind,ro "$root$place"
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mount --rbind /sys "$root/sys"
    hostname bare
    mkdir -p "$root/.machine"
    cd "$root"
    pivot_root . .machine
    umount --lazy /.machine
    rmdir /.machine
    exec "$@"
"#;

/// Settings that reach the network, and the certificates of whoever stands in between.
const PASSED: &[&str] = &[
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

#[derive(Debug)]
enum Event {
    Signal(i32),
    /// The command has ended, and is to be waited for.
    Ended,
}

/// Signals that ask this process to end. From here on they do nothing by themselves, so that what
/// was made can be removed.
#[derive(Debug)]
pub(super) struct Stop {
    events: Receiver<Event>,
    sender: Sender<Event>,
}

impl Stop {
    pub(super) fn catch() -> Result<Self> {
        let (sender, events) = channel();
        let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])
            .context("cannot catch signals")?;
        let to = sender.clone();
        thread::spawn(move || {
            for signal in &mut signals {
                // Without a receiver we are ending anyway.
                let _ = to.send(Event::Signal(signal));
            }
        });
        Ok(Stop { events, sender })
    }
}

/// Where a command runs.
#[derive(Debug)]
pub(super) struct Namespace<'a> {
    pub(super) root: &'a Root,
    pub(super) stop: &'a Stop,
}

impl Namespace<'_> {
    /// Runs `cargo xtask WORDS` in the checkout, with everything that it says going to `log`.
    pub(super) fn run(&self, words: &[String], log: File, limit: Duration) -> Result<()> {
        let mut child = self.command(words, log)?.spawn().context("cannot run unshare")?;
        let id = Pid::from_raw(i32::try_from(child.id())?);
        let sender = self.stop.sender.clone();
        thread::spawn(move || {
            // Left to be reaped, so that its id stays its own for as long as we may use it.
            let _ = waitid(Id::Pid(id), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
            let _ = sender.send(Event::Ended);
        });
        let shown = format!("cargo xtask {}", words.join(" "));
        match self.stop.events.recv_timeout(limit) {
            Ok(Event::Ended) => {
                let status = child.wait().context("cannot wait for unshare")?;
                if !status.success() {
                    bail!("`{shown}` failed ({status})");
                }
                Ok(())
            }
            Ok(Event::Signal(signal)) => {
                end(&mut child)?;
                Err(Failure::interrupted(signal).into())
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                end(&mut child)?;
                bail!("`{shown}` took more than {} s", limit.as_secs())
            }
        }
    }

    fn command(&self, words: &[String], log: File) -> Result<Command> {
        let mut command = tied_command("unshare", "KILL");
        command
            .args(["--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child"])
            .args(["--propagation", "private", "--", "sh", "-c", ENTER, "bare"])
            .arg(self.root.path())
            .arg(toolchain()?)
            .arg(TOOLCHAIN)
            .args(self.root.account_change())
            .args(["env", "-i"])
            .args(self.environment())
            .args(["sh", "-c", r#"cd "$1" && shift && exec "$@""#, "sh"])
            .arg(self.root.checkout())
            .args(["cargo", "xtask"])
            .args(words)
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("cannot share the log")?)
            .stderr(log);
        Ok(command)
    }

    fn environment(&self) -> Vec<OsString> {
        let setting = |name: &str, value: &OsStr| {
            let mut setting = OsString::from(format!("{name}="));
            setting.push(value);
            setting
        };
        let (home, user) = (self.root.home(), self.root.user());
        let path = format!("{TOOLCHAIN}/bin:{}", self.root.search_path());
        let own = [("HOME", home), ("USER", user), ("LOGNAME", user), ("PATH", &path)];
        own.iter()
            .map(|(name, value)| setting(name, OsStr::new(value)))
            .chain([setting("LANG", OsStr::new("C.UTF-8"))])
            .chain(PASSED.iter().filter_map(|name| Some(setting(name, &std::env::var_os(name)?))))
            .collect()
    }
}

/// Ends the first process of the namespace, and with it all others: once that is reaped, which
/// unshare does, there are no more.
fn end(child: &mut Child) -> Result<()> {
    let id = child.id();
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
    let first = children.split_whitespace().next().and_then(|id| id.parse().ok());
    // Without a child there is no namespace yet.
    let victim = Pid::from_raw(first.unwrap_or(i32::try_from(id)?));
    // It may have ended just now.
    let _ = kill(victim, Signal::SIGKILL);
    child.wait().map(drop).context("cannot wait for unshare")
}
