//! The arguments of `chaos create`.

use std::path::PathBuf;

use clap::Args;
use h2::config::Plane;

/// Create guests from a configuration file and start them
///
/// The configuration is checked first, then the kernel and the ramdisk, and only then Xen is asked
/// for anything. If a guest cannot be made, what was made for it is undone. An interruption
/// (Ctrl-C, SIGTERM) undoes the guest that is being made.
///
/// With -n the guests are called NAME-1, NAME-2 and so on and each gets its own UUID and MAC
/// addresses; if one of them fails, those made before it stay, and the error says how many they
/// are.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  chaos create web0.json
  chaos create -n 100 web.json
  chaos create --dry-run web0.json
  chaos create --stats --format json web0.json | jq .stats.total_ns")]
pub(crate) struct CreateArgs {
    /// The guest's configuration, a JSON file
    #[arg(value_name = "CONFIG.json")]
    pub(crate) config: PathBuf,
    /// How many guests to make
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) count: u32,
    /// Leave the guests paused
    #[arg(short, long)]
    pub(crate) paused: bool,
    /// Attach to the new guest's console; Ctrl-] detaches
    #[arg(short, long, conflicts_with_all = ["dry_run", "paused"])]
    pub(crate) console: bool,
    /// Check the configuration, the images, the name and the free memory, and touch nothing
    #[arg(long, conflicts_with = "stats")]
    pub(crate) dry_run: bool,
    /// Print what each create cost: hypercalls, ioctls, Xenstore operations, bytes copied, time by
    /// phase
    #[arg(long)]
    pub(crate) stats: bool,
    /// The control plane that connects the guests to their devices, whatever the configuration
    /// says
    #[arg(long, value_name = "PLANE", value_parser = ["xenstore", "noxs"])]
    plane: Option<String>,
}

impl CreateArgs {
    /// The control plane that was asked for.
    pub(crate) fn plane(&self) -> Option<Plane> {
        self.plane.as_deref().and_then(|plane| plane.parse().ok())
    }
}
