//! The command line, and the text of --help. The manual page is generated from it.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use log::LevelFilter;

use crate::protocol::SOCKET;
use crate::{config, exit};

/// Serve the devices of Xen guests
///
/// xendevd puts the interfaces of guests into their bridges and makes disks of files, without a
/// hotplug script, for guests that chaos made and, where the script xendevd-hook stands in for
/// Xen's own, for those of xl. Guests of chaos that end are destroyed or started again
/// as their configuration says, and the consoles of those without Xenstore are served. Without a
/// command it is the daemon: it stays in the foreground, logs to standard error, and is meant to be
/// started by systemd. docs/xendevd.md tells how to switch a host over.
#[derive(Debug, Parser)]
#[command(
    name = "xendevd",
    version,
    max_term_width = 100,
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  systemctl enable --now xendevd\n  xendevd status\
                  \n  xendevd --log-level debug",
    after_long_help = format!(
        "Examples:\n  systemctl enable --now xendevd\n  xendevd status\
         \n  xendevd --log-level debug\n\n\
         Signals:\n  SIGHUP   reads the configuration again, looks at all devices, and tries \
         again what has failed\n  \
         SIGTERM  stops; guests keep their devices\n\n{}",
        exit::help()
    )
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) daemon: DaemonArgs,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// How the daemon works.
#[derive(Debug, clap::Args)]
pub(crate) struct DaemonArgs {
    /// Stay in the foreground; it always does, and never makes itself a background process
    #[arg(long)]
    pub(crate) foreground: bool,
    /// The configuration file; the default one need not be there
    #[arg(long, value_name = "FILE", help = format!("The configuration file [default: {}, if it \
        is there]", config::DEFAULT_PATH))]
    pub(crate) config: Option<PathBuf>,
    /// How much is logged: off, error, warn, info, debug or trace [default: what the configuration
    /// says, or info]
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log_level: Option<LevelFilter>,
    /// Where requests come in
    #[arg(long, value_name = "PATH", default_value = SOCKET)]
    pub(crate) socket: PathBuf,
}

/// What can be asked of a daemon that runs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what the daemon serves, what has failed and why
    #[command(after_help = "Examples:\n  xendevd status\n  xendevd status --format json | jq \
                      '.devices[] | select(.error)'")]
    Status(StatusArgs),
    /// Wait until the daemon has dealt with all that has happened so far
    #[command(after_help = "Example:\n  xendevd settle")]
    Settle(SocketArgs),
    /// Have the daemon read its configuration again, look at all devices, and try again what has
    /// failed
    #[command(after_help = "Example:\n  xendevd reload")]
    Reload(SocketArgs),
    /// Wait until the device of the variable XENBUS_PATH is served: what the script xendevd-hook
    /// calls
    #[command(after_help = "Example:\n  XENBUS_PATH=backend/vif/5/0 xendevd hook")]
    Hook(SocketArgs),
}

/// Which daemon.
#[derive(Debug, clap::Args)]
pub(crate) struct SocketArgs {
    /// Where the daemon listens
    #[arg(long, value_name = "PATH", default_value = SOCKET)]
    pub(crate) socket: PathBuf,
}

/// How its status is shown.
#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    /// How it is printed
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) socket: SocketArgs,
}

/// How data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// Lines for people
    #[default]
    Table,
    /// JSON for programs; see docs/xendevd-protocol.md
    Json,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[test]
    fn definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn lines_are_understood() {
        let parse = |line: &str| Cli::try_parse_from(line.split_whitespace());
        assert!(
            parse("xendevd --foreground --config /x --log-level debug")
                .is_ok_and(|cli| cli.command.is_none())
        );
        assert!(parse("xendevd status --format json").is_ok_and(|cli| cli.command.is_some()));
        for wrong in [
            "xendevd --log-level loud",
            "xendevd dance",
            "xendevd status extra",
            "xendevd --foreground status",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
