//! `chaos device`.

use anyhow::{Context, Result};
use h2::device::Detach;
use h2::{DeviceId, DeviceInfo, Domain};

use super::simple::refuse_control_domain;
use crate::args::{AttachArgs, DetachArgs, DeviceArgs, DeviceCommand, DeviceListArgs};
use crate::failure::Usage;
use crate::host;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::views::{DeviceRow, devices_table};

pub(crate) fn run(args: &DeviceArgs, output: Output) -> Result<()> {
    match &args.command {
        DeviceCommand::Attach(args) => attach(args, output),
        DeviceCommand::Detach(args) => detach(args),
        DeviceCommand::List(args) => list(args, output),
    }
}

fn attach(args: &AttachArgs, output: Output) -> Result<()> {
    let device = args.device.config()?;
    let hypervisor = host::open()?;
    let domain = host::find(&hypervisor, &args.guest)?;
    refuse_control_domain(&domain, "attach a device to")?;
    // A signal comes when the device is attached or undone.
    let interrupt = Interrupt::catch()?;
    let id = domain
        .attach(&device)
        .with_context(|| format!("cannot attach a device to {}", args.guest))?;
    drop(interrupt);
    if let Some(timeout) = args.wait {
        domain
            .wait_until_connected(id, timeout)
            .with_context(|| format!("attached {id} to {}, and it stays", args.guest))?;
    }
    let row = DeviceRow::from(domain.device(id)?);
    output.print(&row, |row| row.attached(args.guest.as_str()))
}

fn detach(args: &DetachArgs) -> Result<()> {
    let class = args.class.into();
    let Some(device) = DeviceId::parse(class, &args.id) else {
        return Err(Usage::new(format!(
            "{:?} is no {class}; chaos device list {} shows them",
            args.id, args.guest
        ))
        .into());
    };
    let domain = host::find(&host::open()?, &args.guest)?;
    refuse_control_domain(&domain, "detach a device from")?;
    let how = if args.force { Detach::Force } else { Detach::Ask(args.timeout) };
    domain
        .detach(device, how)
        .with_context(|| format!("cannot detach {device} from {}", args.guest))
}

fn list(args: &DeviceListArgs, output: Output) -> Result<()> {
    let domain = host::find(&host::open()?, &args.guest)?;
    output.print(&rows(&domain)?, |rows| devices_table(rows))
}

/// The devices of a guest.
pub(super) fn rows(domain: &Domain) -> Result<Vec<DeviceRow>, h2::Error> {
    Ok(domain.devices()?.into_iter().map(<DeviceRow as From<DeviceInfo>>::from).collect())
}
