//! Messages about what goes on, to standard error, by env_logger.
//!
//! -q, -v and -vv decide how much; without them the variables CHAOS_LOG and RUST_LOG do (in
//! env_logger's syntax), and without those warnings and errors are shown.

use std::io::Write;

use env_logger::Builder;
use log::LevelFilter;

use crate::args::Global;

/// Starts logging. Called once.
pub(crate) fn start(global: &Global) {
    let level = level(global);
    let mut builder = Builder::new();
    match level {
        Some(level) => _ = builder.filter_level(level),
        None => match std::env::var("CHAOS_LOG").or_else(|_| std::env::var("RUST_LOG")) {
            Ok(filters) => _ = builder.parse_filters(&filters),
            Err(_) => _ = builder.filter_level(LevelFilter::Warn),
        },
    }
    // Times and modules are for those who look into the program.
    if level.is_none_or(|level| level < LevelFilter::Debug) {
        builder.format(|out, record| {
            writeln!(out, "chaos: {}: {}", record.level().as_str().to_lowercase(), record.args())
        });
    }
    builder.init();
}

fn level(global: &Global) -> Option<LevelFilter> {
    match (global.quiet, global.verbose) {
        (true, _) => Some(LevelFilter::Error),
        (false, 0) => None,
        (false, 1) => Some(LevelFilter::Info),
        (false, 2) => Some(LevelFilter::Debug),
        (false, _) => Some(LevelFilter::Trace),
    }
}
