//! Devices of guests that exist, on the NoXS plane: attached, detached, and told about.

use super::noxs::{Noxs, device_of, name_of};
use crate::device::{
    Detach, DeviceClass, DeviceConfig, DeviceError, DeviceId, DeviceInfo, NewDevice,
};
use crate::error::{CallError, Error};
use crate::id::DomId;
use crate::noxs_backend::{Keys, Listed, Name, NoxsError, Which};

impl Noxs<'_> {
    /// All interfaces and disks of a guest, in the order of their numbers.
    pub(crate) fn infos(&self, guest: DomId) -> Result<Vec<DeviceInfo>, NoxsError> {
        let mut devices: Vec<DeviceId> = self.ids(guest)?;
        devices.sort();
        devices.into_iter().filter_map(|device| self.info(guest, device).transpose()).collect()
    }

    fn ids(&self, guest: DomId) -> Result<Vec<DeviceId>, NoxsError> {
        Ok(self
            .backend
            .list(Some(guest))?
            .iter()
            .filter_map(|listed: &Listed| device_of(listed.name))
            .collect())
    }

    /// One of them, if it is there.
    pub(crate) fn info(
        &self,
        guest: DomId,
        device: DeviceId,
    ) -> Result<Option<DeviceInfo>, NoxsError> {
        let name = name_of(guest, device);
        let (Some(page), Some(host)) =
            (self.backend.read(name, Which::Backend)?, self.backend.read(name, Which::Private)?)
        else {
            return Ok(None);
        };
        let of = |keys: &Keys, class, key: &str| {
            keys.get(key).filter(|_| device.class == class).map(str::to_owned)
        };
        let vif = |key| of(&host.keys, DeviceClass::Vif, key);
        let vbd = |key| of(&host.keys, DeviceClass::Vbd, key);
        Ok(Some(DeviceInfo {
            class: device.class,
            number: device.number,
            name: match device.class {
                DeviceClass::Vif => Some(format!("vif{guest}.{}", device.number)),
                DeviceClass::Vbd => vbd("dev"),
            },
            backend: DomId::DOM0,
            frontend_state: Some(host.frontend_state),
            backend_state: Some(host.backend_state),
            hotplug_status: host
                .keys
                .get("hotplug-status")
                .filter(|status| !status.is_empty())
                .map(str::to_owned),
            mac: of(&page.keys, DeviceClass::Vif, "mac"),
            bridge: vif("bridge"),
            ip: vif("ip"),
            target: vbd("params"),
            access: of(&page.keys, DeviceClass::Vbd, "mode"),
        }))
    }

    /// The number that a new device gets.
    pub(crate) fn free(&self, guest: DomId, device: &DeviceConfig) -> Result<DeviceId, Error> {
        let vif = match device {
            DeviceConfig::Vbd(vbd) => {
                let device = DeviceId::vbd(&vbd.vdev);
                return match self.backend.read(name_of(guest, device), Which::Private)? {
                    Some(_) => Err(DeviceError::Exists { domain: guest, device }.into()),
                    None => Ok(device),
                };
            }
            DeviceConfig::Vif(vif) => vif,
        };
        let present = self.ids(guest)?;
        let free = (0..=u32::MAX)
            .map(DeviceId::vif)
            .find(|id| !present.contains(id))
            .unwrap_or(DeviceId::vif(0));
        let wanted = vif.mac.map(|mac| mac.to_string());
        for other in present.iter().filter(|other| other.class == DeviceClass::Vif) {
            let page = self.backend.read(name_of(guest, *other), Which::Backend)?;
            if page.is_some_and(|page| page.keys.get("mac") == wanted.as_deref()) {
                return Err(DeviceError::mac_taken(
                    free,
                    &wanted.unwrap_or_default(),
                    other.number,
                    guest,
                )
                .into());
            }
        }
        Ok(free)
    }

    /// Makes a device for a guest that exists, and waits until it is ready. What fails is undone.
    pub(crate) fn attach(&self, guest: DomId, device: &NewDevice) -> Result<(), Error> {
        self.check::<Error>(std::slice::from_ref(device))?;
        let made = self.make_device::<Error>(guest, device).and_then(|()| {
            self.wait_until_ready::<Error>(
                guest,
                std::slice::from_ref(device),
                self.inner.device_limit,
            )
        });
        made.inspect_err(|_| self.undo(guest, device.id))
    }

    /// Removes a device whose making has failed, or that nobody shall have.
    pub(crate) fn undo(&self, guest: DomId, device: DeviceId) {
        let name = name_of(guest, device);
        let removed = self.force(name).map_err(Error::from).and_then(|()| Ok(self.forget(name)?));
        if let Err(error) = removed {
            log::error!("cannot remove NoXS device {name}: {error}");
        }
    }

    /// Takes a device away. A guest that has not taken it is not asked; the kernel knows.
    pub(crate) fn detach(&self, guest: DomId, device: DeviceId, how: Detach) -> Result<(), Error> {
        let name = name_of(guest, device);
        match how {
            Detach::Force => self.force(name)?,
            Detach::Ask(timeout) => match self.backend.destroy(name, timeout, false) {
                Err(error) if error.is(libc::ETIMEDOUT) => {
                    return Err(DeviceError::NotReleased { domain: guest, device, timeout }.into());
                }
                result => drop(result?),
            },
        }
        Ok(self.forget(name)?)
    }

    /// Whether there is anything of a device: what a command that died has left of one can be
    /// detached again.
    pub(crate) fn has(&self, guest: DomId, device: DeviceId) -> Result<bool, Error> {
        let name = name_of(guest, device);
        if self.backend.read(name, Which::Private)?.is_some() {
            return Ok(true);
        }
        let page = self.inner.calls.noxs_page(guest)?;
        Ok(page
            .slots
            .iter()
            .any(|slot| slot.device.class == name.class && slot.device.id == name.id))
    }

    /// Takes a device out of the device page; one that is not there, or whose guest is gone, is no
    /// failure.
    fn forget(&self, name: Name) -> Result<(), CallError> {
        match self.inner.calls.noxs_remove(name.domain, name.class, name.id, DomId::DOM0) {
            Err(error) if error.is(libc::ENOENT) || error.is(libc::ESRCH) => Ok(()),
            result => result,
        }
    }
}
