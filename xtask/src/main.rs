//! `cargo xtask`: everything a developer or user runs from the checkout.

#![forbid(unsafe_code)]
// A test that cannot go on says where by panicking.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod bare;
mod cache;
mod check;
mod children;
mod clean;
mod count;
mod demo;
mod deny;
mod deps;
mod files;
mod fuzz;
mod guests;
mod install;
mod known;
mod lab;
mod patches;
mod plain;
mod progress;
mod report;
mod run;
mod stop;
mod suites;
mod test;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::lab::failure::{Failure, LAB_FAILED};

/// What a developer or user of LightVM runs from the checkout
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// A Xen host in an emulated machine, with this checkout's software in its dom0
    #[command(subcommand)]
    Lab(Lab),
    /// Build the software and install it
    Install(install::Options),
    /// Check what no compiler checks: layers, unsafe code, file sizes, names that must not be in
    /// the tree, the guests' sizes and stacks
    Check,
    /// Remove from the cache what this checkout does not use
    Clean(clean::Options),
    /// Check the dependencies' licences, sources and versions (deny.toml)
    Deny(deny::Options),
    /// Check and test everything; the last line says how many tests passed and failed
    Test(test::Options),
    /// Run the README's two commands, `test` and `demo`, on a bare Debian 12 with a Rust toolchain,
    /// in either order, as root and as a user with sudo. Needs root's rights, or sudo
    Bare(bare::Options),
    /// Run the fuzz targets of all crates for a while
    Fuzz(fuzz::Options),
    /// The series for Xen and Linux
    #[command(subcommand)]
    Patches(Patches),
    /// See it work: install what is missing, build, boot a Xen host, make guests, and show them
    /// with their times
    Demo(demo::Options),
}

#[derive(Debug, Subcommand)]
enum Lab {
    /// Boot a host, run SCRIPT as root in its dom0 with /bin/sh, and exit with its status (125: the
    /// lab itself failed)
    Run {
        #[command(flatten)]
        options: lab::options::Options,
        /// The script; several words are joined by spaces
        #[arg(required = true, last = true)]
        script: Vec<String>,
    },
    /// Boot a host and open a root shell in its dom0 on this terminal
    Shell {
        #[command(flatten)]
        options: lab::options::Options,
    },
}

#[derive(Debug, Subcommand)]
enum Patches {
    /// Apply the series to their bases, build after each patch, and compare the layouts of C and
    /// Rust
    Check(patches::check::Check),
    /// Make Debian packages of the patched hypervisor and kernel, for a host of one's own
    Package(patches::package::Options),
}

fn main() -> ExitCode {
    let ended = match Cli::parse().task {
        Task::Lab(Lab::Run { options, script }) => in_lab(lab::run(&options, &script.join(" "))),
        Task::Lab(Lab::Shell { options }) => in_lab(lab::shell(&options)),
        Task::Install(options) => plain(install::command(&options)),
        Task::Check => plain(check::structure().and_then(|()| check::images())),
        Task::Clean(options) => plain(clean::run(&options)),
        Task::Deny(options) => plain(deny::command(&options)),
        Task::Test(options) => passed(test::run(&options)),
        Task::Bare(options) => passed(bare::run(&options)),
        Task::Fuzz(options) => plain(fuzz::run(&options)),
        Task::Patches(Patches::Check(options)) => plain(patches::check::check(&options)),
        Task::Patches(Patches::Package(options)) => plain(patches::package::package(&options)),
        Task::Demo(options) => in_lab(demo::run(&options)),
    };
    ended.unwrap_or_else(|(error, code)| {
        eprintln!("{error:#}");
        ExitCode::from(code)
    })
}

type Ended = Result<ExitCode, (anyhow::Error, u8)>;

/// A script's status is ours; whatever else goes wrong is the lab's failure.
fn in_lab(ended: Result<i32>) -> Ended {
    match ended {
        Ok(status) => Ok(ExitCode::from(u8::try_from(status).unwrap_or(LAB_FAILED))),
        Err(error) => {
            let code = error.downcast_ref::<Failure>().map_or(LAB_FAILED, Failure::code);
            Err((error, code))
        }
    }
}

/// Whether all tests passed.
fn passed(ended: Result<bool>) -> Ended {
    match ended {
        Ok(true) => Ok(ExitCode::SUCCESS),
        Ok(false) => Ok(ExitCode::FAILURE),
        Err(error) => {
            let code = error.downcast_ref::<Failure>().map_or(1, Failure::code);
            Err((error, code))
        }
    }
}

fn plain(ended: Result<()>) -> Ended {
    ended.map(|()| ExitCode::SUCCESS).map_err(|error| (error, 1))
}
