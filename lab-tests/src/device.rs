//! Devices by hand: their nodes as a toolstack writes them, so that a test can make any device,
//! right or wrong, for a guest that exists.

use std::fs;
use std::path::Path;

use h2::store::Store;
use serde_json::{Value, json};

use crate::command::run;
use crate::{noxs, wait, xenstore};

/// xvda; the disks behind it are 16 apart.
pub const XVDA: u32 = 51712;

/// The disk xvda of a configuration, over an image (`file`) or a block device (`phy`).
pub fn disk(target: impl AsRef<Path>, kind: &str, access: &str) -> Value {
    json!({"target": target.as_ref(), "type": kind, "vdev": "xvda", "access": access})
}

/// A device of a guest, taken away when dropped.
#[derive(Debug)]
pub struct Device {
    class: &'static str,
    domain: u16,
    number: u32,
}

impl Device {
    /// A disk.
    #[track_caller]
    pub fn vbd(domain: u16, number: u32, params: &str, mode: &str) -> Self {
        let device = Self { class: "vbd", domain, number };
        device.write(
            &[
                ("params", params),
                ("mode", mode),
                ("type", "phy"),
                ("script", "block"),
                ("device-type", "disk"),
            ],
            &[("virtual-device", &number.to_string()), ("device-type", "disk")],
        );
        device
    }

    /// An interface.
    #[track_caller]
    pub fn vif(domain: u16, number: u32, bridge: &str, more: &[(&str, &str)]) -> Self {
        let device = Self { class: "vif", domain, number };
        let handle = number.to_string();
        let mac = format!("00:16:3e:00:{:02x}:{number:02x}", domain % 256);
        // netback refuses a device without a script.
        let script = ("script", "/etc/xen/scripts/vif-bridge");
        let backend = [
            ("bridge", bridge),
            ("handle", &handle),
            ("mac", &mac),
            ("hotplug-status", ""),
            script,
        ];
        device.write(&[&backend[..], more].concat(), &[("handle", &handle), ("mac", &mac)]);
        device
    }

    #[track_caller]
    fn write(&self, backend: &[(&str, &str)], frontend: &[(&str, &str)]) {
        let (back, front) = (self.backend(), self.frontend());
        let id = self.domain.to_string();
        let mut words = vec!["xenstore-write".to_owned()];
        let mut add = |path: &str, nodes: &[(&str, &str)]| {
            for (node, value) in nodes {
                words.extend([format!("{path}/{node}"), (*value).to_owned()]);
            }
        };
        add(&front, &[("backend", &back), ("backend-id", "0")]);
        add(&front, frontend);
        add(
            &back,
            &[("frontend", &front), ("frontend-id", &id), ("online", "1"), ("toolstack", "chaos")],
        );
        add(&back, backend);
        add(&front, &[("state", "1")]);
        add(&back, &[("state", "1")]);
        run(&words.iter().map(String::as_str).collect::<Vec<_>>()).ok();
    }

    /// Its backend directory.
    pub fn backend(&self) -> String {
        format!("/local/domain/0/backend/{}/{}/{}", self.class, self.domain, self.number)
    }

    fn frontend(&self) -> String {
        format!("/local/domain/{}/device/{}/{}", self.domain, self.class, self.number)
    }

    /// The kernel's name for it.
    pub fn sysname(&self) -> String {
        format!("{}-{}-{}", self.class, self.domain, self.number)
    }

    /// A node of its backend directory.
    pub fn node(&self, name: &str) -> Option<String> {
        xenstore::read(&format!("{}/{name}", self.backend()))
    }

    /// Waits until it is connected.
    #[track_caller]
    pub fn connected(&self) {
        assert_eq!(self.answer(), Ok(()), "{}", self.sysname());
    }

    /// Waits until it has failed, and returns why.
    #[track_caller]
    pub fn refused(&self) -> String {
        self.answer().expect_err("it works")
    }

    #[track_caller]
    fn answer(&self) -> Result<(), String> {
        let what = format!("nobody has answered for {}", self.sysname());
        let node = format!("{}/hotplug-status", self.backend());
        let store = Store::open().unwrap();
        let answered = || store.read(&node).unwrap().filter(|status| !status.is_empty());
        wait::wait_until(&what, answered);
        let status = self.node("hotplug-status").unwrap();
        if status == "connected" {
            Ok(())
        } else {
            Err(self.node("hotplug-error").unwrap_or_default())
        }
    }

    /// Takes it away and waits until the kernel has.
    pub fn remove(&self) {
        run(&["xenstore-rm", &self.backend()]);
        run(&["xenstore-rm", &self.frontend()]);
        let path = format!("/sys/bus/xen-backend/devices/{}", self.sysname());
        wait::until("the kernel keeps the device", || !Path::new(&path).exists());
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Without another panic, and without waiting.
            let _ = std::process::Command::new("xenstore-rm")
                .args([self.backend(), self.frontend()])
                .status();
        } else {
            self.remove();
        }
    }
}

/// A key that a guest has published about its end of a device, on whichever plane it is.
#[track_caller]
pub fn frontend_key(domain: u16, class: &str, id: u32, key: &str) -> Option<String> {
    if noxs::serves(domain) {
        return noxs::key(domain, class, id, &format!("frontend {key}"));
    }
    xenstore::read(&format!("/local/domain/{domain}/device/{class}/{id}/{key}"))
}

/// The states of the two ends of a device, the backend's first, on whichever plane the guest is:
/// two numbers of io/xenbus.h.
#[track_caller]
pub fn states(domain: u16, class: &str, id: u32) -> String {
    if noxs::serves(domain) {
        let device = format!("{domain} {class} {id}: ");
        return noxs::list()
            .iter()
            .find_map(|line| line.strip_prefix(&device))
            .unwrap_or_default()
            .to_owned();
    }
    let backend = xenstore::read(&format!("/local/domain/0/backend/{class}/{domain}/{id}/state"));
    let frontend = frontend_key(domain, class, id, "state");
    format!("{} {}", backend.unwrap_or_default(), frontend.unwrap_or_default())
}

/// Both ends are connected.
pub const CONNECTED: &str = "4 4";

/// The loop devices on a file: their numbers.
pub fn loops_on(file: &str) -> Vec<u32> {
    let entries = fs::read_dir("/sys/block").unwrap().filter_map(Result::ok);
    let on_file = entries.filter(|entry| {
        fs::read_to_string(entry.path().join("loop/backing_file"))
            .is_ok_and(|path| path.trim_end() == file)
    });
    on_file
        .filter_map(|entry| entry.file_name().to_str()?.strip_prefix("loop")?.parse().ok())
        .collect()
}

/// The interfaces in a bridge.
pub fn ports_of(bridge: &str) -> Vec<String> {
    let entries = fs::read_dir(format!("/sys/class/net/{bridge}/brif"))
        .into_iter()
        .flatten()
        .filter_map(Result::ok);
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
