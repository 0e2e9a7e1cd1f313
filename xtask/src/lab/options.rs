//! What a lab host is like: the options that `lab run` and `lab shell` share.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::value_parser;

use super::accel::Accel;

/// How guests and the host talk about devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Plane {
    /// Debian's own Xen and kernel, with a Xenstore
    Xenstore,
    /// Xen and kernel with this checkout's patches, without a Xenstore
    Noxs,
}

/// A copy from the machine into dom0.
#[derive(Debug, Clone)]
pub(crate) struct FileIn {
    pub(crate) host: PathBuf,
    pub(crate) dom0: PathBuf,
}

/// A copy from dom0 to the machine.
#[derive(Debug, Clone)]
pub(crate) struct FileOut {
    pub(crate) dom0: PathBuf,
    pub(crate) host: PathBuf,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// The control plane of the host
    #[arg(long, value_enum, default_value = "xenstore")]
    pub(crate) plane: Plane,

    /// Have xenstored and xenconsoled run on a host of the plane noxs, too: for guests of both
    /// planes. Without `chaos create --plane noxs` a guest there is a Xenstore guest
    #[arg(long)]
    pub(crate) with_xenstored: bool,

    /// On a host of the plane noxs, a kernel of dom0 that watches its locks and its memory: many
    /// times slower
    #[arg(long)]
    pub(crate) debug_kernel: bool,

    /// On a host of the plane xenstore, the kernel tinyx for the Linux guests of /guests: they
    /// boot in a third of the time, once it is built. A host of the plane noxs has no other
    #[arg(long)]
    pub(crate) tinyx: bool,

    /// Count instructions instead of time: one is one nanosecond, and two runs agree. Slower by
    /// the clock on the wall
    #[arg(long)]
    pub(crate) icount: bool,

    /// What executes the host's instructions
    #[arg(long, value_enum, default_value = "tcg")]
    pub(crate) accel: Accel,

    /// Memory of the host in MiB
    #[arg(long, value_name = "MIB", default_value_t = 4096,
        value_parser = value_parser!(u32).range(1024..=1 << 20))]
    pub(crate) memory: u32,

    /// Processors of the host
    #[arg(long, value_name = "N", default_value_t = 2,
        value_parser = value_parser!(u32).range(1..=64))]
    pub(crate) cpus: u32,

    /// Give up after this long, counted from power-on [default: 600 for a script, none for a
    /// shell]
    #[arg(long, value_name = "SECONDS", value_parser = value_parser!(u64).range(1..))]
    pub(crate) timeout: Option<u64>,

    /// Copy a file or a folder into dom0 before anything runs (may repeat). A DOM0 that ends in /
    /// keeps the name
    #[arg(long = "file", value_name = "HOST:DOM0", value_parser = parse_in)]
    pub(crate) files: Vec<FileIn>,

    /// Copy a file or a folder out of dom0 afterwards, also when the script failed (may repeat)
    #[arg(long = "out", value_name = "DOM0:HOST", value_parser = parse_out)]
    pub(crate) outs: Vec<FileOut>,

    /// More arguments for Xen
    #[arg(long, value_name = "ARGS", default_value = "", hide = true)]
    pub(crate) xen_args: String,

    /// More arguments for dom0's kernel
    #[arg(long, value_name = "ARGS", default_value = "", hide = true)]
    pub(crate) dom0_args: String,

    /// A host with Debian's software alone: nothing of this checkout is built or installed
    #[arg(long)]
    pub(crate) bare: bool,
}

impl Options {
    /// Whether the host has a Xenstore.
    pub(crate) fn xenstored(&self) -> bool {
        self.with_xenstored || self.plane == Plane::Xenstore
    }

    /// How much memory dom0 gets, in MiB; the rest is the guests'. A quarter does for the tools of
    /// a thousand guests.
    pub(crate) fn dom0_memory(&self) -> u32 {
        (self.memory / 4).clamp(512, 1536)
    }

    /// How long the host may take until it answers. Generous: the machine may be building something
    /// else meanwhile.
    pub(crate) fn boot_limit(&self) -> Duration {
        Duration::from_secs(if self.icount || self.debug_kernel { 900 } else { 300 })
    }
}

impl Default for Options {
    fn default() -> Self {
        Options {
            plane: Plane::Xenstore,
            with_xenstored: false,
            debug_kernel: false,
            tinyx: false,
            icount: false,
            accel: Accel::Tcg,
            memory: 4096,
            cpus: 2,
            timeout: None,
            files: Vec::new(),
            outs: Vec::new(),
            xen_args: String::new(),
            dom0_args: String::new(),
            bare: false,
        }
    }
}

fn parse_in(text: &str) -> Result<FileIn> {
    let (host, dom0) = text.rsplit_once(':').context("expected HOST:DOM0")?;
    let host = PathBuf::from(host);
    let mut target = dom0_path(dom0)?;
    if dom0.ends_with('/') {
        target.push(
            host.file_name().with_context(|| format!("{} has no name to keep", host.display()))?,
        );
    }
    ensure!(host.exists(), "{} does not exist", host.display());
    Ok(FileIn { host, dom0: target })
}

fn parse_out(text: &str) -> Result<FileOut> {
    let (dom0, host) = text.split_once(':').context("expected DOM0:HOST")?;
    ensure!(!host.is_empty(), "expected DOM0:HOST");
    Ok(FileOut { dom0: dom0_path(dom0)?, host: host.into() })
}

fn dom0_path(text: &str) -> Result<PathBuf> {
    let path = PathBuf::from(text);
    let plain =
        path.components().skip(1).all(|part| matches!(part, std::path::Component::Normal(_)));
    ensure!(
        path.is_absolute() && plain,
        "the path in dom0 must begin with / and have no ..: {text:?}"
    );
    Ok(path)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{parse_in, parse_out};

    #[test]
    fn a_folder_as_target_keeps_the_name() {
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        assert_eq!(
            parse_in(&format!("{manifest}:/root/")).unwrap().dom0,
            Path::new("/root/Cargo.toml")
        );
        assert_eq!(parse_in(&format!("{manifest}:/root/x")).unwrap().dom0, Path::new("/root/x"));
    }

    #[test]
    fn paths_in_dom0_are_absolute() {
        assert!(parse_out("/var/log:logs").is_ok());
        assert!(parse_out("var/log:logs").is_err());
        assert!(parse_out("/var/../log:logs").is_err());
        assert!(parse_out("/var/log").is_err());
    }
}
