//! The fake's NoXS: device pages, which go with their domains, and the kernel's devices, which do
//! not. And what drivers, hotplug agent and guests do with them while a toolstack waits.

use std::collections::BTreeMap;

use h2::DomId;
use h2::noxs_backend::{Keys, Name};
use h2::seam::NoxsDevice;
use serde::{Deserialize, Serialize};

use crate::backends::{Backends, Frontends};
use crate::host::Host;

/// One of the kernel's devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Device {
    pub(crate) guest: DomId,
    pub(crate) class: String,
    pub(crate) id: u32,
    pub(crate) keys: BTreeMap<String, String>,
    pub(crate) private: BTreeMap<String, String>,
    pub(crate) theirs: BTreeMap<String, String>,
    pub(crate) backend: u32,
    pub(crate) frontend: u32,
    pub(crate) grant: u32,
    pub(crate) port: u32,
}

/// A slot of a device page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Slot {
    pub(crate) class: String,
    pub(crate) id: u32,
    pub(crate) backend: DomId,
    pub(crate) grant: u32,
    pub(crate) port: u32,
}

/// What NoXS keeps on a host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Noxs {
    pub(crate) kernel: bool,
    pub(crate) hypervisor: bool,
    pub(crate) devices: Vec<Device>,
    pub(crate) pages: BTreeMap<DomId, Vec<Slot>>,
    next: u32,
}

fn is(device: &Device, name: Name) -> bool {
    device.guest == name.domain && device.class == name.class.as_str() && device.id == name.id
}

fn map(keys: &[u8]) -> Result<BTreeMap<String, String>, i32> {
    let keys = Keys::decode(keys).map_err(|_| libc::EINVAL)?;
    Ok(keys.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
}

impl Noxs {
    pub(crate) fn device(&mut self, name: Name) -> Result<&mut Device, i32> {
        self.devices.iter_mut().find(|device| is(device, name)).ok_or(libc::ENOENT)
    }

    pub(crate) fn create(
        &mut self,
        name: Name,
        keys: &[u8],
        private: &[u8],
    ) -> Result<(u32, u32), i32> {
        if self.device(name).is_ok() {
            return Err(libc::EEXIST);
        }
        let class = name.class.as_str().to_owned();
        if !["vif", "vbd", "sysctl"].contains(&class.as_str()) {
            return Err(libc::ENODEV);
        }
        self.next += 1;
        let (grant, port) = (8 + self.next, 100 + self.next);
        self.devices.push(Device {
            guest: name.domain,
            backend: if class == "sysctl" { 2 } else { 1 },
            class,
            id: name.id,
            keys: map(keys)?,
            private: map(private)?,
            theirs: BTreeMap::new(),
            frontend: 0,
            grant,
            port,
        });
        Ok((grant, port))
    }

    pub(crate) fn remove(&mut self, name: Name) -> Result<(), i32> {
        self.device(name)?;
        self.devices.retain(|device| !is(device, name));
        Ok(())
    }

    pub(crate) fn change_keys(
        &mut self,
        name: Name,
        keys: &[u8],
        private: bool,
        remove: bool,
    ) -> Result<(), i32> {
        let keys = map(keys)?;
        let device = self.device(name)?;
        let to = if private { &mut device.private } else { &mut device.keys };
        for (key, value) in keys {
            if remove {
                to.remove(&key);
            } else {
                to.insert(key, value);
            }
        }
        Ok(())
    }
}

impl Host {
    pub(crate) fn noxs_add(&mut self, guest: DomId, device: &NoxsDevice) -> Result<(), i32> {
        if !self.noxs.hypervisor {
            return Err(libc::ENOSYS);
        }
        self.guest(guest)?;
        let page = self.noxs.pages.entry(guest).or_default();
        let class = device.class.as_str().to_owned();
        if page.iter().any(|slot| slot.class == class && slot.id == device.id) {
            return Err(libc::EEXIST);
        }
        let (grant, port) = (device.grant.get(), device.port.get());
        page.push(Slot { class, id: device.id, backend: device.backend, grant, port });
        Ok(())
    }

    pub(crate) fn noxs_remove(
        &mut self,
        guest: DomId,
        class: &str,
        id: u32,
        backend: DomId,
    ) -> Result<(), i32> {
        self.guest(guest)?;
        let page = self.noxs.pages.entry(guest).or_default();
        let before = page.len();
        page.retain(|slot| slot.class != class || slot.id != id || slot.backend != backend);
        if page.len() == before { Err(libc::ENOENT) } else { Ok(()) }
    }

    /// Whether the guest lets go of a device that it is asked for.
    pub(crate) fn noxs_lets_go(&mut self, name: Name) -> Result<bool, i32> {
        let runs = self.domains.get(&name.domain).is_some_and(|guest| guest.runs());
        let lets_go = runs && self.frontends == Frontends::Connect;
        Ok(lets_go || matches!(self.noxs.device(name)?.frontend, 0 | 6))
    }
}

/// Lets all devices take one step; whether any did.
pub(crate) fn react(host: &mut Host) -> bool {
    let mut changed = false;
    let (backends, frontends) = (host.backends.clone(), host.frontends);
    for device in &mut host.noxs.devices {
        let runs = host.domains.get(&device.guest).is_some_and(|guest| guest.runs());
        let before = device.clone();
        let mut says =
            |key: &str, value: &str| device.private.insert(key.to_owned(), value.to_owned());
        match (device.backend, &backends) {
            _ if device.class == "sysctl" && !runs => {}
            _ if device.class == "sysctl" => (device.backend, device.frontend) = (4, 4),
            (_, Backends::Silent) => {}
            (1, Backends::Close) => {
                says("error", "no such thing");
                device.backend = 5;
            }
            (1, which) => {
                match which {
                    Backends::Refuse(words) => {
                        says("hotplug-error", words);
                        says("hotplug-status", "error");
                    }
                    Backends::NoAgent => {}
                    _ => drop(says("hotplug-status", "connected")),
                }
                device.backend = 2;
            }
            (2, _) if runs && frontends != Frontends::Absent => {
                (device.backend, device.frontend) = (4, 4)
            }
            _ => {}
        }
        changed |= *device != before;
    }
    changed
}

/// A request that a guest finds in its sysctl device: how it is to end (`SHUTDOWN_*`).
pub(crate) fn request(host: &mut Host, guest: DomId) -> Option<u8> {
    let device = host
        .noxs
        .devices
        .iter()
        .find(|device| device.guest == guest && device.class == "sysctl")?;
    let count = device.keys.get("shutdown-request").filter(|count| *count != "0")?;
    if device.theirs.get("shutdown-ack") == Some(count) {
        return None;
    }
    match device.keys.get("shutdown")?.as_str() {
        "reboot" => Some(1),
        _ => Some(0),
    }
}

/// The guest takes the request.
pub(crate) fn take(host: &mut Host, guest: DomId) {
    let device = host
        .noxs
        .devices
        .iter_mut()
        .find(|device| device.guest == guest && device.class == "sysctl");
    if let Some(device) = device
        && let Some(count) = device.keys.get("shutdown-request")
    {
        device.theirs.insert("shutdown-ack".to_owned(), count.clone());
    }
}

/// The guest says that it does not do such things.
pub(crate) fn refuse(host: &mut Host, guest: DomId) {
    let device = host
        .noxs
        .devices
        .iter_mut()
        .find(|device| device.guest == guest && device.class == "sysctl");
    if let Some(device) = device
        && let Some(count) = device.keys.get("shutdown-request")
    {
        device.theirs.insert("shutdown-refused".to_owned(), count.clone());
    }
}
