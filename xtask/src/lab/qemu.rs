//! The emulated machine: QEMU's command line, and its process.

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use anyhow::{Context, Result};

use super::boot::Boot;
use super::options::{Options, Plane};
use crate::files;
use crate::run::tied_command;

/// Without SMAP, since a PV dom0 dies of it in QEMU 7.2; without RDTSCP, which breaks PVH guests
/// there; without XSAVE, and so without AVX, since registers are known to leak between domains in
/// its emulation; the others are merely dear.
const CPU: &str = "max,-smap,-pku,-la57,-rdtscp,-xsave";

/// The ports between the agent in dom0 and us: virtio-serial ports, each a socket named after it.
pub(crate) const PORTS: [&str; 4] = ["control", "stdout", "stderr", "out"];

/// The socket of the serial console, and that of the shell's terminal.
pub(crate) const CONSOLE: &str = "console";
pub(crate) const TTY: &str = "tty";

/// What a host is started from.
#[derive(Debug)]
pub(crate) struct Machine<'a> {
    pub(crate) options: &'a Options,
    pub(crate) boot: &'a Boot,
    /// Where the sockets are, and where QEMU runs.
    pub(crate) dir: &'a Path,
    pub(crate) initramfs: PathBuf,
    pub(crate) payload: PathBuf,
    pub(crate) files: Option<PathBuf>,
    /// Whether somebody sits at a terminal of dom0.
    pub(crate) shell: bool,
}

/// A running QEMU. It does not outlive this value, nor this process.
#[derive(Debug)]
pub(crate) struct Qemu {
    child: Child,
}

impl Machine<'_> {
    /// Makes the socket `name`, which QEMU connects to when it starts.
    pub(crate) fn listen(&self, name: &str) -> Result<UnixListener> {
        let path = self.dir.join(name);
        UnixListener::bind(&path)
            .with_context(|| format!("cannot make the socket {}", path.display()))
    }

    /// Powers the machine on. Every socket has to exist.
    pub(crate) fn start(&self) -> Result<Qemu> {
        // Short names in QEMU's own folder: a path with a space or a comma would be cut in -initrd.
        for (name, path) in [
            ("xen", &self.boot.xen),
            ("vmlinux", &self.boot.kernel),
            ("initramfs", &self.initramfs),
        ] {
            files::link(path, &self.dir.join(name))?;
        }
        let log = self.dir.join("qemu.log");
        let child = tied_command("qemu-system-x86_64", "KILL")
            .args(self.args())
            .current_dir(self.dir)
            // The overlay of what the host writes goes here too.
            .env("TMPDIR", self.dir)
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log)?)
            .spawn()
            .context("cannot start QEMU")?;
        Ok(Qemu { child })
    }

    fn args(&self) -> Vec<String> {
        let options = self.options;
        let mut args: Vec<String> = Vec::new();
        let mut add = |line: &str| args.extend(line.split(' ').map(str::to_owned));
        add("-nodefaults -no-user-config -display none -no-reboot -machine pc");
        if options.icount {
            add("-accel tcg,thread=single -icount shift=0,sleep=off -rtc clock=vm");
        } else {
            add("-accel tcg,thread=multi");
        }
        add(&format!("-cpu {CPU} -m {} -smp {}", options.memory, options.cpus));
        add("-kernel xen");
        add("-chardev socket,id=console,path=console -serial chardev:console");
        add("-device virtio-serial-pci,max_ports=8");
        for port in PORTS {
            add(&format!(
                "-chardev socket,id={port},path={port} -device virtserialport,chardev={port},name=org.lightvm.{port}"
            ));
        }
        if self.shell {
            add(
                "-chardev socket,id=tty,path=tty -device virtconsole,chardev=tty,name=org.lightvm.tty",
            );
        }
        args.extend([
            "-append".to_owned(),
            self.xen_args(),
            "-initrd".to_owned(),
            format!("vmlinux {},initramfs", self.dom0_args()),
        ]);
        args.extend(disk("root", &self.boot.disk, "snapshot=on"));
        args.extend(disk("payload", &self.payload, "read-only=on"));
        if let Some(files) = &self.files {
            args.extend(disk("files", files, "read-only=on"));
        }
        args
    }

    fn xen_args(&self) -> String {
        let memory = self.options.dom0_memory();
        // bootscrub=0: a host that is still scrubbing its memory takes processor time from dom0,
        // and guests' memory comes at changing prices.
        // dom0_max_vcpus=1: QEMU leaves its processor loop, under its one big lock, for each PAUSE
        // of a guest. Two busy virtual processors of dom0 spin for Xen's scheduler lock
        // most of the time, and cost twice the processor time.
        // sched_credit2_migrate_resist=0: with two processors Debian's hypervisor may leave dom0
        // waiting beside an idle one. Ours is patched.
        let workaround = match self.options.plane {
            Plane::Xenstore => "sched_credit2_migrate_resist=0 ",
            Plane::Noxs => "",
        };
        format!(
            "dom0_mem={memory}M,max:{memory}M dom0_max_vcpus=1 console=com1 com1=115200,8n1 bootscrub=0 {workaround}{}",
            self.options.xen_args
        )
    }

    fn dom0_args(&self) -> String {
        let more = &self.options.dom0_args;
        // What is a module of Debian's kernel has its options in /etc/modprobe.d.
        let builtin = if self.boot.modules.is_none() { " xen_netback.max_queues=4" } else { "" };
        format!(
            "console=hvc0 quiet systemd.show_status=error systemd.getty_auto=no cryptomgr.notests{builtin} {more}"
        )
    }
}

/// A virtio disk. A comma in a path has to be doubled for QEMU.
fn disk(id: &str, path: &Path, mode: &str) -> [String; 4] {
    let path = path.display().to_string().replace(',', ",,");
    [
        "-drive".to_owned(),
        format!("if=none,id={id},format=raw,cache=unsafe,{mode},file={path}"),
        "-device".to_owned(),
        format!("virtio-blk-pci,drive={id}"),
    ]
}

impl Qemu {
    /// Whether the machine is off: powered off by the host, or QEMU ended by itself.
    pub(crate) fn ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait().context("cannot wait for QEMU")?.is_some())
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // Pulling the plug is right: the disk is a snapshot, and what counts has been received.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
