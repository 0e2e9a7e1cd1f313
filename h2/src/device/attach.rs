//! Devices of guests that exist: attached, detached, and told about.

use std::time::Duration;

use super::{
    Address, DeviceClass, DeviceConfig, DeviceError, DeviceId, DeviceInfo, DeviceState, NewDevice,
};
use super::{check, info, ready, remove};
use crate::config::GuestConfig;
use crate::domain::Domain;
use crate::error::{Error, StoreError};
use crate::info::{DomainInfo, DomainState};
use crate::plane::{Control, Noxs};
use crate::state::guests::{self, GuestRecord};
use crate::store::Store;

/// How a device is taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Detach {
    /// The guest is asked to let go of it, and may take this long.
    Ask(Duration),
    /// It is taken away whatever the guest does with it. What has not reached a disk by then is
    /// lost.
    Force,
}

impl Domain {
    /// Its network interfaces and disks, whoever attached them.
    ///
    /// # Errors
    /// [`Error::NoSuchDomain`] if it is gone, [`Error::Open`] or [`Error::Store`] if xenstored does
    /// not answer.
    pub fn devices(&self) -> Result<Vec<DeviceInfo>, Error> {
        match self.control()? {
            Control::Xenstore(store) => Ok(info::all(store, self.id())?),
            Control::Noxs(noxs) => Ok(noxs.infos(self.id())?),
        }
    }

    /// One of them.
    ///
    /// # Errors
    /// As [`devices`](Self::devices), and [`DeviceError::Missing`].
    pub fn device(&self, device: DeviceId) -> Result<DeviceInfo, Error> {
        match self.control()? {
            Control::Xenstore(store) => {
                Ok(info::one(store, device.class, &self.address(store, device)?)?)
            }
            Control::Noxs(noxs) => {
                Ok(noxs.info(self.id(), device)?.ok_or_else(|| self.missing(device))?)
            }
        }
    }

    /// Gives it another device, and waits until the backend is ready for it; whether the guest
    /// takes it is [`wait_until_connected`](Self::wait_until_connected). An interface gets the
    /// lowest number that is free. The guest has the device again after a reboot, if this
    /// library made the guest.
    ///
    /// # Errors
    /// [`Error::Device`] for what is wrong with the device, [`Error::WrongState`] for a guest that
    /// has ended, else as the steps fail. Then nothing has changed.
    pub fn attach(&self, device: &DeviceConfig) -> Result<DeviceId, Error> {
        self.refuse_dom0("attaching devices")?;
        let _in_hand = self.take_in_hand()?;
        let info = self.info()?;
        if matches!(info.state, DomainState::Shutdown(_) | DomainState::Dying) {
            return Err(Error::WrongState(format!("domain {} has ended", self.id())));
        }
        let control = self.inner().control_of(self.id(), info.handle)?;
        let device = device.clone().completed();
        let id = match control {
            Control::Xenstore(store) => self.free(store, &device)?,
            Control::Noxs(noxs) => noxs.free(self.id(), &device)?,
        };
        check::<Error>(self.inner(), id, &device)?;
        let record = self.changed_record(&info, |config| match &device {
            DeviceConfig::Vif(vif) => config.vifs.push(vif.clone()),
            DeviceConfig::Vbd(vbd) => config.vbds.push(vbd.clone()),
        })?;

        let new = NewDevice::new(self.id(), id, device);
        match control {
            Control::Xenstore(store) => {
                let attached = || -> Result<(), Error> {
                    super::write(store, info.kind, std::slice::from_ref(&new))?;
                    ready::wait::<Error>(
                        store,
                        std::slice::from_ref(&new),
                        self.inner().device_limit,
                    )?;
                    self.keep(record.as_ref())
                };
                attached().inspect_err(|_| undo(store, &new.address))?;
            }
            Control::Noxs(noxs) => {
                noxs.attach(self.id(), &new)?;
                self.keep(record.as_ref()).inspect_err(|_| noxs.undo(self.id(), id))?;
            }
        }
        Ok(id)
    }

    /// Takes a device away. A guest that has not taken the device yet is not asked; neither is one
    /// by [`Detach::Force`].
    ///
    /// # Errors
    /// [`DeviceError::Missing`], or [`DeviceError::NotReleased`] if the guest does not let go of
    /// it, which leaves the device to a later call; else as the steps fail.
    pub fn detach(&self, device: DeviceId, how: Detach) -> Result<(), Error> {
        self.refuse_dom0("detaching devices")?;
        let _in_hand = self.take_in_hand()?;
        let info = self.info()?;
        let store = match self.inner().control_of(self.id(), info.handle)? {
            Control::Xenstore(store) => store,
            Control::Noxs(noxs) => return self.detach_noxs(noxs, &info, device, how),
        };
        let address = self.address(store, device)?;
        let mac = info::mac(store, &address)?;
        let record =
            self.changed_record(&info, |config| remove_device(config, device, mac.as_deref()))?;
        match how {
            Detach::Ask(timeout) if is_taken(store, &address)? => {
                if !remove::ask(store, &address, timeout)? {
                    return Err(
                        DeviceError::NotReleased { domain: self.id(), device, timeout }.into()
                    );
                }
            }
            _ => remove::force(store, &address)?,
        }
        self.keep(record.as_ref())?;
        Ok(remove::forget(store, &address)?)
    }

    fn detach_noxs(
        &self,
        noxs: Noxs<'_>,
        info: &DomainInfo,
        device: DeviceId,
        how: Detach,
    ) -> Result<(), Error> {
        if !noxs.has(self.id(), device)? {
            return Err(self.missing(device).into());
        }
        let mac = noxs.info(self.id(), device)?.and_then(|device| device.mac);
        let record =
            self.changed_record(info, |config| remove_device(config, device, mac.as_deref()))?;
        noxs.detach(self.id(), device, how)?;
        self.keep(record.as_ref())
    }

    fn missing(&self, device: DeviceId) -> DeviceError {
        DeviceError::Missing { domain: self.id(), device }
    }

    /// Waits until the guest has connected its end of a device.
    ///
    /// # Errors
    /// [`DeviceError::NotConnected`] if it has not within `timeout`, [`DeviceError::Missing`] if
    /// the device is gone.
    pub fn wait_until_connected(&self, device: DeviceId, timeout: Duration) -> Result<(), Error> {
        let not_connected = DeviceError::NotConnected { domain: self.id(), device, timeout };
        let store = match self.control()? {
            Control::Xenstore(store) => store,
            Control::Noxs(noxs) => {
                let connected = noxs.wait_until_connected::<Error>(self.id(), device, timeout)?;
                return if connected { Ok(()) } else { Err(not_connected.into()) };
            }
        };
        let address = self.address(store, device)?;
        let node = format!("{}/state", address.backend());
        let connected = || match store.read(&node)? {
            Some(state) => Ok(DeviceState::read(&state) == DeviceState::Connected),
            None => Err(DeviceError::Missing { domain: self.id(), device }.into()),
        };
        if store.wait_until::<Error>(std::slice::from_ref(&node), timeout, connected)? {
            return Ok(());
        }
        Err(not_connected.into())
    }

    fn address(&self, store: &Store, device: DeviceId) -> Result<Address, Error> {
        self.info()?;
        Ok(Address::find(store, self.id(), device)?.ok_or_else(|| self.missing(device))?)
    }

    /// The number that a new device gets.
    fn free(&self, store: &Store, device: &DeviceConfig) -> Result<DeviceId, Error> {
        let domain = self.id();
        match device {
            DeviceConfig::Vbd(vbd) => {
                let device = DeviceId::vbd(&vbd.vdev);
                match Address::find(store, domain, device)? {
                    Some(_) => Err(DeviceError::Exists { domain, device }.into()),
                    None => Ok(device),
                }
            }
            DeviceConfig::Vif(vif) => {
                let present = Address::of_class(store, domain, DeviceClass::Vif.as_str())?;
                let taken = |number: &u32| present.iter().any(|other| other.number() == *number);
                let free = DeviceId::vif((0..=u32::MAX).find(|number| !taken(number)).unwrap_or(0));
                let wanted = vif.mac.map(|mac| mac.to_string());
                for other in &present {
                    if info::mac(store, other)? == wanted {
                        let mac = wanted.unwrap_or_default();
                        return Err(
                            DeviceError::mac_taken(free, &mac, other.number(), domain).into()
                        );
                    }
                }
                Ok(free)
            }
        }
    }

    /// The record of a guest of ours with a change to its configuration.
    fn changed_record(
        &self,
        info: &DomainInfo,
        change: impl FnOnce(&mut GuestConfig),
    ) -> Result<Option<GuestRecord>, Error> {
        let Some(record) = self.record(info.handle)? else { return Ok(None) };
        let mut config = record.config()?;
        change(&mut config);
        config.check()?;
        Ok(Some(record.with_config(&config)?))
    }

    fn keep(&self, record: Option<&GuestRecord>) -> Result<(), Error> {
        match record {
            Some(record) => Ok(guests::write(&self.inner().state, self.id(), record)?),
            None => Ok(()),
        }
    }
}

/// Takes a device out of a configuration: an interface by its address.
fn remove_device(config: &mut GuestConfig, device: DeviceId, mac: Option<&str>) {
    match device.class {
        DeviceClass::Vif => {
            config.vifs.retain(|vif| vif.mac.map(|mac| mac.to_string()).as_deref() != mac)
        }
        DeviceClass::Vbd => config.vbds.retain(|vbd| vbd.vdev.number() != device.number),
    }
}

/// Whether the guest has done anything with the device. If not, there is nobody who could let go of
/// it.
fn is_taken(store: &Store, address: &Address) -> Result<bool, StoreError> {
    let state = store.read(&format!("{}/state", address.frontend()))?;
    Ok(state.is_some_and(|state| DeviceState::read(&state) != DeviceState::Initialising))
}

/// Takes back a device that could not be attached.
fn undo(store: &Store, address: &Address) {
    let remove = || remove::force(store, address).and_then(|()| remove::forget(store, address));
    let undone = remove().or_else(|error| {
        log::debug!("{error}: {}; trying again over a new connection", error.source);
        let failed =
            |source| StoreError { operation: "reconnect for", path: address.record(), source };
        store.reconnect().map_err(failed)?;
        remove()
    });
    if let Err(error) = undone {
        log::error!("cannot remove {}: {error}: {}", address.backend(), error.source);
    }
}
