//! Which suites there are, where each runs, how long it takes, and when it is due.

use std::fmt;

use super::Extent;
use crate::lab::options::{Options, Plane};

/// A kind of host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Host {
    /// Debian's own Xen and kernel.
    Debian,
    /// The patched Xen and kernel, without a Xenstore.
    Noxs,
    /// The patched Xen and kernel with a Xenstore: Debian's tools and both kinds of guests.
    Patched,
}

/// When a suite is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// In every run.
    Always,
    /// Once for the same programs on the same host: it repeats the same thing hundreds of times, or
    /// what another host has shown already.
    Once,
    /// With `--full`.
    Full,
}

/// A suite on one kind of host.
#[derive(Debug)]
pub(crate) struct Suite {
    pub(crate) name: &'static str,
    pub(crate) host: Host,
    /// How long it takes with four hosts on two processors. Its limit comes from it, and so does
    /// the sharing of the suites among hosts.
    pub(crate) seconds: u64,
    pub(crate) when: When,
}

const fn suite(name: &'static str, host: Host, seconds: u64, when: When) -> Suite {
    Suite { name, host, seconds, when }
}

/// One line for a suite on a kind of host. Suites that share a host run in this order.
pub(super) const SUITES: &[Suite] = &[
    suite("cost", Host::Debian, 60, When::Always),
    suite("create", Host::Debian, 150, When::Always),
    suite("devices", Host::Debian, 280, When::Always),
    suite("disks", Host::Debian, 130, When::Always),
    suite("loopctl", Host::Debian, 5, When::Always),
    suite("xendevd", Host::Debian, 5, When::Always),
    suite("errors", Host::Debian, 100, When::Always),
    suite("guest_faults", Host::Debian, 60, When::Always),
    suite("hotplug", Host::Debian, 120, When::Always),
    suite("hotplug_daemon", Host::Debian, 140, When::Always),
    suite("interop", Host::Debian, 65, When::Always),
    suite("lifecycle", Host::Debian, 130, When::Always),
    suite("restarts", Host::Debian, 200, When::Always),
    suite("disk_edges", Host::Debian, 75, When::Once),
    suite("faults", Host::Debian, 105, When::Once),
    suite("idle", Host::Debian, 600, When::Once),
    suite("idle_store", Host::Debian, 150, When::Once),
    suite("kill", Host::Debian, 290, When::Once),
    suite("network", Host::Debian, 180, When::Once),
    suite("plug", Host::Debian, 100, When::Once),
    suite("scale", Host::Debian, 200, When::Once),
    suite("noxs_guests", Host::Noxs, 120, When::Always),
    suite("guest_faults", Host::Noxs, 65, When::Always),
    suite("noxs_devices", Host::Noxs, 100, When::Always),
    suite("network", Host::Noxs, 160, When::Once),
    suite("plug", Host::Noxs, 80, When::Once),
    suite("disk_edges", Host::Noxs, 65, When::Once),
    suite("idle", Host::Noxs, 600, When::Once),
    suite("noxs_kernel", Host::Noxs, 45, When::Once),
    suite("noxs_hostile", Host::Noxs, 130, When::Once),
    suite("noxs_crowd", Host::Noxs, 70, When::Once),
    suite("noxs_lives", Host::Noxs, 110, When::Once),
    // It starts xenstored, so nothing may come behind it that is about a host without.
    suite("noxs_beside", Host::Noxs, 80, When::Once),
    suite("interop", Host::Patched, 130, When::Once),
    suite("noxs_cost", Host::Patched, 45, When::Once),
    suite("create", Host::Patched, 110, When::Full),
    suite("hotplug", Host::Patched, 90, When::Full),
];

/// What a kernel that watches itself runs: everything once. Without xenstored: lockdep ends with
/// its first finding, and would with xenconsoled's use of /dev/xen/gntdev, which is Linux's own.
pub(super) const WATCHED: &[&str] = &["noxs_guests", "noxs_devices", "noxs_kernel", "noxs_hostile"];

/// What every host runs behind its suites: what its kernel thought of them.
pub(super) const LAST: &str = "kernel_log";

/// Behind that on a host with a kernel that watches itself.
pub(super) const DEBUG: &str = "noxs_debug";

impl Host {
    pub(super) fn name(self) -> &'static str {
        match self {
            Host::Debian => "debian",
            Host::Noxs => "noxs",
            Host::Patched => "patched",
        }
    }

    /// Hosts have one processor each: with two a host is slower, since chaos and xenstored take
    /// turns, and each turn then waits for another thread of QEMU.
    pub(super) fn options(self) -> Options {
        let (plane, with_xenstored, memory) = match self {
            Host::Debian => (Plane::Xenstore, true, 4096),
            Host::Noxs => (Plane::Noxs, false, 4096),
            Host::Patched => (Plane::Noxs, true, 3072),
        };
        // A Linux guest of Debian's takes half a minute to boot.
        let tinyx = plane == Plane::Xenstore;
        Options { plane, with_xenstored, tinyx, memory, cpus: 1, ..Options::default() }
    }
}

impl When {
    /// Whether such a suite belongs to a run of this extent.
    pub(super) fn is_due(self, extent: Extent) -> bool {
        self != When::Full || extent == Extent::Full
    }
}

impl fmt::Display for When {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            When::Always => "always",
            When::Once => "once for the same inputs",
            When::Full => "with --full",
        })
    }
}

/// The table as Markdown; docs/ARCHITECTURE.md has the same.
pub(crate) fn list() -> String {
    let mut text = format!("| {:14} | {:7} | seconds | {:24} |\n", "suite", "host", "runs");
    text += &format!("|{:-<16}|{:-<9}|--------:|{:-<26}|\n", "", "", "");
    for suite in SUITES {
        let (host, when) = (suite.host.name(), suite.when.to_string());
        text += &format!("| {:14} | {host:7} | {:7} | {when:24} |\n", suite.name, suite.seconds);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Host, SUITES, When, list};

    #[test]
    fn no_suite_is_on_a_kind_of_host_twice() {
        for (at, suite) in SUITES.iter().enumerate() {
            let same = |other: &&super::Suite| (other.name, other.host) == (suite.name, suite.host);
            assert_eq!(SUITES[at..].iter().filter(same).count(), 1, "{suite:?}");
            assert!(suite.seconds > 0, "{suite:?}");
        }
    }

    #[test]
    fn what_starts_xenstored_is_the_last_of_its_host() {
        let last = SUITES.iter().rfind(|suite| suite.host == Host::Noxs).unwrap();
        assert_eq!((last.name, last.when), ("noxs_beside", When::Once));
    }

    #[test]
    fn the_documentation_has_the_same_table() {
        let page = crate::files::workspace().unwrap().join("docs/ARCHITECTURE.md");
        let page = std::fs::read_to_string(page).unwrap();
        let wanted = "docs/ARCHITECTURE.md has another table; `cargo xtask test --list` prints it";
        assert!(page.contains(&list()), "{wanted}");
    }
}
