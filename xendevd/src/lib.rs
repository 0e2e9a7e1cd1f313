//! `xendevd`, the hotplug daemon: it serves the devices of Xen guests in place of hotplug scripts.
//!
//! ```text
//!   kernel --uevents--> +--------+ --> hotplug --> net (bridges), disk (loop devices, on worker threads), script
//!   xenstored, NoXS <-> | daemon | <-- server <-- clients (protocol, client)
//!   systemd, signals -> +--------+     lifecycle (a thread): guests that end
//!                                      console (a thread): what guests without Xenstore print
//! ```
//!
//! - [`hotplug`]: the devices and what is done about them; the heart of it
//! - [`disk`], [`net`], [`vif`], [`script`]: how it is done
//! - [`plane`], [`xenstore`], [`nodes`], [`bus`]: what Xenstore and the kernel say of a device
//! - [`lifecycle`]: guests that end are destroyed or started again
//! - [`console`], [`guests`]: consoles of guests without Xenstore
//! - [`client`], [`protocol`]: for programs that ask the daemon something
//!
//! docs/xendevd.md is for its administrator, docs/xendevd-protocol.md for who writes a client.

#![forbid(unsafe_code)]
// The build without tests holds the code outside of them to it.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

mod args;
pub mod bus;
pub mod client;
pub mod config;
pub mod console;
mod daemon;
pub mod device;
pub mod disk;
mod exit;
pub mod guests;
pub mod hotplug;
pub mod lifecycle;
mod logging;
pub mod net;
pub mod nodes;
pub mod plane;
pub mod protocol;
pub mod script;
mod server;
mod service;
mod signals;
mod table;
#[cfg(test)]
mod testing;
mod uevents;
pub mod vif;
pub mod workers;
pub mod xenstore;

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{CommandFactory, Parser};

use crate::args::{Cli, Command, Format, SocketArgs};
use crate::client::Client;
use crate::daemon::{Daemon, Options};
use crate::device::DeviceId;
pub use crate::exit::TABLE as EXIT_CODES;

/// The command line's definition, for generators of manual pages and completions.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// The program: reads the command line, is the daemon or asks it something, and reports.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nobody may be reading; there is nobody else to tell.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { exit::USAGE } else { 0 });
        }
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "xendevd: {}", xenstore::chain(error.as_ref()));
            exit::code_of(&error)
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    let connect = |args: &SocketArgs| Client::connect_to(&args.socket);
    match cli.command {
        None => {
            logging::start();
            let args = cli.daemon;
            if args.foreground {
                log::debug!("--foreground is how it always runs");
            }
            Daemon::start(Options {
                config: args.config,
                socket: args.socket,
                level: args.log_level,
            })?
            .run()
        }
        Some(Command::Status(args)) => {
            let status = connect(&args.socket)?.status()?;
            let text = match args.format {
                Format::Table => table::text(&status),
                Format::Json => {
                    serde_json::to_string(&status).context("cannot write the status as JSON")?
                        + "\n"
                }
            };
            // A reader that has gone away is no failure.
            let _ = std::io::stdout().write_all(text.as_bytes());
            Ok(())
        }
        Some(Command::Settle(args)) => Ok(connect(&args)?.settle()?),
        Some(Command::Reload(args)) => Ok(connect(&args)?.reload()?),
        Some(Command::Hook(args)) => {
            let path =
                std::env::var("XENBUS_PATH").context("the variable XENBUS_PATH names no device")?;
            let device = DeviceId::from_path(&path)
                .with_context(|| format!("XENBUS_PATH is no device: {path}"))?;
            Ok(connect(&args)?.wait(device)?)
        }
    }
}
