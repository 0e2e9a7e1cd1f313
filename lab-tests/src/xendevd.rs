//! `xendevd` as the tests run it: their own daemon, in place of the host's, with what the kernel
//! says about it.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::unistd::Pid;
use serde_json::Value;

use crate::command::{Output, run};
use crate::device::{loops_on, ports_of};
use crate::{Lab, wait, xenstore, xl};

/// Where it listens.
pub const SOCKET: &str = "/run/lightvm/xendevd.sock";

/// Xen's folder of hotplug scripts, and those that the hook stands in for.
const SCRIPTS: &str = "/etc/xen/scripts";
const STOCK: &[&str] = &["block", "vif-bridge"];

/// Puts the hook in the place of Xen's scripts, in the way that docs/xendevd.md tells. Done once,
/// it stays.
#[track_caller]
pub fn switch_host() {
    let hook = format!("{SCRIPTS}/xendevd-hook");
    if !Path::new(&hook).exists() {
        fs::write(&hook, include_str!("../../xendevd/xendevd-hook")).unwrap();
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    }
    for name in STOCK {
        let path = format!("{SCRIPTS}/{name}");
        if fs::read_link(&path).is_err() {
            let aside = format!("{path}.xen");
            run(&["dpkg-divert", "--local", "--rename", "--divert", &aside, "--add", &path]).ok();
            symlink("xendevd-hook", &path).unwrap();
        }
    }
}

/// A daemon of the test's own. The host's is stopped while it lives.
#[derive(Debug)]
pub struct Xendevd {
    child: Option<Child>,
    host_had_one: bool,
    log: String,
    config: String,
}

impl Xendevd {
    /// Stops the host's daemon, and starts one that logs to `folder`, with this configuration.
    #[track_caller]
    pub fn start(folder: &Path, config: &str) -> Self {
        switch_host();
        let host_had_one = run(&["systemctl", "is-active", "--quiet", "xendevd"]).status.success();
        if host_had_one {
            run(&["systemctl", "stop", "xendevd"]).ok();
        }
        let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        let mut daemon = Self {
            child: None,
            host_had_one,
            log: path("xendevd.log"),
            config: path("xendevd.json"),
        };
        fs::write(&daemon.config, config).unwrap();
        daemon.restart();
        daemon
    }

    /// Starts it again after [`kill`](Self::kill), and waits until it answers.
    #[track_caller]
    pub fn restart(&mut self) {
        let log = fs::OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let child = Command::new("xendevd")
            .args(["--foreground", "--log-level", "debug", "--config", &self.config])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run xendevd: {error}"));
        self.child = Some(child);
        wait::until("xendevd does not answer", || run(&["xendevd", "status"]).status.success());
    }

    /// Ends it as nobody expects (SIGKILL).
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Its process.
    #[track_caller]
    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.as_ref().unwrap().id()).unwrap())
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Xendevd {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
        if self.host_had_one {
            let _ = run(&["systemctl", "start", "xendevd"]);
        }
    }
}

/// Waits until the daemon has dealt with everything.
#[track_caller]
pub fn settle() {
    run(&["xendevd", "settle"]).ok();
}

/// What it says that it is at (docs/xendevd-protocol.md).
#[track_caller]
pub fn status() -> Value {
    serde_json::from_str(&run(&["xendevd", "status", "--format", "json"]).ok()).unwrap()
}

/// What it says about a device, by the kernel's name for it.
#[track_caller]
pub fn device(name: &str) -> Option<Value> {
    status()["devices"].as_array().unwrap().iter().find(|device| device["device"] == name).cloned()
}

/// Has it look at everything anew.
#[track_caller]
pub fn reload() -> Output {
    run(&["xendevd", "reload"])
}

/// A guest of xl's without devices, or with those of `more`. Its domain.
#[track_caller]
pub fn guest(lab: &Lab, name: &str, more: &str) -> u16 {
    let path = lab.xl_config("noop-pv", name, more);
    xl::xl(&["create", "-p", &path]).ok();
    xl::find(&lab.name(name)).expect("it was created").id
}

/// An image for a disk, its path as text, which is what command lines and Xenstore take.
pub fn image(lab: &Lab, name: &str) -> String {
    lab.image(name, 1).to_str().unwrap().to_owned()
}

/// Destroys a guest of xl's.
#[track_caller]
pub fn destroy(domain: u16) {
    xl::xl(&["destroy", &domain.to_string()]);
    let path = format!("/local/domain/{domain}");
    wait::until("the guest is still there", || xenstore::read(&path).is_none());
}

/// Waits until nothing of this guest's is left in the control domain.
#[track_caller]
pub fn nothing_left(domain: u16, files: &[&str]) {
    wait::until("a loop device is left", || files.iter().all(|file| loops_on(file).is_empty()));
    let vif = format!("vif{domain}.");
    wait::until("a port is left", || !ports_of("xenbr0").iter().any(|port| port.starts_with(&vif)));
    settle();
    // Fails, and says nothing, where there is not a single backend.
    let nodes = run(&["xenstore-ls", "-fp", "/local/domain/0/backend"]).stdout;
    let places = [format!("/vbd/{domain}/"), format!("/vif/{domain}/")];
    let mine = nodes.lines().filter(|line| places.iter().any(|place| line.contains(place)));
    assert_eq!(mine.collect::<Vec<_>>(), Vec::<&str>::new());
    let now = status();
    let devices =
        now["devices"].as_array().unwrap().iter().filter(|device| device["domain"] == domain);
    assert_eq!(devices.count(), 0, "{now}");
}

/// A client that speaks the protocol by hand.
#[derive(Debug)]
pub struct RawClient(UnixStream);

impl RawClient {
    /// Connects.
    #[track_caller]
    pub fn connect() -> Self {
        let stream = UnixStream::connect(SOCKET).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self(stream)
    }

    /// Sends bytes as they are. Whether they were taken.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).is_ok()
    }

    /// Sends a frame.
    pub fn ask(&mut self, text: &str) -> bool {
        let length = u32::try_from(text.len()).unwrap().to_be_bytes();
        self.send(&[&length, text.as_bytes()].concat())
    }

    /// What the daemon says until it hangs up, or `None` if it does not within a minute.
    pub fn until_end(&mut self) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes).ok().map(|_| bytes)
    }

    /// The next frame.
    #[track_caller]
    pub fn answer(&mut self) -> Value {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).unwrap();
        let mut text = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
        self.0.read_exact(&mut text).unwrap();
        serde_json::from_slice(&text).unwrap()
    }
}
