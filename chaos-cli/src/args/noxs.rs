//! The arguments of `chaos noxs`.

use clap::{Args, Subcommand};

use super::guest::Guest;

/// Look into the devices of guests without Xenstore
///
/// A guest on the NoXS plane has a device page, which tells it what devices it has, and a control
/// page for each of them, by which its driver and the host's bring the device up. For guests with
/// Xenstore, see xenstore-ls.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true, after_help = "Example:\n  chaos noxs dump web0")]
pub(crate) struct NoxsArgs {
    #[command(subcommand)]
    pub(crate) command: NoxsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NoxsCommand {
    Dump(NoxsDumpArgs),
}

/// Show a guest's device page and all of its control pages
///
/// The states and keys are those that the host's kernel has published, and that it has last taken
/// from the guest. The private keys are the host's own, which no page has. A device without a slot
/// is not in the device page; one without ends is not known to the kernel: both are left from
/// a command that died.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  chaos noxs dump web0\n  chaos noxs dump web0 --format json | jq \
                  '.devices[].backend.keys'"
)]
pub(crate) struct NoxsDumpArgs {
    /// The guest, by domain id or name
    #[arg(value_name = "GUEST")]
    pub(crate) guest: Guest,
}
