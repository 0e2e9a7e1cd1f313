//! Creates a guest, waits until it shuts down, and prints why it did.
//!
//! Needs a Xen host: run it as root in the control domain, with a configuration such as
//! /guests/hello-pv.json: `run-guest /guests/hello-pv.json`.

use std::error::Error;

use h2::config::StopAction::Preserve;
use h2::{BootImage, GuestConfig, Hypervisor};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: run-guest CONFIGURATION")?;
    let mut config = GuestConfig::from_file(path)?;
    // Whatever its end, this program deals with it, and xendevd leaves the domain alone.
    (config.on_poweroff, config.on_reboot, config.on_crash) = (Preserve, Preserve, Preserve);
    // Both are checked before anything is made on the host.
    let image = BootImage::open(&config)?;

    let hypervisor = Hypervisor::open()?;
    let guest = hypervisor.create(&config)?.boot(&image)?;
    println!("{} runs as domain {}", config.name, guest.id());

    let reason = guest.wait_for_shutdown(None)?;
    println!("{} ended: {reason}", config.name);
    guest.destroy()?;
    Ok(())
}
