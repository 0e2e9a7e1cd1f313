//! The fake's NoXS: device pages, which go with their domains, and the kernel's devices, which do
//! not. And what drivers, hotplug agent and guests do with them while a toolstack waits.

use std::collections::BTreeMap;
use std::time::Duration;

use h2::DomId;
use h2::noxs_backend::{Change, Class, Keys, Name};
use h2::seam::NoxsDevice;
use serde::{Deserialize, Serialize};

use crate::backends::{Backends, Frontends};
use crate::host::Host;
use crate::noxs_files::{self, Told};

/// Devices that a page has room for (docs/noxs-abi.md, part 1).
const SLOTS: usize = 126;
/// Bytes of a backend's keys in the control page, and of those of the host alone.
const PAGE_KEYS: usize = 1464;
const PRIVATE_KEYS: usize = 4096;

/// xenbus's states.
const CONNECTED: u32 = 4;
const CLOSING: u32 = 5;
const CLOSED: u32 = 6;

/// The keys of one end.
pub(crate) type Strings = BTreeMap<String, String>;

/// One of the kernel's devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Device {
    pub(crate) guest: DomId,
    pub(crate) class: String,
    pub(crate) id: u32,
    pub(crate) keys: Strings,
    pub(crate) private: Strings,
    pub(crate) theirs: Strings,
    pub(crate) backend: u32,
    pub(crate) frontend: u32,
    pub(crate) grant: u32,
    pub(crate) port: u32,
}

impl Device {
    pub(crate) fn name(&self) -> Result<Name, i32> {
        let class = Class::new(&self.class).map_err(|_| libc::EINVAL)?;
        Ok(Name::new(self.guest, class, self.id))
    }

    fn is(&self, name: Name) -> bool {
        self.guest == name.domain && self.class == name.class.as_str() && self.id == name.id
    }
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

/// A device page: the slots that were ever used, each with its count of changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Page {
    pub(crate) generation: u32,
    pub(crate) slots: Vec<(u32, Option<Slot>)>,
}

impl Page {
    /// The devices in it.
    pub(crate) fn devices(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter_map(|(_, slot)| slot.as_ref())
    }
}

/// What NoXS keeps on a host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Noxs {
    pub(crate) kernel: bool,
    pub(crate) hypervisor: bool,
    pub(crate) devices: Vec<Device>,
    pub(crate) pages: BTreeMap<DomId, Page>,
    next: u32,
    /// What the kernel has to tell.
    #[serde(skip)]
    pub(crate) told: Vec<Told>,
}

fn map(keys: &[u8]) -> Result<Strings, i32> {
    let keys = Keys::decode(keys).map_err(|_| libc::EINVAL)?;
    Ok(keys.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
}

/// Whether keys fit into a region.
fn fit(keys: &Strings, room: usize) -> Result<(), i32> {
    let bytes: usize = keys.iter().map(|(key, value)| 4 + key.len() + value.len()).sum();
    if bytes <= room { Ok(()) } else { Err(libc::ENOSPC) }
}

impl Noxs {
    pub(crate) fn device(&mut self, name: Name) -> Result<&mut Device, i32> {
        self.devices.iter_mut().find(|device| device.is(name)).ok_or(libc::ENOENT)
    }

    fn backend_changed(&mut self, name: Name) {
        if let Ok(device) = self.device(name) {
            let change = noxs_files::change(name, device.backend, device.frontend);
            self.told.push(Told::Device(Change { backend: true, ..change }));
        }
    }

    pub(crate) fn create(
        &mut self,
        name: Name,
        keys: &[u8],
        private: &[u8],
    ) -> Result<(u32, u32), i32> {
        if name.domain.is_dom0() || keys.len() > PAGE_KEYS || private.len() > PRIVATE_KEYS {
            return Err(libc::EINVAL);
        }
        let class = name.class.as_str().to_owned();
        if !["vif", "vbd", "sysctl"].contains(&class.as_str()) {
            return Err(libc::ENODEV);
        }
        if self.device(name).is_ok() {
            return Err(libc::EEXIST);
        }
        let (keys, mut private) = (map(keys)?, map(private)?);
        private.insert("online".to_owned(), "1".to_owned());
        fit(&private, PRIVATE_KEYS)?;
        self.next += 1;
        let (grant, port) = (8 + self.next, 100 + self.next);
        self.devices.push(Device {
            guest: name.domain,
            backend: if class == "sysctl" { 2 } else { 1 },
            class,
            id: name.id,
            keys,
            private,
            theirs: BTreeMap::new(),
            frontend: 0,
            grant,
            port,
        });
        self.backend_changed(name);
        Ok((grant, port))
    }

    /// Asks the frontend to close: what a destroy leaves that is not answered in time.
    fn ask_to_close(&mut self, name: Name) -> Result<(), i32> {
        let device = self.device(name)?;
        device.private.insert("online".to_owned(), "0".to_owned());
        if device.backend != CLOSED {
            device.backend = CLOSING;
        }
        self.backend_changed(name);
        Ok(())
    }

    fn remove(&mut self, name: Name) -> Result<(), i32> {
        let change = {
            let device = self.device(name)?;
            noxs_files::change(name, device.backend, device.frontend)
        };
        self.devices.retain(|device| !device.is(name));
        self.told.push(Told::Device(Change { gone: true, ..change }));
        Ok(())
    }

    /// Changes all of these keys, or none.
    pub(crate) fn change_keys(
        &mut self,
        name: Name,
        keys: &[u8],
        private: bool,
        remove: bool,
    ) -> Result<(), i32> {
        let keys = map(keys)?;
        let device = self.device(name)?;
        let wrong =
            |(key, value): (&String, &String)| key == "state" || (remove && !value.is_empty());
        if keys.iter().any(wrong) {
            return Err(libc::EINVAL);
        }
        let (mut page, mut host) = (device.keys.clone(), device.private.clone());
        let mut changed = false;
        for (key, value) in keys {
            // A key of the host alone never gets into the page.
            let to = if private || host.contains_key(&key) { &mut host } else { &mut page };
            if remove {
                changed |= to.remove(&key).is_some();
            } else {
                to.insert(key, value);
                changed = true;
            }
        }
        fit(&page, PAGE_KEYS)?;
        fit(&host, PRIVATE_KEYS)?;
        (device.keys, device.private) = (page, host);
        if changed {
            self.backend_changed(name);
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
        self.guest(device.backend).map_err(|_| libc::ENODEV)?;
        let page = self.noxs.pages.entry(guest).or_default();
        let class = device.class.as_str().to_owned();
        if page.devices().any(|slot| slot.class == class && slot.id == device.id) {
            return Err(libc::EEXIST);
        }
        let free = page.slots.iter().position(|(_, slot)| slot.is_none());
        let free = match free {
            Some(free) => free,
            None if page.slots.len() < SLOTS => {
                page.slots.push((0, None));
                page.slots.len() - 1
            }
            None => return Err(libc::ENOSPC),
        };
        let (grant, port) = (device.grant.get(), device.port.get());
        let slot = Slot { class, id: device.id, backend: device.backend, grant, port };
        page.slots[free] = (page.slots[free].0 + 1, Some(slot));
        page.generation += 1;
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
        let is = |slot: &Slot| slot.class == class && slot.id == id && slot.backend == backend;
        let slot = page.slots.iter_mut().find(|(_, slot)| slot.as_ref().is_some_and(is));
        let (sequence, slot) = slot.ok_or(libc::ENOENT)?;
        (*sequence, *slot) = (*sequence + 1, None);
        page.generation += 1;
        Ok(())
    }

    /// What the kernel does for a destroy: unless by force it asks the frontend to close, and a
    /// device whose frontend does not within `timeout` stays, and stays asked.
    pub(crate) fn noxs_destroy(
        &mut self,
        name: Name,
        timeout: Duration,
        force: bool,
    ) -> Result<(), i32> {
        let open = !matches!(self.noxs.device(name)?.frontend, 0 | CLOSED);
        if open && !force {
            self.noxs.ask_to_close(name)?;
            if timeout.is_zero() || !self.lets_go(name.domain) {
                return Err(libc::ETIMEDOUT);
            }
        }
        self.noxs.remove(name)
    }

    /// Whether the guest lets go of devices when it is asked.
    fn lets_go(&self, guest: DomId) -> bool {
        let runs = self.domains.get(&guest).is_some_and(|guest| guest.runs());
        runs && self.frontends == Frontends::Connect
    }
}

/// Lets all devices take one step; whether any did.
pub(crate) fn react(host: &mut Host) -> bool {
    let mut told = Vec::new();
    let (backends, frontends) = (host.backends.clone(), host.frontends);
    for device in &mut host.noxs.devices {
        let runs = host.domains.get(&device.guest).is_some_and(|guest| guest.runs());
        let before = device.clone();
        let mut says =
            |key: &str, value: &str| device.private.insert(key.to_owned(), value.to_owned());
        match (device.backend, &backends) {
            _ if device.class == "sysctl" && !runs => {}
            _ if device.class == "sysctl" => {
                (device.backend, device.frontend) = (CONNECTED, CONNECTED)
            }
            (_, Backends::Silent) => {}
            (1, Backends::Close) => {
                says("error", "no such thing");
                device.backend = CLOSING;
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
                (device.backend, device.frontend) = (CONNECTED, CONNECTED)
            }
            // It was asked to close, and does so after all: with `online` 0 the driver lets go.
            (CLOSING, _)
                if runs && frontends == Frontends::Connect && device.frontend == CONNECTED =>
            {
                (device.backend, device.frontend) = (CLOSED, CLOSED)
            }
            _ => {}
        }
        if *device != before
            && let Ok(name) = device.name()
        {
            let change = noxs_files::change(name, device.backend, device.frontend);
            let frontend = device.frontend != before.frontend;
            let backend = (device.backend, &device.private) != (before.backend, &before.private);
            told.push(Told::Device(Change { frontend, backend, ..change }));
        }
    }
    let changed = !told.is_empty();
    host.noxs.told.append(&mut told);
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
    answer(host, guest, "shutdown-ack");
}

/// The guest says that it does not do such things.
pub(crate) fn refuse(host: &mut Host, guest: DomId) {
    answer(host, guest, "shutdown-refused");
}

fn answer(host: &mut Host, guest: DomId, key: &str) {
    let is = |device: &&mut Device| device.guest == guest && device.class == "sysctl";
    let Some(device) = host.noxs.devices.iter_mut().find(is) else { return };
    let Some(count) = device.keys.get("shutdown-request").cloned() else { return };
    if device.theirs.get(key) == Some(&count) {
        return;
    }
    device.theirs.insert(key.to_owned(), count);
    if let Ok(name) = device.name() {
        let change = noxs_files::change(name, device.backend, device.frontend);
        host.noxs.told.push(Told::Device(Change { frontend: true, ..change }));
    }
}
