//! The suites of `lab-tests` on real Xen.
//!
//! ```text
//!   table (suites, hosts, times) --> plan (which, on how many) --> schedule (when each starts)
//!                                                                           |
//!   programs (built, stripped) ----------------------------------------> host --> script (in dom0)
//!                                                                           |        |
//!                                          known (noted when passed) <------+---- record (results)
//! ```
//!
//! A host serves several suites, one after the other, and hosts run side by side.

mod host;
mod plan;
mod programs;
mod record;
mod schedule;
mod script;
mod table;

use std::collections::BTreeMap;
use std::thread;

use anyhow::{Context, Result, ensure};

use self::host::{Chosen, Plan};
pub(crate) use self::programs::{Built, UNIT_TESTS, build};
pub(crate) use self::table::list;
use self::table::{Host, Suite, When};
use crate::count::Counts;
use crate::known::Known;
use crate::lab::accel::Accel;
use crate::lab::options::Options;
use crate::lab::{Base, logs, room};
use crate::stop;

/// How much the suites do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All, but for long suites that have passed before with the same inputs.
    #[default]
    Known,
    /// All.
    Again,
    /// All, with as many guests as we promise: five hundred at once, a thousand in a row.
    Full,
}

/// What is to run.
#[derive(Debug, Default)]
pub(crate) struct Request {
    /// By name; none for all.
    pub(crate) suites: Vec<String>,
    /// Tests of these suites by name; none for all.
    pub(crate) tests: Vec<String>,
    pub(crate) extent: Extent,
    /// On a kernel that watches its locks and its memory.
    pub(crate) debug_kernel: bool,
    pub(crate) accel: Accel,
}

/// What became of it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) counts: Counts,
    /// Long suites that have passed before with the same inputs, and did not run.
    pub(crate) known: u64,
}

impl Request {
    fn options(&self, host: Host) -> Options {
        let options = Options { accel: self.accel, ..host.options() };
        match self.debug_kernel {
            // What such a kernel keeps for each lock, page and block takes memory.
            true => Options { debug_kernel: true, memory: 6144, ..options },
            false => options,
        }
    }

    /// Fails if it names what is not there.
    pub(crate) fn check(&self, built: &Built) -> Result<()> {
        if !self.tests.is_empty() {
            plan::chosen_tests(&self.tests, &tests(self, built)?)?;
        }
        Ok(())
    }
}

/// Fails if `request` names a suite that there is not; before minutes of building.
pub(crate) fn check_names(request: &Request) -> Result<()> {
    plan::chosen(request).map(drop)
}

/// The tests of the suites of `request`.
pub(crate) fn tests(request: &Request, built: &Built) -> Result<Vec<(String, Vec<String>)>> {
    let mut names: Vec<&str> = plan::chosen(request)?.iter().map(|suite| suite.name).collect();
    names.dedup();
    names.into_iter().map(|name| Ok((name.to_owned(), built.tests(name)?))).collect()
}

/// Runs what `request` asks for.
pub(crate) fn run(request: &Request, built: &Built) -> Result<Outcome> {
    request.check(built)?;
    logs::clear()?;
    let mut outcome = Outcome::default();
    let mut bases = BTreeMap::new();
    let mut work = BTreeMap::<Host, Vec<Chosen>>::new();
    for (kind, suites) in by_host(request)? {
        // One after the other: what two hosts need is built once.
        let base = match Base::of(&request.options(kind)) {
            Ok(base) => base,
            Err(error) => {
                outcome.counts.failed += u64::try_from(suites.len())?;
                let names: Vec<&str> = suites.iter().map(|suite| suite.name).collect();
                let names = names.join(", ");
                eprintln!("[{}] no host, so {names} did not run: {error:#}", kind.name());
                continue;
            }
        };
        let chosen = choose(request, kind, &suites, &base, built, &mut outcome)?;
        if !chosen.is_empty() {
            work.insert(kind, chosen);
            bases.insert(kind, base);
        }
    }
    let plans = plans(request, work)?;
    for plan in &plans {
        println!("[{}] {} s: {}", plan.name, plan.seconds(), plan.names().join(", "));
    }
    let bounds = schedule::Bounds {
        slots: slots(),
        memory: &room::memory,
        stopped: &|| stop::reason().is_some(),
    };
    let results = schedule::run(&plans, &bounds, |plan| {
        let base = bases.get(&plan.kind).context("every plan has its base")?;
        host::run(plan, base, built)
    })?;
    for (plan, result) in plans.iter().zip(results) {
        match result {
            Some(Ok(counts)) => outcome.counts.add(counts),
            Some(Err(error)) => {
                eprintln!("[{}] {error:#}", plan.name);
                outcome.counts.failed += plan.size();
            }
            None => {
                println!("[{}] did not run: {}", plan.name, plan.names().join(", "));
                outcome.counts.failed += plan.size();
            }
        }
    }
    Ok(outcome)
}

/// How many hosts run at a time. Each has one processor, and waits a good part of the time, so two
/// more than there are processors keep all of them busy.
fn slots() -> usize {
    thread::available_parallelism().map_or(1, usize::from) + 2
}

/// The suites of `request` by the kind of their host.
fn by_host(request: &Request) -> Result<BTreeMap<Host, Vec<&'static Suite>>> {
    let mut by_host = BTreeMap::<Host, Vec<&'static Suite>>::new();
    for suite in plan::chosen(request)? {
        by_host.entry(suite.host).or_default().push(suite);
    }
    Ok(by_host)
}

/// Those of `suites` that are to run: not those that are known to pass, and with tests named those
/// alone that have one of them.
fn choose(
    request: &Request,
    kind: Host,
    suites: &[&'static Suite],
    base: &Base,
    built: &Built,
    outcome: &mut Outcome,
) -> Result<Vec<Chosen>> {
    let host = base.fingerprint(&request.options(kind))?;
    let mut chosen = Vec::new();
    for suite in suites {
        let mut tests = Vec::new();
        if !request.tests.is_empty() {
            tests = built.tests(suite.name)?;
            tests.retain(|test| request.tests.contains(test));
            if tests.is_empty() {
                continue;
            }
        }
        // With a part of its tests, or another kernel, it has not passed.
        let notes = suite.when == When::Once && tests.is_empty() && !request.debug_kernel;
        let known = match notes {
            true => Some(Known::new(suite.name, &built.inputs(suite.name, &host)?)?),
            false => None,
        };
        let skips = request.extent == Extent::Known && request.suites.is_empty();
        if let Some(age) = known.as_ref().and_then(Known::age).filter(|_| skips) {
            outcome.known += 1;
            println!(
                "[{}] {} is a long suite that has passed {} minutes ago with the same programs on \
                 the same host: not run again (cargo xtask test --again runs it)",
                kind.name(),
                suite.name,
                age.as_secs() / 60
            );
            continue;
        }
        let limit = plan::limit(suite.seconds, request);
        chosen.push(Chosen { name: suite.name, seconds: suite.seconds, limit, tests, known });
    }
    Ok(chosen)
}

/// The hosts for `work`, the one with the most to do first.
fn plans(request: &Request, work: BTreeMap<Host, Vec<Chosen>>) -> Result<Vec<Plan>> {
    let seconds: Vec<Vec<u64>> =
        work.values().map(|suites| suites.iter().map(|suite| suite.seconds).collect()).collect();
    let mut plans = Vec::new();
    for ((kind, suites), shares) in work.into_iter().zip(plan::share(&seconds, slots())) {
        let mut suites: Vec<Option<Chosen>> = suites.into_iter().map(Some).collect();
        let hosts = shares.len();
        for (number, share) in shares.into_iter().enumerate() {
            let taken: Vec<Chosen> =
                share.into_iter().filter_map(|at| suites.get_mut(at)?.take()).collect();
            let name = match (request.debug_kernel, hosts) {
                (true, _) => "debug".to_owned(),
                (false, 1) => kind.name().to_owned(),
                (false, _) => format!("{}-{}", kind.name(), number + 1),
            };
            let options = request.options(kind);
            let full = request.extent == Extent::Full;
            plans.push(Plan { name, kind, options, suites: taken, full });
        }
        ensure!(suites.iter().all(Option::is_none), "a suite of {} has no host", kind.name());
    }
    plans.sort_by_key(|plan| std::cmp::Reverse(plan.seconds()));
    Ok(plans)
}
