//! One host: what it runs, and what became of it.

use std::path::Path;

use anyhow::Result;

use super::programs::{Built, EXAMPLE};
use super::record::Record;
use super::schedule;
use super::script::{Line, PLACE, script};
use super::table::{DEBUG, Host, LAST};
use crate::count::Counts;
use crate::known::Known;
use crate::lab::options::{FileIn, Options};
use crate::lab::{Base, logs, room};

/// How long a host takes to boot, at the very most; on top of its suites' time.
const BOOT_TIME: u64 = 300;

/// How long a look at the host may take, in seconds.
const LOOK_TIME: u64 = 600;

/// A suite that is to run.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) name: &'static str,
    /// What it is known to take, and what it may take.
    pub(super) seconds: u64,
    pub(super) limit: u64,
    /// Its tests that are to run; none for all.
    pub(super) tests: Vec<String>,
    /// Where it is noted when it has passed, if it is a long one.
    pub(super) known: Option<Known>,
}

/// What one host is to run.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) name: String,
    pub(super) kind: Host,
    pub(super) options: Options,
    pub(super) suites: Vec<Chosen>,
    pub(super) full: bool,
}

impl Plan {
    pub(super) fn names(&self) -> Vec<&str> {
        self.suites.iter().map(|suite| suite.name).collect()
    }

    pub(super) fn seconds(&self) -> u64 {
        self.suites.iter().map(|suite| suite.seconds).sum()
    }

    /// The number of suites.
    pub(super) fn size(&self) -> u64 {
        self.suites.iter().map(|_| 1).sum()
    }

    /// What looks at the host behind all others.
    fn looks(&self) -> &'static [&'static str] {
        if self.options.debug_kernel { &[LAST, DEBUG] } else { &[LAST] }
    }

    fn lines(&self) -> Vec<Line<'_>> {
        let suites = self.suites.iter().map(|suite| Line {
            name: suite.name,
            limit: suite.limit,
            tests: suite.tests.iter().map(String::as_str).collect(),
        });
        let look = |name: &&'static str| Line { name, limit: LOOK_TIME, tests: Vec::new() };
        suites.chain(self.looks().iter().map(look)).collect()
    }
}

impl schedule::Host for Plan {
    fn name(&self) -> &str {
        &self.name
    }

    fn needs(&self) -> u64 {
        room::needed(self.options.memory)
    }
}

/// Runs the suites of a plan on a host of their own.
pub(super) fn run(plan: &Plan, base: &Base, built: &Built) -> Result<Counts> {
    let lines = plan.lines();
    let mut options = plan.options.clone();
    for Line { name, .. } in &lines {
        let dom0 = Path::new(PLACE).join(name);
        options.files.push(FileIn { host: built.get(name)?.to_owned(), dom0 });
    }
    let dom0 = Path::new("/usr/bin").join(EXAMPLE);
    options.files.push(FileIn { host: built.get(EXAMPLE)?.to_owned(), dom0 });
    options.timeout = Some(BOOT_TIME + lines.iter().map(|line| line.limit).sum::<u64>());

    let names: Vec<String> = lines.iter().map(|line| line.name.to_owned()).collect();
    let mut record = Record::new(&plan.name, names, std::io::stdout());
    let ended = base.run(&plan.name, &options, &script(&lines, plan.full), &mut record);
    let died = ended.err().map(|error| format!("{error:#}"));
    let times = record.times();
    let (counts, missing) = record.close(died.as_deref());
    if !times.is_empty() {
        println!("[{}] seconds: {times}", plan.name);
    }
    if let Some(died) = &died {
        eprintln!("[{}] {died}", plan.name);
    }
    for missing in missing {
        println!("[{}] FAILED: {missing}", plan.name);
    }
    if counts.failed == 0 {
        for suite in &plan.suites {
            suite.known.as_ref().map_or(Ok(()), Known::passed)?;
        }
    } else if died.is_none() {
        println!("[{}] its logs are in {}", plan.name, logs::of(&plan.name)?.display());
    }
    Ok(counts)
}
