//! The lab: a real Xen host in QEMU's software emulation, with our software in its dom0.
//!
//! [`image`] is Debian with Xen, the same for every host; [`boot`] adds what the planes do not
//! share; [`payload`] is what one run puts on top; [`qemu`] is the machine, and [`session`] its
//! life. In dom0 an agent (`xtask/lab/root/usr/lib/lightvm-lab/agent`) does the job and talks to us
//! over virtio ports.

pub(crate) mod boot;
mod console;
pub(crate) mod cpio;
pub(crate) mod failure;
pub(crate) mod image;
pub(crate) mod initramfs;
mod kernel;
mod modules;
pub(crate) mod options;
pub(crate) mod payload;
mod qemu;
mod session;
mod stream;
mod tty;
mod witness;

use std::fs::{self, File};
use std::io::{Write, stderr, stdout};
use std::path::Path;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use self::boot::Boot;
use self::options::{Options, Plane};
use self::payload::Job;
use crate::cache::Key;
use crate::patches::built;
use crate::run::Tool;
use crate::{deps, files};

/// The emulator with its firmware.
const EMULATOR: &[&str] = &["ipxe-qemu", "qemu-system-x86", "seabios"];

/// What `lab run` waits for when nobody says how long.
const SCRIPT_TIMEOUT: u64 = 600;

/// Runs `script` in the dom0 of a fresh host, with our own stdout and stderr, and returns its
/// status.
pub(crate) fn run(options: &Options, script: &str) -> Result<i32> {
    run_to(options, script, &mut stdout())
}

/// Like [`run`], with the script's stdout going to `output`.
pub(crate) fn run_to(options: &Options, script: &str, output: &mut dyn Write) -> Result<i32> {
    let options = Options { timeout: options.timeout.or(Some(SCRIPT_TIMEOUT)), ..options.clone() };
    start(&options, &Job::Run { script }, output)
}

/// Gives this terminal to a root shell in the dom0 of a fresh host, and returns the shell's status.
pub(crate) fn shell(options: &Options) -> Result<i32> {
    open_shell(options, None)
}

/// Like [`shell`], after running `script` on the same terminal.
pub(crate) fn shell_after(options: &Options, script: &str) -> Result<i32> {
    open_shell(options, Some(script))
}

/// The Debian packages that such a host takes; each part asks for its own again when it is built.
pub(crate) fn needed(host: &Options) -> Vec<&'static str> {
    let patched = match host.plane {
        Plane::Xenstore => Vec::new(),
        Plane::Noxs => built::needed(),
    };
    [EMULATOR, initramfs::NEEDED, &image::needed(), &patched].concat()
}

/// What two hosts have in common if the same programs behave in the same way on them: what they
/// boot, our software, and how the machine is set up.
pub(crate) fn fingerprint(host: &Options) -> Result<Key> {
    let boot = Boot::of(host)?;
    let this = std::env::current_exe().context("cannot find this program")?;
    let mut key = Key::default();
    boot.add_to(&mut key)?;
    key.add("software", payload::of_every_job(&boot)?).add("xtask", fs::read(&this)?);
    Ok(key)
}

fn open_shell(options: &Options, first: Option<&str>) -> Result<i32> {
    let (rows, columns) = tty::size();
    let term = std::env::var("TERM").unwrap_or_else(|_| "dumb".to_owned());
    eprintln!("lab: a shell in dom0; exit powers the host off, and so does Ctrl-]");
    start(options, &Job::Shell { first, rows, columns, term }, &mut stdout())
}

fn start(options: &Options, job: &Job<'_>, output: &mut dyn Write) -> Result<i32> {
    deps::ensure(&needed(options))?;
    let boot = Boot::of(options)?;
    let (dir, _lock) = run_dir()?;
    let mark = format!("end-of-{}", dir.path().file_name().unwrap_or_default().to_string_lossy());
    let init = files::workspace()?.join("xtask/lab/initramfs-init");
    let initramfs = dir.path().join("initramfs.img");
    fs::write(&initramfs, initramfs::build(boot.modules.as_deref(), &init)?)?;
    let machine = qemu::Machine {
        options,
        boot: &boot,
        dir: dir.path(),
        initramfs,
        payload: payload::build(dir.path(), options, &boot, job, &mark)?,
        files: payload::user_files(dir.path(), options)?,
        shell: matches!(job, Job::Shell { .. }),
    };
    let out = dir.path().join("out.tar");
    let outputs = session::Outputs { stdout: output, stderr: &mut stderr(), out: out.clone() };
    let status = session::run(&machine, &mark, outputs)?;
    match copy_out(options, &out, dir.path()) {
        // The script's own failure is what the user has to hear of.
        Err(error) if status != 0 => eprintln!("lab: {error:#}"),
        copied => copied?,
    }
    Ok(status)
}

/// A folder for one host's sockets and disks, and the lock that shows that it is in use. What
/// killed runs left is removed.
fn run_dir() -> Result<(TempDir, File)> {
    const PREFIX: &str = "lightvm-lab-";
    let named = |path: &Path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX))
    };
    for path in files::sorted_dir(&std::env::temp_dir())?.iter().filter(|path| named(path)) {
        // A folder without the file is one that is being made just now, or somebody else's.
        if File::open(path.join("lock")).is_ok_and(|lock| lock.try_lock().is_ok()) {
            let _ = fs::remove_dir_all(path);
        }
    }
    let dir = tempfile::Builder::new().prefix(PREFIX).tempdir()?;
    // Under its name only once it is locked: another run may be looking.
    let unlocked = dir.path().join("unlocked");
    let lock = File::create(&unlocked)?;
    lock.lock()?;
    fs::rename(unlocked, dir.path().join("lock"))?;
    Ok((dir, lock))
}

/// Puts what came out of dom0 in its places.
fn copy_out(options: &Options, tar: &Path, dir: &Path) -> Result<()> {
    if options.outs.is_empty() {
        return Ok(());
    }
    let root = dir.join("out.d");
    fs::create_dir(&root)?;
    Tool::new("tar")
        .args(["--extract", "--no-same-owner", "--file"])
        .arg(tar)
        .arg("--directory")
        .arg(&root)
        .log_on_failure()?;
    let mut missing = Vec::new();
    for out in &options.outs {
        let found = root.join(out.dom0.strip_prefix("/")?);
        if fs::symlink_metadata(&found).is_ok() {
            files::copy_tree(&found, &out.host)
                .with_context(|| format!("cannot copy out {}", out.dom0.display()))?;
        } else {
            missing.push(out.dom0.display().to_string());
        }
    }
    if !missing.is_empty() {
        bail!("not in dom0, so not copied out: {}", missing.join(", "));
    }
    Ok(())
}
