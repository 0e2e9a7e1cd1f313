//! `cargo xtask demo`: LightVM for someone who has never seen Xen.

use std::fs;
use std::io::{IsTerminal, stdout};

use anyhow::{Context, Result};

use crate::lab::accel::Accel;
use crate::lab::boot::Boot;
use crate::lab::options::{Options as Host, Plane};
use crate::progress::Step;
use crate::{deps, files, guests, install, lab};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The control plane of the host
    #[arg(long, value_enum, default_value = "xenstore")]
    plane: Plane,

    /// What executes the host's instructions
    #[arg(long, value_enum, default_value = "tcg")]
    accel: Accel,

    /// Keep the host when the demo is over, with a root shell in it
    #[arg(long)]
    keep: bool,
}

const INTRODUCTION: &str = "\
LightVM makes virtual machines on Xen as fast as Linux makes processes. Xen is a hypervisor: it runs
below Linux. Linux, as its first guest `dom0`, makes and controls the others; `chaos` is what it
does it with, in place of Xen's own `xl`.

This machine need not have Xen. The demo
  1. installs the Debian packages that are missing (compilers' headers, an emulator);
  2. builds chaos and a few tiny guests;
  3. makes a Debian with Xen on a disk image and boots it in QEMU, an emulated machine;
  4. makes guests there, shows what they say, and compares chaos with xl.
The first run takes about five minutes, later ones two; with --plane noxs it first builds Xen and
two kernels, which takes about fifteen minutes more. What it makes is kept in
";

const FAREWELL: &str = "
To go on:
  cargo xtask lab shell                        a root shell on such a host
  cargo xtask lab run -- 'chaos list; xl list' one script on such a host
  cargo xtask test                             all tests, on such hosts too
  docs/ARCHITECTURE.md                         how it works inside
";

/// What the times in the demo's table are.
const EXACT: &str = "counted as one nanosecond for each instruction: the same on every machine";
const ROUGH: &str = "by the clock of an emulated machine: only the ratios mean anything";

/// In seconds; the demo takes two minutes on a quiet machine.
const LIMIT: u64 = 1200;

/// The script's exit status.
pub(crate) fn run(options: &Options) -> Result<i32> {
    print!("{INTRODUCTION}  {}\n\n", crate::cache::root()?.display());
    // Counted instructions are the better clock; but where it runs, idle time passes instantly,
    // which is no host to work on, and a real processor does not count.
    let icount = !options.keep && options.accel != Accel::Kvm;
    let host = Host {
        plane: options.plane,
        accel: options.accel,
        icount,
        timeout: Some(LIMIT),
        ..Host::default()
    };
    // All at once, since sudo may ask for a password: nobody waits for that behind a build.
    deps::ensure(&[deps::BUILD, &lab::needed(&host)].concat())?;
    let boot = Boot::of(&host)?;
    let step = Step::start("building chaos and the guests");
    let made = tempfile::tempdir()?;
    install::install(made.path(), "/usr".as_ref())?;
    guests::install(made.path(), &boot)?;
    step.done();

    let name = match options.plane {
        Plane::Xenstore => "demo.sh",
        Plane::Noxs => "demo-noxs.sh",
    };
    let script = script("demo-common.sh")? + &script(name)?;
    let clock = if icount { EXACT } else { ROUGH };
    // dom0 cannot tell whether its output ends on a terminal.
    let (bold, plain) = if stdout().is_terminal() { (r"\033[1m", r"\033[0m") } else { ("", "") };
    let script =
        format!("clock='{clock}' bold='{bold}' plain='{plain}'; export clock bold plain\n{script}");
    println!("booting a Xen host");
    let status = if options.keep {
        lab::shell_after(&Host { timeout: None, ..host }, &script)?
    } else {
        lab::run(&host, &script)?
    };
    if status == 0 {
        print!("{FAREWELL}");
    }
    Ok(status)
}

/// One of the files of xtask/lab.
fn script(name: &str) -> Result<String> {
    let path = files::workspace()?.join("xtask/lab").join(name);
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}
