//! `chaos`: create and manage light virtual machines on Xen from the command line.
//!
//! A thin shell around [`h2`]: [`args`] is what may be typed, [`commands`] has one module per
//! command, [`views`] is what they print (its JSON form is documented in docs/chaos-json.md),
//! [`exit`] is the table of exit codes. [`console`] connects a guest's console with this process's
//! standard input and output.

#![forbid(unsafe_code)]
// The build without tests holds the code outside of them to it.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

mod args;
mod commands;
mod console;
mod cpulist;
mod exit;
mod failure;
mod host;
mod interrupt;
mod logging;
mod output;
mod table;
mod terminal;
mod views;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::args::Cli;
pub use crate::exit::TABLE as EXIT_CODES;

/// The command line's definition, for generators of manual pages and completions.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// The program: reads the command line, runs the command, and reports.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    logging::start(&cli.global);
    match commands::run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            failure::report(&error);
            exit::code_of(&error).into()
        }
    }
}

/// Answers a command line that clap did not accept, which is also how it hands out --help and
/// --version.
fn refuse(error: &clap::Error) -> ExitCode {
    // Nobody may be reading; there is nobody else to tell.
    let _ = error.print();
    if error.use_stderr() { exit::Code::Usage.into() } else { ExitCode::SUCCESS }
}
