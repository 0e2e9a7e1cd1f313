//! `cargo xtask test`: all that has to hold before a change lands. What CI runs.
//!
//! A step that fails does not stop the others, so that one run tells everything; the closing lines
//! sum up.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;

use crate::count::{Counter, Counts};
use crate::install::cargo;
use crate::lab::failure::Failure;
use crate::suites::Extent;
use crate::{check, deps, files, guests, suites};

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
}

impl Options {
    fn extent(&self) -> Extent {
        match (self.full, self.again) {
            (true, _) => Extent::Full,
            (false, true) => Extent::Again,
            (false, false) => Extent::Known,
        }
    }
}

/// Runs everything; true if all of it passed.
pub(crate) fn run(options: &Options) -> Result<bool> {
    deps::ensure(deps::BUILD)?;
    let workspace = files::workspace()?;
    let mut report = Report::default();
    let root = workspace.as_path();
    if options.debug_kernel {
        report.step("lab suites on the debugging kernel", || suites::run_debug(root));
        report.close();
        return Ok(report.counts.failed == 0);
    }
    report.step("format", || cargo(root).args(["fmt", "--all", "--check"]).run().map(one));
    report.step("lints", || clippy(root, &["--all-targets"]).map(one));
    report.step("lints of the guests", || {
        let mut args = vec!["--profile", "guest"];
        args.extend(guests::PACKAGES.iter().flat_map(|package| ["--package", package]));
        clippy(root, &args).map(one)
    });
    report.step("lints of the lab tests", || {
        clippy(root, &["--package", "lab-tests", "--all-targets"]).map(one)
    });
    report.step("structure", || check::structure().map(one));
    report.step("documentation", || {
        let args = ["doc", "--quiet", "--no-deps", "--package", "libh2", "--package", "h2-sys"];
        cargo(root).args(args).env("RUSTDOCFLAGS", "-D warnings").run().map(one)
    });
    report.step("unit tests", || {
        let counts = unit_tests(root, &[])?;
        // The lab suites run those that are ignored here.
        Ok(Counts { skipped: if options.no_lab { counts.skipped } else { 0 }, ..counts })
    });
    report.step("unit tests of the guests' runtime", || {
        unit_tests(root, &["--package", "guest-runtime"])
    });
    if !options.no_lab {
        report.step("lab suites", || suites::run(root, options.extent()));
    }
    report.close();
    Ok(report.counts.failed == 0)
}

/// A step that is one check.
fn one((): ()) -> Counts {
    Counts { passed: 1, ..Counts::default() }
}

fn clippy(root: &Path, what: &[&str]) -> Result<()> {
    cargo(root).args(["clippy", "--quiet"]).args(what).args(["--", "-D", "warnings"]).run()
}

fn unit_tests(root: &Path, what: &[&str]) -> Result<Counts> {
    let mut counter = Counter::new(std::io::stdout());
    let ended =
        cargo(root).args(["test", "--quiet", "--no-fail-fast"]).args(what).run_to(&mut counter);
    counter.ended(ended)
}

/// What has been found so far.
#[derive(Debug, Default)]
struct Report {
    counts: Counts,
    lines: Vec<String>,
    /// Somebody pressed Ctrl-C.
    stopped: bool,
}

impl Report {
    fn step(&mut self, name: &str, action: impl FnOnce() -> Result<Counts>) {
        if self.stopped {
            return;
        }
        println!("== {name}");
        let start = Instant::now();
        let (counts, verdict) = match action() {
            Ok(counts) if counts.failed == 0 => (counts, "ok"),
            Ok(counts) => (counts, "FAILED"),
            Err(error) => {
                eprintln!("{error:#}");
                self.stopped = error.downcast_ref::<Failure>().is_some_and(Failure::is_interrupt);
                (Counts { failed: 1, ..Counts::default() }, "FAILED")
            }
        };
        let line = format!("{verdict:6} {name} ({counts}, {:.1} s)", start.elapsed().as_secs_f64());
        println!("== {line}");
        self.lines.push(line);
        self.counts.add(counts);
    }

    fn close(&self) {
        println!("\n== summary");
        for line in &self.lines {
            println!("{line}");
        }
        println!("{}", self.counts);
    }
}
