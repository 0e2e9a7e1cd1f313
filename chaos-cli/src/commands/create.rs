//! `chaos create`.

use std::time::Instant;

use anyhow::{Context, Error, Result};
use h2::{BootImage, Domain, GuestConfig, Hypervisor};

use crate::args::CreateArgs;
use crate::console;
use crate::failure::Usage;
use crate::host;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::views::{Created, Stats};

pub(crate) fn run(args: &CreateArgs, output: Output) -> Result<()> {
    if args.console && args.count != 1 {
        return Err(Usage::new("-c attaches to one guest's console; it does not go with -n").into());
    }
    let config = configuration(args)?;
    let file = || args.config.display().to_string();
    let guests = config.instances(args.count).with_context(file)?;
    let image = BootImage::open(&config).with_context(file)?;
    let hypervisor = host::open()?;

    // From here on a signal undoes the guest that is being made instead of leaving half of it.
    let interrupt = Interrupt::catch()?;
    let mut last = None;
    for (made, guest) in (0..).zip(guests) {
        let domain = make(&hypervisor, &guest, &image, &interrupt, args.stats, output);
        last = Some(
            domain.map_err(|error| explain(error, &guest, made, args.count)).with_context(file)?,
        );
    }
    drop(interrupt);
    match last {
        Some(domain) if args.console => console::attach(&domain, false),
        _ => Ok(()),
    }
}

/// The configuration as the file and the options say it.
pub(super) fn configuration(args: &CreateArgs) -> Result<GuestConfig> {
    let mut config = GuestConfig::from_file(&args.config)?;
    config.paused |= args.paused;
    if let Some(plane) = args.plane() {
        config.plane = Some(plane);
    }
    Ok(config)
}

/// Makes one guest and prints it.
fn make(
    hypervisor: &Hypervisor,
    guest: &GuestConfig,
    image: &BootImage,
    interrupt: &Interrupt,
    stats: bool,
    output: Output,
) -> Result<Domain> {
    interrupt.check()?;
    let before = hypervisor.counters();
    let start = Instant::now();
    let shell = hypervisor.create(guest)?;
    // Leaving here drops the shell, which destroys its domain.
    interrupt.check()?;
    let domain = shell.boot(image)?;
    let total = start.elapsed();
    let stats =
        stats.then(|| Stats::new(&hypervisor.counters().since(&before), total, domain.phases()));

    let created = Created {
        domid: domain.id().get(),
        name: guest.name.to_string(),
        uuid: guest.uuid.map(|uuid| uuid.to_string()),
        stats,
    };
    output.print(&created, Created::text)?;
    Ok(domain)
}

/// Which guest failed, and how many there are already.
fn explain(error: Error, guest: &GuestConfig, made: u32, count: u32) -> Error {
    match count {
        1 => error.context(format!("cannot create {}", guest.name)),
        _ => error.context(format!("made {made} of {count} guests; cannot create {}", guest.name)),
    }
}
