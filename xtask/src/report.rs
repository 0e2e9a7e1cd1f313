//! What `cargo xtask test` has found: a line for each step, and the sum.

use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::Result;

use crate::count::Counts;
use crate::stop::{self, Reason};

/// What a step found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) counts: Counts,
    /// Suites that were not run again.
    pub(crate) known: u64,
}

/// Steps may run side by side.
#[derive(Debug, Default)]
pub(crate) struct Report {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    steps: Vec<Step>,
    found: Found,
    closed: bool,
}

#[derive(Debug)]
struct Step {
    name: String,
    /// None: it has not ended.
    line: Option<String>,
}

impl Report {
    /// A report of these steps, in this order.
    pub(crate) fn of(steps: &[&str]) -> Self {
        let steps =
            steps.iter().map(|name| Step { name: (*name).to_owned(), line: None }).collect();
        Report { state: Mutex::new(State { steps, ..State::default() }) }
    }

    /// Does what the step `name` is, unless everything has to end.
    pub(crate) fn step(&self, name: &str, action: impl FnOnce() -> Result<Found>) {
        if stop::reason().is_some() {
            return;
        }
        println!("== {name}");
        let start = Instant::now();
        let (found, verdict) = match action() {
            Ok(found) if matches!(found.counts, Counts { passed: 0, failed: 0, .. }) => {
                (found, "SKIPPED")
            }
            Ok(found) if found.counts.failed == 0 => (found, "ok"),
            Ok(found) => (found, "FAILED"),
            Err(error) => {
                eprintln!("{error:#}");
                let counts = Counts { failed: 1, ..Counts::default() };
                (Found { counts, known: 0 }, "FAILED")
            }
        };
        let seconds = start.elapsed().as_secs_f64();
        let line = format!("{verdict:7} {name} ({}, {seconds:.1} s)", found.counts);
        println!("== {line}");
        let mut state = self.lock();
        state.found.counts.add(found.counts);
        state.found.known += found.known;
        if let Some(step) = state.steps.iter_mut().find(|step| step.name == name) {
            step.line = Some(line);
        }
    }

    /// Prints the summary, once; true if all passed.
    pub(crate) fn close(&self) -> bool {
        let mut state = self.lock();
        let (text, passed) = state.summary(stop::reason());
        if !state.closed {
            print!("{text}");
            state.closed = true;
        }
        passed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn summary(&self, stopped: Option<Reason>) -> (String, bool) {
        let mut text = String::from("\n== summary\n");
        let mut counts = self.found.counts;
        for step in &self.steps {
            let line = step.line.clone().unwrap_or_else(|| {
                counts.failed += 1;
                format!("NOT RUN {}", step.name)
            });
            let _ = writeln!(text, "{line}");
        }
        let why = match stopped {
            Some(Reason::Signal(number)) => Some(format!("stopped by signal {number}")),
            Some(Reason::Deadline) => Some("the time for everything was over".to_owned()),
            None => None,
        };
        if let Some(why) = why {
            let _ = writeln!(text, "{why}");
            counts.failed = counts.failed.max(1);
        }
        if self.found.known > 0 {
            let _ = writeln!(
                text,
                "{} long suites have passed before with the same inputs and were not run again",
                self.found.known
            );
        }
        let _ = writeln!(text, "{counts}");
        (text, counts.failed == 0)
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::{Found, Report};
    use crate::count::Counts;
    use crate::stop::Reason;

    fn passed(passed: u64, known: u64) -> Found {
        Found { counts: Counts { passed, failed: 0, skipped: 2 }, known }
    }

    fn summary(report: &Report, stopped: Option<Reason>) -> (Vec<String>, bool) {
        let (text, ok) = report.lock().summary(stopped);
        (text.lines().map(str::to_owned).collect(), ok)
    }

    #[test]
    fn the_last_line_is_the_sum_alone() {
        let report = Report::of(&["format", "lab"]);
        report.step("lab", || Ok(passed(7, 3)));
        report.step("format", || Ok(passed(1, 0)));
        let (lines, ok) = summary(&report, None);
        assert!(ok);
        assert!(lines[2].starts_with("ok      format (1 passed"), "{lines:?}");
        assert!(lines[3].starts_with("ok      lab (7 passed"), "{lines:?}");
        assert!(lines[4].starts_with("3 long suites"), "{lines:?}");
        assert_eq!(lines[5..], ["8 passed, 0 failed, 4 skipped"]);
    }

    #[test]
    fn a_failure_of_any_step_is_one_of_all() {
        let report = Report::of(&["format", "lab"]);
        report.step("lab", || Ok(passed(7, 0)));
        report.step("format", || Err(anyhow!("not formatted")));
        let (lines, ok) = summary(&report, None);
        assert!(!ok);
        assert_eq!(lines.last().unwrap(), "7 passed, 1 failed, 2 skipped");
    }

    #[test]
    fn what_did_not_run_is_named_and_no_success() {
        let report = Report::of(&["format", "lab"]);
        report.step("format", || Ok(passed(1, 0)));
        let (lines, ok) = summary(&report, Some(Reason::Deadline));
        assert!(!ok);
        assert_eq!(
            lines[3..],
            ["NOT RUN lab", "the time for everything was over", "1 passed, 1 failed, 2 skipped"]
        );
        // Also if all had passed by then.
        report.step("lab", || Ok(passed(1, 0)));
        assert!(!summary(&report, Some(Reason::Signal(2))).1);
    }
}
