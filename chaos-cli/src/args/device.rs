//! The arguments of `chaos device`.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use h2::config::{Access, DiskType, Interface, Mac, Rate, Vbd, Vdev, Vif};
use h2::{DeviceClass, DeviceConfig, DomId};

use super::guest::{Guest, seconds};
use crate::failure::Usage;

/// Attach, detach and list a guest's network interfaces and disks
///
/// A guest that chaos made has the same devices again after a reboot. A guest that xl made keeps
/// what is attached here until it ends.
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Examples:
  chaos device list web0
  chaos device attach web0 vif --bridge xenbr0
  chaos device attach web0 vbd --target /srv/data.img --type file --vdev xvdb
  chaos device detach web0 vbd xvdb"
)]
pub(crate) struct DeviceArgs {
    #[command(subcommand)]
    pub(crate) command: DeviceCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeviceCommand {
    Attach(AttachArgs),
    Detach(DetachArgs),
    List(DeviceListArgs),
}

/// Attach a network interface or a disk to a guest
///
/// The command ends when the host's end is ready: the backend driver has taken the device, and the
/// hotplug agent (xendevd) has connected it. With --wait (10 s) or --wait=SECONDS it ends when the
/// guest has connected its own end, too. If that does not happen the device stays.
///
/// A failed attach is undone.
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Examples:
  chaos device attach web0 vif --bridge xenbr0
  chaos device attach web0 vif --bridge xenbr0 --mac 00:16:3e:12:34:56 --rate 10Mb/s
  chaos device attach web0 vbd --target /dev/vg0/data --vdev xvdb --wait
  chaos device attach --wait=60 web0 vbd --target /srv/data.img --vdev xvdb"
)]
pub(crate) struct AttachArgs {
    /// Wait until the guest has connected the device, so long at most
    #[arg(long, global = true, value_name = "SECONDS", value_parser = seconds)]
    #[arg(num_args = 0..=1, default_missing_value = "10", require_equals = true)]
    pub(crate) wait: Option<Duration>,
    /// The guest, by domain id or name
    #[arg(value_name = "GUEST")]
    pub(crate) guest: Guest,
    #[command(subcommand)]
    pub(crate) device: NewDevice,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NewDevice {
    Vif(VifArgs),
    Vbd(VbdArgs),
}

/// A network interface, with the lowest number that is free
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  chaos device attach web0 vif --bridge xenbr0")]
pub(crate) struct VifArgs {
    /// The bridge that it joins; without one it joins none
    #[arg(long)]
    bridge: Option<Interface>,
    /// Its MAC address; without one, 00:16:3e and 24 random bits
    #[arg(long)]
    mac: Option<Mac>,
    /// The most that the guest may send, such as 10Mb/s or 1GB/s@20ms
    #[arg(long)]
    rate: Option<Rate>,
    /// A hotplug script to run instead of what xendevd does itself
    #[arg(long, value_name = "PATH")]
    script: Option<PathBuf>,
    /// The guest's IPv4 address, for information only
    #[arg(long)]
    ip: Option<Ipv4Addr>,
    /// The domain that has the other end
    #[arg(long, value_name = "DOMID", default_value_t = DomId::DOM0)]
    backend: DomId,
}

/// A disk
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  chaos device attach web0 vbd --target /srv/data.img --type file \
                  --vdev xvdb --access r"
)]
pub(crate) struct VbdArgs {
    /// The block device or the file that holds the content
    #[arg(long, value_name = "PATH")]
    target: PathBuf,
    /// Its name in the guest, such as xvdb
    #[arg(long)]
    vdev: Vdev,
    /// What the target is: phy, a block device, or file; without it chaos looks
    #[arg(long = "type", value_name = "TYPE")]
    disk_type: Option<DiskType>,
    /// What the guest may do: r, read only, or w, read and write
    #[arg(long, default_value_t = Access::Write)]
    access: Access,
    /// The domain that has the other end
    #[arg(long, value_name = "DOMID", default_value_t = DomId::DOM0)]
    backend: DomId,
}

/// Detach a network interface or a disk from a guest
///
/// The guest is asked to let go of the device, and waited for. A guest that has no driver for it is
/// not asked. With --force no guest is asked: what it has not written to a disk by then is lost.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  chaos device detach web0 vif 1
  chaos device detach web0 vbd xvdb
  chaos device detach --force web0 vbd xvdb")]
pub(crate) struct DetachArgs {
    /// The guest, by domain id or name
    #[arg(value_name = "GUEST")]
    pub(crate) guest: Guest,
    /// What it is
    #[arg(value_name = "CLASS")]
    pub(crate) class: Class,
    /// The number of the interface, or the disk's number or name in the guest
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// Take it away without asking the guest
    #[arg(long, conflicts_with = "timeout")]
    pub(crate) force: bool,
    /// How long to wait for the guest
    #[arg(long, value_name = "SECONDS", default_value = "10")]
    #[arg(value_parser = seconds, allow_negative_numbers = true)]
    pub(crate) timeout: Duration,
}

/// List a guest's network interfaces and disks
///
/// Guest and Host are the states of the device's two ends: initialising, waiting, initialised,
/// connected, closing, or closed. Hotplug is what the hotplug agent has said.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  chaos device list web0\n  chaos device list web0 --format json | \
                  jq '.[].mac'"
)]
pub(crate) struct DeviceListArgs {
    /// The guest, by domain id or name
    #[arg(value_name = "GUEST")]
    pub(crate) guest: Guest,
}

/// A class of devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Class {
    /// A network interface
    Vif,
    /// A disk
    Vbd,
}

impl From<Class> for DeviceClass {
    fn from(class: Class) -> Self {
        match class {
            Class::Vif => Self::Vif,
            Class::Vbd => Self::Vbd,
        }
    }
}

impl NewDevice {
    /// The device that is meant. Relative paths are taken from the folder that the command was
    /// started in.
    pub(crate) fn config(&self) -> Result<DeviceConfig, Usage> {
        match self {
            Self::Vif(args) => {
                let mut vif = Vif::default();
                (vif.bridge, vif.mac, vif.rate) = (args.bridge.clone(), args.mac, args.rate);
                (vif.ip, vif.backend) = (args.ip, args.backend);
                vif.script = args.script.as_deref().map(absolute).transpose()?;
                Ok(DeviceConfig::Vif(vif))
            }
            Self::Vbd(args) => {
                let target = absolute(&args.target)?;
                let guess = if target.is_file() { DiskType::File } else { DiskType::Phy };
                let disk_type = args.disk_type.unwrap_or(guess);
                let mut vbd = Vbd::new(target, disk_type, args.vdev.clone(), args.access);
                vbd.backend = args.backend;
                Ok(DeviceConfig::Vbd(vbd))
            }
        }
    }
}

fn absolute(path: &Path) -> Result<PathBuf, Usage> {
    std::path::absolute(path).map_err(|error| Usage::new(format!("{}: {error}", path.display())))
}
