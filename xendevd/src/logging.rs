//! Messages about what goes on, to standard error: lines for people, or, where systemd reads them,
//! lines that begin with their priority (sd-daemon(3)).

use std::io::Write;

use env_logger::Builder;
use log::{Level, LevelFilter};

/// Starts logging. Called once; [`log::set_max_level`] says how much.
pub(crate) fn start() {
    let to_journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let mut builder = Builder::new();
    builder.filter_level(LevelFilter::Trace);
    // What libraries below say in passing is for those who ask for it.
    builder.format(move |out, record| match to_journal {
        true => writeln!(out, "<{}>{}", priority(record.level()), record.args()),
        false => {
            writeln!(out, "xendevd: {}: {}", record.level().as_str().to_lowercase(), record.args())
        }
    });
    builder.init();
    log::set_max_level(LevelFilter::Info);
}

/// The number of syslog(3).
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}
