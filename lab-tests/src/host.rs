//! A snapshot of all that a guest could leave behind on the host.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use h2::Options;

use crate::{daemon, debug_keys, grants, noxs, xenstore, xl};

/// The state directory of chaos.
const STATE: &str = "/run/lightvm";
/// Its two files that belong to no guest: the lock, and what a change is made in, of which a killed
/// process may leave one.
const STATE_FILES: &[&str] = &["/run/lightvm/lock", "/run/lightvm/new"];
const OWN_STATE: &str = "/run/lightvm-lab-tests";

/// Empty folders of Xenstore that belong to no guest: whoever makes a device first makes them, and
/// libxl removes some of them with the last.
const SHARED_FOLDERS: &[&str] = &[
    "/libxl",
    "/vm",
    "/local/domain/0/backend",
    "/local/domain/0/backend/console",
    "/local/domain/0/backend/vbd",
    "/local/domain/0/backend/vif",
];

const PAGE_KIB: u64 = 4;

/// How long the host may take to let go of what a guest had: Xen frees a dead domain's memory
/// later, daemons close files when they hear of it.
const SETTLE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(30);

/// What there is at one moment: titles, and lines below each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    parts: BTreeMap<String, Vec<String>>,
    /// The list of domains as xl has it, if it was asked.
    xl: Option<Vec<String>>,
    /// Free memory in KiB, and how much more or less of it there may be.
    free: u64,
    slack: u64,
}

impl Host {
    /// All of it, with xl as a witness where there is a Xenstore.
    #[track_caller]
    pub fn now() -> Self {
        let mut host = Self::quick();
        host.ask_xl();
        host
    }

    /// Without xl, which takes longer than a guest's life: for tests that look again and again.
    /// What xl would show is asked of the hypervisor directly.
    #[track_caller]
    pub fn quick() -> Self {
        settle();
        Self::at_once()
    }

    #[track_caller]
    fn at_once() -> Self {
        let mut parts = BTreeMap::new();
        let has_xenstore = !noxs::host() || noxs::xenstored_runs();
        let mut free;
        // First, since all that follows opens files of the daemons.
        for daemon in daemon::all() {
            let mut files = daemon.open_files();
            // Without xenstored, xendevd tries from time to time whether it is there now.
            files.retain(|line| has_xenstore || !line.ends_with("/dev/xen/xenbus"));
            parts.insert(format!("open files of {}", daemon.name), files);
        }
        {
            // With a state directory of its own: listing forgets records of guests that are gone,
            // and those in use are looked at here.
            let hypervisor = Options::default().state_dir(OWN_STATE).open().unwrap();
            let domains = hypervisor.list().unwrap();
            let lines = domains.iter().map(|domain| {
                let (info, name) = (&domain.info, domain.name.as_deref().unwrap_or("(no name)"));
                format!("{} {name} {} {} KiB", info.id, info.kind.as_str(), info.memory.get())
            });
            parts.insert("domains of the hypervisor".to_owned(), lines.collect());
            free = hypervisor.host_info().unwrap().free_memory.get();
        }
        let mut state = Vec::new();
        tree(Path::new(STATE), &mut state);
        state.retain(|line| !STATE_FILES.iter().any(|file| line.starts_with(file)));
        parts.insert(STATE.to_owned(), state);
        if has_xenstore {
            let mut nodes = xenstore::tree("/");
            nodes.retain(|line| {
                !SHARED_FOLDERS.iter().any(|folder| line.starts_with(&format!("{folder} = \"\"")))
            });
            parts.insert("xenstore-ls".to_owned(), nodes);
        }
        if noxs::host() {
            parts.insert("NoXS devices of the kernel".to_owned(), noxs::list());
            parts.insert("event channels of dom0".to_owned(), noxs::event_channels());
            parts.insert("memory of dom0 in KiB".to_owned(), vec![noxs::own_memory()]);
            let answer = debug_keys::press("qg");
            parts.insert("domains by debug key q".to_owned(), debug_keys::domains(&answer));
            let grants = grants::counted(&answer);
            parts.insert("grants that are mapped".to_owned(), vec![grants.mapped.to_string()]);
            // What dom0 keeps to track its mappings is not lost.
            free += grants.maptrack * PAGE_KIB;
        }
        parts.insert("network interfaces".to_owned(), names_in("/sys/class/net"));
        parts.insert("backends".to_owned(), names_in("/sys/bus/xen-backend/devices"));
        parts.insert("loop devices".to_owned(), loop_devices());
        Self { parts, xl: None, free, slack: 0 }
    }

    /// Adds what xl says, where it can be asked.
    #[track_caller]
    fn ask_xl(&mut self) {
        if noxs::host() && !noxs::xenstored_runs() {
            return;
        }
        let lines = xl::list().into_iter().map(|row| {
            format!("{} {} {} MiB, {} vcpus", row.name, row.id, row.memory_mib, row.vcpus)
        });
        self.xl = Some(lines.collect());
    }

    /// Lets so much free memory be gone, or be there again, in KiB.
    pub fn with_slack(mut self, kib: u64) -> Self {
        self.slack = kib;
        self
    }

    /// [`with_slack`](Self::with_slack) for a host where so many guests live at once: half a page
    /// for each, so that a page that is lost with each of them shows. What is not lost is less:
    /// Xen's own heap has grown by a few pages, and has holes (12 KiB behind fifty guests with an
    /// interface each).
    pub fn with_crowd(self, guests: usize) -> Self {
        self.with_slack(guests as u64 * PAGE_KIB / 2)
    }

    /// What has changed since, or the empty text.
    pub fn difference(&self, now: &Self) -> String {
        let mut text = String::new();
        if now.free.abs_diff(self.free) > self.slack {
            let _ = writeln!(text, "free memory: {} KiB before, {} KiB now", self.free, now.free);
        }
        for (title, before) in &self.parts {
            let after = now.parts.get(title).map(Vec::as_slice).unwrap_or_default();
            compare(&mut text, title, before, after);
        }
        if let (Some(before), Some(after)) = (&self.xl, &now.xl) {
            compare(&mut text, "xl list", before, after);
        }
        text
    }

    /// Fails unless the host becomes again what it was.
    #[track_caller]
    pub fn assert_unchanged(&self, after: &str) {
        let start = Instant::now();
        loop {
            let mut now = Self::at_once();
            // When nothing else is left: it takes longer than all the rest.
            if self.xl.is_some() && self.difference(&now).is_empty() {
                now.ask_xl();
            }
            let difference = self.difference(&now);
            if difference.is_empty() {
                if self.slack > 0 {
                    let (before, now, slack) = (self.free, now.free, self.slack);
                    eprintln!("free: {before} KiB, {now} KiB after {after}; {slack} KiB allowed");
                }
                return;
            }
            assert!(
                start.elapsed() < SETTLE,
                "the host is not as it was; after {after}:\n{difference}"
            );
            std::thread::sleep(LOOK);
        }
    }
}

/// Adds to `text` what of a part is gone and what is new.
fn compare(text: &mut String, title: &str, before: &[String], after: &[String]) {
    if after == before {
        return;
    }
    let _ = writeln!(text, "{title}:");
    for line in before.iter().filter(|line| !after.contains(line)) {
        let _ = writeln!(text, "  - {line}");
    }
    for line in after.iter().filter(|line| !before.contains(line)) {
        let _ = writeln!(text, "  + {line}");
    }
}

/// Waits until the daemons have closed what earlier commands opened: until their files are the same
/// for a while.
fn settle() {
    let files =
        || -> Vec<Vec<String>> { daemon::all().iter().map(daemon::Daemon::open_files).collect() };
    let start = Instant::now();
    let (mut before, mut same) = (files(), 0);
    while same < 3 && start.elapsed() < SETTLE {
        std::thread::sleep(LOOK);
        let now = files();
        same = if now == before { same + 1 } else { 0 };
        before = now;
    }
}

/// The names of what is in a folder, in order.
fn names_in(folder: &str) -> Vec<String> {
    let entries =
        fs::read_dir(folder).map(|entries| entries.filter_map(Result::ok).collect::<Vec<_>>());
    let mut names: Vec<_> = entries
        .unwrap_or_default()
        .iter()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// The loop devices that have something below them, and what.
fn loop_devices() -> Vec<String> {
    let below =
        |name: &String| fs::read_to_string(format!("/sys/block/{name}/loop/backing_file")).ok();
    names_in("/sys/block")
        .iter()
        .filter_map(|name| below(name).map(|file| format!("{name} over {}", file.trim_end())))
        .collect()
}

/// The files below a folder, with what a symbolic link says.
fn tree(folder: &Path, lines: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut paths: Vec<_> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        match fs::read_link(&path) {
            Ok(target) => lines.push(format!("{} -> {}", path.display(), target.display())),
            Err(_) => lines.push(path.display().to_string()),
        }
        if path.is_dir() {
            tree(&path, lines);
        }
    }
}
