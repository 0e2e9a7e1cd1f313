//! The emulated machine: QEMU's command line, and its process.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Stdio};

use anyhow::{Context, Result};

use super::boot::Boot;
use super::options::{Options, Plane};
use super::{accel, logs};
use crate::files;
use crate::run::{Tool, tied_command};

const PROGRAM: &str = "qemu-system-x86_64";

/// Runs what follows the process id of the one who starts it. If that one died before this was
/// tied to its life, somebody else is the parent, and nobody would end it.
const IF_NOT_ORPHANED: &str = r#"[ "$PPID" = "$1" ] || exit 1; shift; exec "$@""#;

/// The files in a host's folder: the root disk, what the run puts on top of it, what the user
/// copies in, and the first file system.
pub(crate) const ROOT: &str = "root.img";
pub(crate) const PAYLOAD: &str = "payload.img";
pub(crate) const FILES: &str = "files.img";
pub(crate) const INITRAMFS: &str = "initramfs.img";

/// The ports between the agent in dom0 and us: virtio-serial ports, each a socket named after it.
pub(crate) const PORTS: [&str; 4] = ["control", "stdout", "stderr", "out"];

/// The socket of the serial console, and that of the shell's terminal.
pub(crate) const CONSOLE: &str = "console";
pub(crate) const TTY: &str = "tty";

/// What a host is started from. Its files lie in `dir` under the names that [`Machine::args`] has.
#[derive(Debug)]
pub(crate) struct Machine<'a> {
    pub(crate) options: &'a Options,
    pub(crate) boot: &'a Boot,
    /// Whether the user copies files in.
    pub(crate) files: bool,
    /// Whether somebody sits at a terminal of dom0.
    pub(crate) shell: bool,
}

/// A running QEMU. It does not outlive this value, nor this process.
#[derive(Debug)]
pub(crate) struct Qemu {
    child: Child,
}

/// What `qemu-system-x86_64` says that it is.
pub(crate) fn version() -> Result<String> {
    let said = Tool::new(PROGRAM).arg("--version").output()?;
    Ok(said.lines().next().unwrap_or_default().to_owned())
}

/// Makes the socket `name` in `dir`, which QEMU connects to when it starts.
pub(crate) fn listen(dir: &Path, name: &str) -> Result<UnixListener> {
    let path = dir.join(name);
    let context = || format!("cannot make the socket {}", path.display());
    // The address of a socket has room for 107 bytes, so by way of the open folder: that is short,
    // however long the folder's own path is.
    let folder = File::open(dir).with_context(context)?;
    UnixListener::bind(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd())).with_context(context)
}

impl Machine<'_> {
    /// Powers the machine on in `dir`. Every socket has to exist.
    pub(crate) fn start(&self, dir: &Path) -> Result<Qemu> {
        for (name, path) in
            [("xen", &self.boot.xen), ("vmlinux", &self.boot.kernel), (ROOT, &self.boot.disk)]
        {
            files::link(path, &dir.join(name))?;
        }
        let child = tied_command("sh", "KILL")
            .args(["-c", IF_NOT_ORPHANED, "start-qemu"])
            .arg(std::process::id().to_string())
            .arg(PROGRAM)
            .args(self.args()?)
            .current_dir(dir)
            // The overlay of what the host writes goes here too.
            .env("TMPDIR", dir)
            // Ctrl-C and Ctrl-Z are for us; we switch the host off.
            .process_group(0)
            .stdout(Stdio::null())
            .stderr(File::create(dir.join(logs::QEMU))?)
            .spawn()
            .context("cannot start QEMU")?;
        Ok(Qemu { child })
    }

    /// QEMU's arguments. Each path in them is a short name in its own folder: a path with a space
    /// or a comma would be cut in -initrd, and equal hosts have equal arguments.
    pub(crate) fn args(&self) -> Result<Vec<String>> {
        let options = self.options;
        let mut args: Vec<String> = Vec::new();
        let mut add = |line: &str| args.extend(line.split(' ').map(str::to_owned));
        add("-nodefaults -no-user-config -display none -no-reboot -machine pc");
        add(&accel::arguments(options)?);
        add(&format!("-m {} -smp {}", options.memory, options.cpus));
        add("-kernel xen");
        add("-chardev socket,id=console,path=console -serial chardev:console");
        add("-device virtio-serial-pci,max_ports=8");
        for port in PORTS {
            add(&format!("-chardev socket,id={port},path={port}"));
            add(&format!("-device virtserialport,chardev={port},name=org.lightvm.{port}"));
        }
        if self.shell {
            add("-chardev socket,id=tty,path=tty");
            add("-device virtconsole,chardev=tty,name=org.lightvm.tty");
        }
        args.extend([
            "-append".to_owned(),
            self.xen_args(),
            "-initrd".to_owned(),
            format!("vmlinux {},{INITRAMFS}", self.dom0_args()),
        ]);
        args.extend(disk("root", ROOT, "snapshot=on"));
        args.extend(disk("payload", PAYLOAD, "read-only=on"));
        if self.files {
            args.extend(disk("files", FILES, "read-only=on"));
        }
        Ok(args)
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
            "dom0_mem={memory}M,max:{memory}M dom0_max_vcpus=1 console=com1 com1=115200,8n1 \
             bootscrub=0 {workaround}{}",
            self.options.xen_args
        )
    }

    fn dom0_args(&self) -> String {
        let more = &self.options.dom0_args;
        // What is a module of Debian's kernel has its options in /etc/modprobe.d.
        let builtin = if self.boot.modules.is_none() { " xen_netback.max_queues=4" } else { "" };
        format!(
            "console=hvc0 quiet systemd.show_status=error systemd.getty_auto=no \
             cryptomgr.notests{builtin} {more}"
        )
    }
}

/// A virtio disk.
fn disk(id: &str, name: &str, mode: &str) -> [String; 4] {
    [
        "-drive".to_owned(),
        format!("if=none,id={id},format=raw,cache=unsafe,{mode},file={name}"),
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

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::listen;

    #[test]
    fn a_socket_is_made_in_a_folder_of_any_length() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a".repeat(100)).join("b".repeat(100));
        std::fs::create_dir_all(&dir).unwrap();
        let listener = listen(&dir, "console").unwrap();
        // As QEMU does: by a short name, in the folder.
        let here = std::fs::File::open(&dir).unwrap();
        let short = format!("/proc/self/fd/{}/console", std::os::fd::AsRawFd::as_raw_fd(&here));
        UnixStream::connect(short).unwrap().write_all(b"x").unwrap();
        let mut heard = [0];
        listener.accept().unwrap().0.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"x");
    }
}
