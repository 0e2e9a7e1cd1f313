//! The lab: a real Xen host in QEMU's software emulation, with our software in its dom0.
//!
//! ```text
//!   image (Debian with Xen) --+
//!   patches::built            +--> boot --+--> Base, for all hosts of a kind
//!   install, guests ------> payload ------+      |
//!                                                v start (room: is there memory and space?)
//!              accel, options --> qemu --> session: console, clock, stream, tty
//!                                                |
//!                                              logs, failure
//! ```
//!
//! [`image`] is the same for every host; [`boot`] adds what the planes do not share; [`payload`] is
//! what is put on top; [`qemu`] is the machine, and [`session`] its life. In dom0 an agent
//! (`xtask/lab/root/usr/lib/lightvm-lab/agent`) does the job and talks to us over virtio ports.

pub(crate) mod accel;
pub(crate) mod boot;
mod clock;
mod console;
pub(crate) mod cpio;
pub(crate) mod failure;
pub(crate) mod image;
pub(crate) mod initramfs;
mod kernel;
pub(crate) mod logs;
mod modules;
pub(crate) mod options;
pub(crate) mod payload;
mod qemu;
pub(crate) mod room;
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
use self::failure::Failure;
use self::options::{Options, Plane};
use self::payload::{Job, Software};
use self::qemu::Machine;
use crate::cache::Key;
use crate::patches::built;
use crate::run::Tool;
use crate::{cache, deps, files};

/// The emulator with its firmware.
const EMULATOR: &[&str] = &["ipxe-qemu", "qemu-system-x86", "seabios"];

/// What `lab run` waits for when nobody says how long.
const SCRIPT_TIMEOUT: u64 = 600;

/// Runs `script` in the dom0 of a fresh host, with our own stdout and stderr, and returns its
/// status.
pub(crate) fn run(options: &Options, script: &str) -> Result<i32> {
    let options = Options { timeout: options.timeout.or(Some(SCRIPT_TIMEOUT)), ..options.clone() };
    Base::of(&options)?.start("run", &options, &Job::Run { script }, &mut stdout())
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

fn open_shell(options: &Options, first: Option<&str>) -> Result<i32> {
    let base = Base::of(options)?;
    let (rows, columns) = tty::size();
    let term = std::env::var("TERM").unwrap_or_else(|_| "dumb".to_owned());
    eprintln!("lab: a shell in dom0; exit powers the host off, and so does Ctrl-]");
    base.start("shell", options, &Job::Shell { first, rows, columns, term }, &mut stdout())
}

/// What the hosts of one kind have in common: what they boot, and our software. It is built once
/// for all of them.
pub(crate) struct Base {
    boot: Boot,
    initramfs: Vec<u8>,
    software: Software,
}

impl Base {
    /// What hosts with these options are made from, built now if it is not there.
    pub(crate) fn of(options: &Options) -> Result<Self> {
        // Before minutes of building.
        accel::arguments(options)?;
        deps::ensure(&needed(options))?;
        let boot = Boot::of(options)?;
        let init = files::workspace()?.join("xtask/lab/initramfs-init");
        let initramfs = initramfs::build(boot.modules.as_deref(), &init)?;
        let software = Software::build(options.bare, &boot)?;
        Ok(Base { boot, initramfs, software })
    }

    /// What two hosts have in common if the same programs behave in the same way on them: what they
    /// boot, our software, and the machine that QEMU makes. Not this program, and no path: two
    /// checkouts of the same tree have the same.
    pub(crate) fn fingerprint(&self, options: &Options) -> Result<Key> {
        let machine = Machine { options, boot: &self.boot, files: true, shell: false };
        let mut key = Key::default();
        self.boot.add_to(&mut key)?;
        key.add("initramfs", &self.initramfs)
            .add("software", self.software.bytes()?)
            .add("xenstored", options.xenstored().to_string())
            .add("emulator", qemu::version()?)
            .add("machine", machine.args()?.join("\n"));
        Ok(key)
    }

    /// Runs `script` in the dom0 of a fresh host, with its stdout going to `output`, and returns
    /// its status. The host's logs are kept under `name`.
    pub(crate) fn run(
        &self,
        name: &str,
        options: &Options,
        script: &str,
        output: &mut dyn Write,
    ) -> Result<i32> {
        self.start(name, options, &Job::Run { script }, output)
    }

    fn start(
        &self,
        name: &str,
        options: &Options,
        job: &Job<'_>,
        output: &mut dyn Write,
    ) -> Result<i32> {
        let (dir, _lock) = run_dir()?;
        let dir = dir.path();
        room::ensure(options.memory, dir)?;
        let mark = format!("end-of-{}", dir.file_name().unwrap_or_default().to_string_lossy());
        fs::write(dir.join(qemu::INITRAMFS), &self.initramfs)
            .context("cannot write the first file system")?;
        self.software.write(dir, options, job, &mark)?;
        if !options.files.is_empty() {
            payload::user_files(dir, options)?;
        }
        let machine = Machine {
            options,
            boot: &self.boot,
            files: !options.files.is_empty(),
            shell: matches!(job, Job::Shell { .. }),
        };
        let outputs = session::Outputs { stdout: output, stderr: &mut stderr() };
        let ended = session::run(&machine, dir, &mark, outputs);
        let logs = logs::keep(name, dir);
        let status = match (ended, logs) {
            (Ok(status), logs) => {
                logs?;
                status
            }
            (Err(error), Ok(logs)) => {
                return Err(match error.downcast::<Failure>() {
                    Ok(failure) if failure.is_interrupt() => failure.into(),
                    Ok(failure) => failure.with_logs(logs).into(),
                    Err(error) => error,
                });
            }
            (Err(error), Err(_)) => return Err(error),
        };
        match copy_out(options, &dir.join(session::OUT), dir) {
            // The script's own failure is what the user has to hear of.
            Err(error) if status != 0 => eprintln!("lab: {error:#}"),
            copied => copied?,
        }
        Ok(status)
    }
}

/// A folder for one host's sockets and disks, and the lock that shows that it is in use. What
/// killed runs left is removed.
///
/// It is on the file system of the cache, where there is room for gigabytes: /tmp is in memory on
/// many machines, and what a host writes comes here.
fn run_dir() -> Result<(TempDir, File)> {
    const PREFIX: &str = "lightvm-lab-";
    let root = cache::root()?.join("hosts");
    fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
    let named = |path: &Path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX))
    };
    for path in files::sorted_dir(&root)?.iter().filter(|path| named(path)) {
        // A folder without the file is one that is being made just now.
        if File::open(path.join("lock")).is_ok_and(|lock| lock.try_lock().is_ok()) {
            let _ = fs::remove_dir_all(path);
        }
    }
    let dir = tempfile::Builder::new().prefix(PREFIX).tempdir_in(&root)?;
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
