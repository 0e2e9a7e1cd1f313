//! Tells a person what takes so long: a spinner with the time on a terminal, a line at the start
//! and one at the end elsewhere.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// One step that is under way. Dropped unfinished, it disappears: the error that ended it speaks
/// for itself.
#[derive(Debug)]
pub(crate) struct Step {
    what: String,
    start: Instant,
    bar: ProgressBar,
}

impl Step {
    pub(crate) fn start(what: impl Into<String>) -> Self {
        let what = what.into();
        let bar = ProgressBar::new_spinner();
        if bar.is_hidden() {
            eprintln!("{what} ...");
        } else {
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
                bar.set_style(style);
            }
            bar.set_message(what.clone());
            bar.enable_steady_tick(Duration::from_millis(120));
        }
        Step { what, start: Instant::now(), bar }
    }

    pub(crate) fn done(self) {
        self.bar.finish_and_clear();
        eprintln!("{} ({:.1} s)", self.what, self.start.elapsed().as_secs_f64());
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
