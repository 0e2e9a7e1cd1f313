//! The suites of `lab-tests`: which host each needs, and how they run there.
//!
//! One host serves all the suites of a group, one after the other, and the groups' hosts run side
//! by side. A suite that must not share, or needs another host, gets a group.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result, bail, ensure};

use crate::cache::Key;
use crate::count::{Counter, Counts, Prefixed};
use crate::install::{Programs, cargo, executables};
use crate::known::Known;
use crate::lab;
use crate::lab::failure::Failure;
use crate::lab::options::{FileIn, Options, Plane};
use crate::run::Tool;

/// Suites that share a host.
#[derive(Debug)]
struct Group {
    name: &'static str,
    plane: Plane,
    /// Whether a host of the plane noxs has a Xenstore, too.
    xenstored: bool,
    suites: &'static [&'static str],
    /// Those that repeat the same thing hundreds of times, or what another host has shown already:
    /// once is enough for the same programs on the same host.
    long: &'static [&'static str],
    /// MiB.
    memory: u32,
    /// For one test program, in seconds: enough on a machine that does other things too.
    suite_timeout: u64,
}

/// Hosts with one processor each: with two of them a host is slower, since chaos and xenstored take
/// turns, and each turn then waits for another thread of QEMU. The first two have about half of the
/// work each, with the long suites and without; the others have the patched Xen and kernel.
const GROUPS: &[Group] = &[
    Group {
        name: "guests",
        plane: Plane::Xenstore,
        xenstored: true,
        suites: &["cost", "create", "errors", "hotplug", "interop", "lifecycle"],
        long: &["faults", "scale"],
        memory: 4096,
        suite_timeout: 1200,
    },
    Group {
        name: "devices",
        plane: Plane::Xenstore,
        xenstored: true,
        suites: &["devices", "disks", "hotplug_daemon", "restarts", "loopctl", "xendevd"],
        long: &["kill", "network", "plug", "disk_edges"],
        memory: 4096,
        suite_timeout: 1200,
    },
    Group {
        name: "noxs",
        plane: Plane::Noxs,
        xenstored: false,
        suites: &["noxs_guests", "noxs_devices"],
        // The last starts xenstored, so nothing may come behind it that is about a host without.
        long: &[
            "network",
            "plug",
            "disk_edges",
            "noxs_kernel",
            "noxs_hostile",
            "noxs_crowd",
            "noxs_lives",
            "noxs_beside",
        ],
        memory: 4096,
        suite_timeout: 2400,
    },
    // Debian's tools, and guests with a Xenstore, on the patched Xen and kernel.
    Group {
        name: "patched",
        plane: Plane::Noxs,
        xenstored: true,
        suites: &[],
        long: &["create", "interop", "hotplug", "noxs_cost"],
        memory: 3072,
        suite_timeout: 900,
    },
];

/// Packages with unit tests that need root or devices of the host. Those are marked `#[ignore]`, and
/// dom0 of a group runs them like a suite of the package's name.
pub(crate) const UNIT_TESTS: &[&str] = &["loopctl", "xendevd"];

/// What a kernel that watches itself runs: everything once. Without xenstored: lockdep ends with
/// its first finding, and would with xenconsoled's use of /dev/xen/gntdev, which is Linux's own.
const WATCHED: &[&str] = &["noxs_guests", "noxs_devices", "noxs_kernel", "noxs_hostile"];

/// What every host runs behind its suites: what its kernel thought of them.
const LAST: &str = "kernel_log";

/// Behind that on a host with a kernel that watches itself.
const DEBUG: &str = "noxs_debug";

/// How long a host takes to boot, at the very most; on top of its suites' time.
const BOOT_TIME: u64 = 300;

/// Where the test programs are in dom0.
const PLACE: &str = "/usr/lib/lightvm-lab/tests";

/// How much the suites do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All, but for long suites that have passed before with the same inputs.
    Known,
    /// All.
    Again,
    /// All, with as many guests as we promise: five hundred at once, a thousand in a row.
    Full,
}

/// Runs all suites.
pub(crate) fn run(root: &Path, extent: Extent) -> Result<Counts> {
    let programs = build(root)?;
    every_suite_has_a_host(&programs)?;
    let mut counts = Counts::default();
    let mut plans = Vec::new();
    for group in GROUPS {
        // All hosts need what this builds, and one would wait for the other.
        let host = lab::fingerprint(&group.host())?;
        let mut plan = Plan {
            name: group.name,
            host: group.host(),
            suites: group.suites.to_vec(),
            long: Vec::new(),
            last: &[LAST],
            suite_timeout: group.suite_timeout,
            full: extent == Extent::Full,
        };
        for name in group.long {
            let known = Known::new(name, &inputs(name, &host, &programs)?)?;
            match known.age().filter(|_| extent == Extent::Known) {
                Some(age) => {
                    counts.known += 1;
                    println!(
                        "[{}] {name} is a long suite that has passed {} minutes ago with the same programs on the same host: not run \
                         again (cargo xtask test --again runs it)",
                        group.name,
                        age.as_secs() / 60
                    );
                }
                None => plan.long.push((name, known)),
            }
        }
        if plan.names().next().is_some() {
            plans.push(plan);
        }
    }
    counts.add(run_plans(&programs, &plans)?);
    Ok(counts)
}

/// Runs the suites of the NoXS host on a kernel that watches its locks and its memory, and looks at
/// what it found.
pub(crate) fn run_debug(root: &Path) -> Result<Counts> {
    let programs = build(root)?;
    let group =
        GROUPS.iter().find(|group| group.name == "noxs").context("there is no group noxs")?;
    // What such a kernel keeps for each lock, page and block takes memory, and time.
    let host = Options { debug_kernel: true, memory: 6144, ..group.host() };
    let plan = Plan {
        name: "debug",
        host,
        suites: WATCHED.to_vec(),
        long: Vec::new(),
        last: &[LAST, DEBUG],
        suite_timeout: 4 * group.suite_timeout,
        full: false,
    };
    run_plans(&programs, &[plan])
}

/// Runs the plans side by side.
fn run_plans(programs: &Programs, plans: &[Plan]) -> Result<Counts> {
    let results: Vec<Result<Counts>> = thread::scope(|scope| {
        let runs: Vec<_> =
            plans.iter().map(|plan| scope.spawn(|| run_plan(programs, plan))).collect();
        runs.into_iter()
            .map(|run| run.join().unwrap_or_else(|_| bail!("the runner of a group panicked")))
            .collect()
    });
    let mut counts = Counts::default();
    for (plan, result) in plans.iter().zip(results) {
        match result {
            Ok(found) => counts.add(found),
            Err(error) if error.downcast_ref::<Failure>().is_some_and(Failure::is_interrupt) => {
                return Err(error);
            }
            Err(error) => {
                eprintln!("[{}] {error:#}", plan.name);
                counts.failed += 1;
            }
        }
    }
    Ok(counts)
}

/// What one host is to run.
#[derive(Debug)]
struct Plan {
    name: &'static str,
    host: Options,
    suites: Vec<&'static str>,
    /// The long ones behind them, and where it is noted when they have passed.
    long: Vec<(&'static str, Known)>,
    /// What looks at the host behind all others.
    last: &'static [&'static str],
    suite_timeout: u64,
    full: bool,
}

impl Group {
    fn host(&self) -> Options {
        Options {
            plane: self.plane,
            with_xenstored: self.xenstored,
            memory: self.memory,
            cpus: 1,
            ..Options::default()
        }
    }
}

impl Plan {
    /// The suites of the plan, without the last.
    fn names(&self) -> impl Iterator<Item = &'static str> {
        self.suites.iter().copied().chain(self.long.iter().map(|(name, _)| *name))
    }
}

/// Everything that the outcome of a suite depends on.
fn inputs(name: &str, host: &Key, programs: &Programs) -> Result<Key> {
    let mut key = host.clone();
    for name in [name, EXAMPLE] {
        let path = programs.get(name).with_context(|| format!("there is no suite {name}"))?;
        key.add(name, fs::read(path).with_context(|| format!("cannot read {}", path.display()))?);
    }
    Ok(key)
}

/// Runs the suites of a plan on a host of their own.
fn run_plan(programs: &Programs, plan: &Plan) -> Result<Counts> {
    let names: Vec<&str> = plan.names().chain(plan.last.iter().copied()).collect();
    let stripped = tempfile::tempdir()?;
    let mut options = plan.host.clone();
    let mut add = |name: &str, from: &Path, dom0: PathBuf| -> Result<()> {
        let host = stripped.path().join(name);
        // Copying megabytes of debugging information into an emulated machine takes longer than the
        // tests.
        Tool::new("strip").args(["--strip-debug", "-o"]).arg(&host).arg(from).log_on_failure()?;
        options.files.push(FileIn { host, dom0 });
        Ok(())
    };
    for name in &names {
        let from = programs.get(*name).with_context(|| format!("there is no suite {name}"))?;
        add(name, from, Path::new(PLACE).join(name))?;
    }
    let example =
        programs.get(EXAMPLE).with_context(|| format!("there is no example {EXAMPLE}"))?;
    add(EXAMPLE, example, Path::new("/usr/bin").join(EXAMPLE))?;
    options.timeout = Some(BOOT_TIME + plan.suite_timeout * u64::try_from(names.len())?);

    let full = if plan.full { "export LIGHTVM_LAB_FULL=1\n" } else { "" };
    let mut counter = Counter::new(Prefixed::new(plan.name, std::io::stdout()));
    let ended = lab::run_to(
        &options,
        &(full.to_owned() + &script(&names, plan.suite_timeout)?),
        &mut counter,
    );
    let ended = ended.and_then(|status| {
        ensure!(status == 0, "{status} of the suites failed");
        Ok(())
    });
    // The host's death is not among the tests' results.
    if let Err(error) = &ended
        && error.downcast_ref::<Failure>().is_some_and(|failure| !failure.is_interrupt())
    {
        eprintln!("[{}] {error:#}", plan.name);
        let mut counts = counter.ended(Ok(())).unwrap_or_default();
        counts.failed += 1;
        return Ok(counts);
    }
    let counts = counter.ended(ended)?;
    if counts.failed == 0 {
        for (_, known) in &plan.long {
            known.passed()?;
        }
    }
    Ok(counts)
}

/// The example of the library, which a suite runs as its users would.
const EXAMPLE: &str = "run-guest";

/// Builds what the suites run.
fn build(root: &Path) -> Result<Programs> {
    let mut programs = executables(
        cargo(root).args(["test", "--no-run", "--package", "lab-tests", "--tests"]),
        "test",
    )?;
    if programs.is_empty() {
        bail!("lab-tests has no test programs");
    }
    programs.extend(executables(
        cargo(root).args(["build", "--package", "libh2", "--example", EXAMPLE]),
        "example",
    )?);
    let packages = UNIT_TESTS.iter().flat_map(|package| ["--package", package]);
    programs.extend(executables(
        cargo(root).args(["test", "--no-run", "--lib"]).args(packages),
        "lib",
    )?);
    Ok(programs)
}

/// A suite that no host runs would be a test that cannot fail.
fn every_suite_has_a_host(programs: &Programs) -> Result<()> {
    let named = |name: &str| {
        let of = |group: &Group| group.suites.iter().chain(group.long).any(|suite| *suite == name);
        [LAST, DEBUG, EXAMPLE].contains(&name) || GROUPS.iter().any(of)
    };
    let left: Vec<&str> = programs.keys().map(String::as_str).filter(|name| !named(name)).collect();
    ensure!(left.is_empty(), "no host runs the suites {}", left.join(", "));
    Ok(())
}

/// What dom0 runs: each suite with a time limit, and the number of those that failed as its status.
fn script(names: &[&str], limit: u64) -> Result<String> {
    let mut script = String::from("failed=0\n");
    for name in names {
        let ignored = if UNIT_TESTS.contains(name) { " --ignored" } else { "" };
        // libtest ends with 101 if a test failed. A suite that ended in any other way has no
        // closing line, so one is made for the count.
        write!(
            script,
            "echo '-- {name}'\n\
             timeout --kill-after=10 {limit} {PLACE}/{name} --test-threads=1{ignored}\n\
             status=$?\n\
             [ $status -eq 0 ] || failed=$((failed + 1))\n\
             case $status in\n\
             0 | 101) what= ;;\n\
             124 | 137) what='took more than {limit} s' ;;\n\
             *) what=\"died with status $status\" ;;\n\
             esac\n\
             [ -z \"$what\" ] || printf '\\ntest result: FAILED. 0 passed; 1 failed; {name} %s\\n' \"$what\"\n"
        )?;
    }
    script.push_str("exit $failed");
    Ok(script)
}

#[cfg(test)]
mod tests {
    use super::script;

    #[test]
    fn each_suite_has_its_limit() {
        let script = script(&["life", "list"], 60).unwrap();
        assert!(script.contains(
            "timeout --kill-after=10 60 /usr/lib/lightvm-lab/tests/life --test-threads=1\n"
        ));
        assert!(script.ends_with("exit $failed"));
    }

    #[test]
    fn of_unit_tests_the_ignored_ones_are_run() {
        let script = script(&["loopctl", "life"], 60).unwrap();
        assert!(script.contains("tests/loopctl --test-threads=1 --ignored\n"));
        assert!(script.contains("tests/life --test-threads=1\n"));
    }

    #[test]
    fn a_suite_that_does_not_end_by_itself_counts_as_failed() {
        let script = script(&["life"], 60)
            .unwrap()
            .replace("timeout --kill-after=10 60 ", "false || (exit 139) # ");
        let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(
            said,
            "-- life\n\ntest result: FAILED. 0 passed; 1 failed; life died with status 139\n"
        );
    }
}
