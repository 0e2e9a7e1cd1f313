//! The arguments of the commands on a guest's life: shutdown, reboot, console, rename.

use std::time::Duration;

use clap::Args;

use super::guest::{Guest, seconds};

/// Ask guests to shut down, and wait until they have
///
/// A guest that chaos made is destroyed once it has shut down, which frees its memory, unless its
/// configuration says "on_poweroff": "preserve" or --keep is given. A guest that xl made is left to
/// xl.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  chaos shutdown web0
  chaos shutdown --force --timeout 10 web0 web1
  chaos shutdown --no-wait web0")]
pub(crate) struct ShutdownArgs {
    /// The guests, by domain id or name; all are asked at once
    #[arg(value_name = "GUEST", required = true)]
    pub(crate) guests: Vec<Guest>,
    /// Wait until the guests have shut down; this is the default
    #[arg(long, conflicts_with = "no_wait")]
    wait: bool,
    /// Only ask; the domains stay until they are destroyed
    #[arg(long, conflicts_with_all = ["force", "keep", "timeout"])]
    pub(crate) no_wait: bool,
    /// How long to wait
    #[arg(long, value_name = "SECONDS", default_value = "60")]
    #[arg(value_parser = seconds, allow_negative_numbers = true)]
    pub(crate) timeout: Duration,
    /// Destroy a guest that does not react in time
    #[arg(long)]
    pub(crate) force: bool,
    /// Keep the domain after the guest has shut down
    #[arg(long)]
    pub(crate) keep: bool,
}

/// Ask a guest to reboot, and wait until it runs again
///
/// A guest that chaos made is started again from the configuration that it was made from, with its
/// name and UUID and under a new domain id, which is printed. A guest that xl made is restarted by
/// xl; chaos waits for that.
///
/// If chaos is interrupted while it waits for the guest to go down, the guest is not started again.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  chaos reboot web0")]
pub(crate) struct RebootArgs {
    /// The guest, by domain id or name
    #[arg(value_name = "GUEST")]
    pub(crate) guest: Guest,
    /// How long to wait for the guest to go down
    #[arg(long, value_name = "SECONDS", default_value = "60")]
    #[arg(value_parser = seconds, allow_negative_numbers = true)]
    pub(crate) timeout: Duration,
}

/// Attach to a guest's console
///
/// What the guest printed before comes first, where the console daemon has kept it. Ctrl-]
/// detaches; the guest runs on.
///
/// If standard input is not a terminal, it is passed to the guest until it ends. Output is then
/// still shown until the guest has been silent for 2 seconds, for at most 10 seconds.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  chaos console web0
  echo date | chaos console web0")]
pub(crate) struct ConsoleArgs {
    /// The guest, by domain id or name
    #[arg(value_name = "GUEST")]
    pub(crate) guest: Guest,
    /// Do not show what was printed before
    #[arg(long)]
    pub(crate) no_history: bool,
}

/// Give a guest another name
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  chaos rename web0 web-old")]
pub(crate) struct RenameArgs {
    /// The guest, by domain id or name
    #[arg(value_name = "GUEST")]
    pub(crate) guest: Guest,
    /// Its new name
    #[arg(value_name = "NEW-NAME")]
    pub(crate) name: String,
}
