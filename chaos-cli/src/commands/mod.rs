//! One module per command, or per family of small ones: each opens what it needs, does its work,
//! and prints its view.

mod console;
mod create;
mod device;
mod dry_run;
mod info;
mod list;
mod noxs;
mod reboot;
mod shutdown;
mod simple;
mod tune;

use anyhow::Result;

use crate::args::{Cli, Command};
use crate::output::Output;

/// Runs the command that was asked for.
pub(crate) fn run(cli: &Cli) -> Result<()> {
    let output = Output::new(cli.global.format);
    match &cli.command {
        Command::Create(args) if args.dry_run => dry_run::run(args, output),
        Command::Create(args) => create::run(args, output),
        Command::List => list::run(output),
        Command::Destroy(args) => simple::destroy(args),
        Command::Shutdown(args) => shutdown::run(args, output),
        Command::Reboot(args) => reboot::run(args, output),
        Command::Pause(args) => simple::pause(args),
        Command::Unpause(args) => simple::unpause(args),
        Command::Console(args) => console::run(args),
        Command::Rename(args) => simple::rename(args),
        Command::Device(args) => device::run(args, output),
        Command::Info(args) => info::run(args, output),
        Command::VcpuPin(args) => tune::vcpu_pin(args),
        Command::Sched(args) => tune::sched(args, output),
        Command::MemMax(args) => tune::mem_max(args),
        Command::Noxs(args) => noxs::run(args, output),
    }
}
