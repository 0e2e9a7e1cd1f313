//! `cargo xtask test`: all that has to hold before a change lands. What CI runs.
//!
//! ```text
//!   format, structure, programs for the lab --+--> lints, documentation, unit tests --+--> summary
//!                                             +--> lab suites ------------------------+
//! ```
//!
//! Emulated hosts leave the processors idle a part of the time, and compilers fill it. A step that
//! fails does not stop the others, so that one run tells everything; the closing lines sum up.

use std::path::Path;
use std::process::exit;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Result;

use crate::count::{Counter, Counts, Prefixed};
use crate::install::cargo;
use crate::lab::accel::Accel;
use crate::report::{Found, Report};
use crate::run::Tool;
use crate::stop::{self, Notice, Subscription};
use crate::suites::{Extent, Outcome, Request};
use crate::{check, children, deny, deps, files, guests, patches, suites};

/// Minutes for everything: CI's own limit is 90, and tells nothing.
const DEADLINE: u64 = 85;

/// The same with --full or --debug-kernel.
const LONG_DEADLINE: u64 = 360;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Leave out the suites that need the lab
    #[arg(long)]
    no_lab: bool,

    /// Run the long suites, too, that have passed before with the very same programs, guests and
    /// host
    #[arg(long, conflicts_with = "no_lab")]
    again: bool,

    /// Run everything, with as many guests as we promise: five hundred at once, a thousand in a
    /// row. Takes an hour more
    #[arg(long, conflicts_with_all = ["no_lab", "again"])]
    full: bool,

    /// Nothing but the suites of the host for NoXS, on a kernel that watches its locks and its
    /// memory
    #[arg(long, conflicts_with_all = ["no_lab", "again", "full"])]
    debug_kernel: bool,

    /// Nothing but this suite of the lab, on each host that runs it, also if it has passed before
    /// (may repeat)
    #[arg(long, value_name = "NAME", conflicts_with = "no_lab")]
    suite: Vec<String>,

    /// Nothing but this test of these suites (may repeat)
    #[arg(long, value_name = "NAME", requires = "suite")]
    test: Vec<String>,

    /// List the suites with their hosts and times, or the tests of the suites that are named
    #[arg(long)]
    list: bool,

    /// What executes the hosts' instructions
    #[arg(long, value_enum, default_value = "tcg", conflicts_with = "no_lab")]
    accel: Accel,

    /// End everything after this long, with a summary of what ran and what did not [default: 85,
    /// or 360 with --full or --debug-kernel]
    #[arg(long, value_name = "MINUTES", value_parser = clap::value_parser!(u64).range(1..))]
    deadline: Option<u64>,
}

impl Options {
    fn request(&self) -> Request {
        Request {
            suites: self.suite.clone(),
            tests: self.test.clone(),
            extent: match (self.full, self.again) {
                (true, _) => Extent::Full,
                (false, true) => Extent::Again,
                (false, false) => Extent::Known,
            },
            debug_kernel: self.debug_kernel,
            accel: self.accel,
        }
    }

    fn deadline(&self) -> Duration {
        let long = self.full || self.debug_kernel;
        let minutes = self.deadline.unwrap_or(if long { LONG_DEADLINE } else { DEADLINE });
        Duration::from_secs(60 * minutes)
    }
}

const FORMAT: &str = "format";
const STRUCTURE: &str = "structure";
const PROGRAMS: &str = "programs for the lab";
const DEPENDENCIES: &str = "dependencies";
const BASES: &str = "bases of the patch series";
const LINTS: &str = "lints";
const GUEST_LINTS: &str = "lints of the guests";
const IMAGES: &str = "the guests' images";
const DOCUMENTATION: &str = "documentation";
const UNIT_TESTS: &str = "unit tests";
const SUITES: &str = "lab suites";

/// Runs everything; true if all of it passed.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let request = options.request();
    suites::check_names(&request)?;
    let workspace = files::workspace()?;
    if options.list {
        return list(&workspace, &request).map(|()| true);
    }
    deps::ensure(deps::BUILD)?;
    let with_lab = !options.no_lab;
    let with_others = request.suites.is_empty() && !options.debug_kernel;
    let mut steps = Vec::new();
    if with_others {
        steps.extend([
            FORMAT,
            STRUCTURE,
            DEPENDENCIES,
            BASES,
            LINTS,
            GUEST_LINTS,
            IMAGES,
            DOCUMENTATION,
            UNIT_TESTS,
        ]);
    }
    if with_lab {
        steps.extend([PROGRAMS, SUITES]);
    }
    let report = Arc::new(Report::of(&steps));
    let _subscription = end_when_told(&report)?;
    stop::after(options.deadline());

    if with_others {
        quick_steps(&workspace, &report);
    }
    thread::scope(|scope| {
        if with_lab {
            let mut built = None;
            report.step(PROGRAMS, || {
                let programs = suites::build(&workspace)?;
                request.check(&programs)?;
                built = Some(programs);
                Ok(one())
            });
            let (report, request) = (&report, &request);
            // Without programs the suites do not run, and the summary says so.
            if let Some(built) = built {
                scope.spawn(move || {
                    report.step(SUITES, || {
                        let Outcome { counts, known } = suites::run(request, &built)?;
                        Ok(Found { counts, known })
                    });
                });
            }
        }
        if with_others {
            long_steps(&workspace, &report, with_lab);
        }
    });
    Ok(report.close())
}

fn list(root: &Path, request: &Request) -> Result<()> {
    if request.suites.is_empty() {
        print!("{}", suites::list());
        return Ok(());
    }
    deps::ensure(deps::BUILD)?;
    for (suite, tests) in suites::tests(request, &suites::build(root)?)? {
        println!("{suite}");
        tests.iter().for_each(|test| println!("  {test}"));
    }
    Ok(())
}

/// Has everything end when it must, and the summary come all the same.
fn end_when_told(report: &Arc<Report>) -> Result<Subscription> {
    /// For hosts to be switched off, and folders to be removed.
    const ORDERLY: Duration = Duration::from_secs(10);
    /// For what is left to be found ended.
    const LAST: Duration = Duration::from_secs(30);
    let report = Arc::clone(report);
    stop::subscribe(move |notice| {
        let Notice::Stop(_) = notice else { return };
        let report = Arc::clone(&report);
        thread::spawn(move || {
            thread::sleep(ORDERLY);
            children::end();
            thread::sleep(LAST);
            // Something waits for what is no process of ours.
            report.close();
            exit(1);
        });
    })
}

/// What takes seconds.
fn quick_steps(root: &Path, report: &Report) {
    report.step(FORMAT, || {
        cargo(root).args(["fmt", "--all", "--check"]).run()?;
        Ok(one())
    });
    report.step(STRUCTURE, || {
        check::structure()?;
        Ok(one())
    });
    report.step(BASES, || Ok(one_or_skipped(patches::bases::check()?)));
}

/// What takes minutes.
fn long_steps(root: &Path, report: &Report, with_lab: bool) {
    report.step(DEPENDENCIES, || {
        deny::check(&[])?;
        Ok(one())
    });
    report.step(LINTS, || clippy(without_guests(cargo(root).args(["clippy", "--all-targets"]))));
    report.step(GUEST_LINTS, || {
        let tool = cargo(root).args(["clippy", "--profile", "guest"]);
        clippy(tool.args(guests::PACKAGES.iter().flat_map(|package| ["--package", package])))
    });
    report.step(IMAGES, || {
        check::images()?;
        Ok(one())
    });
    report.step(DOCUMENTATION, || {
        let packages = ["--package", "libh2", "--package", "h2-sys", "--package", "noxs"];
        cargo(root)
            .args(["doc", "--quiet", "--no-deps"])
            .args(packages)
            .env("RUSTDOCFLAGS", "-D warnings")
            .run()?;
        Ok(one())
    });
    report.step(UNIT_TESTS, || {
        let tool = without_guests(cargo(root).args(["test", "--quiet", "--no-fail-fast"]));
        let mut counter = Counter::new(Prefixed::new("unit", std::io::stdout()));
        let ended = tool.args(["--exclude", "lab-tests"]).run_to(&mut counter);
        let counts = counter.ended(ended)?;
        // The lab suites run those that are ignored here.
        let skipped = if with_lab { 0 } else { counts.skipped };
        Ok(Found { counts: Counts { skipped, ..counts }, known: 0 })
    });
}

/// All packages but the guests, which have a profile of their own: in one command, so that a
/// library that two of them have is looked at once.
fn without_guests(tool: Tool) -> Tool {
    let guests = guests::PACKAGES.iter().flat_map(|package| ["--exclude", package]);
    tool.arg("--workspace").args(guests)
}

fn clippy(tool: Tool) -> Result<Found> {
    tool.args(["--quiet", "--", "-D", "warnings"]).run()?;
    Ok(one())
}

/// A step that is one check.
fn one() -> Found {
    Found { counts: Counts { passed: 1, ..Counts::default() }, known: 0 }
}

/// A step that is one check, or could not be made for a reason.
fn one_or_skipped(why: Option<String>) -> Found {
    let Some(why) = why else {
        return one();
    };
    println!("not checked: {why}");
    Found { counts: Counts { skipped: 1, ..Counts::default() }, known: 0 }
}
