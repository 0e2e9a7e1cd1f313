//! Xen's daemons and ours in dom0: their open files, and how to stop one for a while.

use std::collections::BTreeMap;
use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::noxs;

/// A daemon of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Daemon {
    pub name: &'static str,
    pub pid: Pid,
}

/// The daemons whose open files must not grow. The lab runs Debian's, whose xenstored is the one in
/// OCaml; a host for NoXS need not have it.
pub fn all() -> Vec<Daemon> {
    if noxs::host() && !noxs::xenstored_runs() {
        return vec![xendevd()];
    }
    vec![xenstored(), xenconsoled(), xendevd()]
}

/// The process that serves Xenstore.
#[track_caller]
pub fn xenstored() -> Daemon {
    find(&["oxenstored", "xenstored"]).expect("no xenstored runs on this host")
}

/// The process that serves consoles.
#[track_caller]
pub fn xenconsoled() -> Daemon {
    find(&["xenconsoled"]).expect("no xenconsoled runs on this host")
}

/// The process that serves devices.
#[track_caller]
pub fn xendevd() -> Daemon {
    find(&["xendevd"]).expect("no xendevd runs on this host")
}

fn find(names: &[&'static str]) -> Option<Daemon> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: i32| {
        let comm = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        let name = names.iter().find(|name| comm.trim_end() == **name)?;
        Some(Daemon { name, pid: Pid::from_raw(pid) })
    })
    .next()
}

impl Daemon {
    /// Its open files: how many of each kind. Sockets, pipes and the like are told by their kind,
    /// not by their number.
    pub fn open_files(&self) -> Vec<String> {
        let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
        for entry in fs::read_dir(format!("/proc/{}/fd", self.pid)).unwrap().filter_map(Result::ok)
        {
            // One that is closed meanwhile does not count.
            let Ok(target) = fs::read_link(entry.path()) else { continue };
            let target = target.to_string_lossy().into_owned();
            let kind = match target.split_once(":[") {
                Some((kind, _)) => kind.to_owned(),
                None => target.trim_end_matches(|char: char| char.is_ascii_digit()).to_owned(),
            };
            *kinds.entry(kind).or_default() += 1;
        }
        kinds.into_iter().map(|(kind, count)| format!("{count} x {kind}")).collect()
    }

    /// Stops it (SIGSTOP) until the result is dropped.
    pub fn stop(&self) -> Stopped {
        kill(self.pid, Signal::SIGSTOP).unwrap();
        Stopped(self.pid)
    }
}

/// A daemon that does not run for the moment.
#[derive(Debug)]
pub struct Stopped(Pid);

impl Drop for Stopped {
    fn drop(&mut self) {
        // It was there when it was stopped, and cannot have ended since.
        let _ = kill(self.0, Signal::SIGCONT);
    }
}
