//! Waiting until backends are ready for their guest, and until guests have taken their devices.

use std::time::{Duration, Instant};

use super::noxs::{Noxs, name_of};
use crate::device::{DeviceError, DeviceId, DeviceState, Missing, NewDevice, said};
use crate::id::DomId;
use crate::noxs_backend::{Backend, NoxsError, Reading, Which};

impl Noxs<'_> {
    /// Waits for all of these devices, for `limit` together: the backend's driver has taken each,
    /// and the hotplug agent has said that it is connected.
    pub(crate) fn wait_until_ready<E: From<NoxsError> + From<DeviceError>>(
        &self,
        guest: DomId,
        devices: &[NewDevice],
        limit: Duration,
    ) -> Result<(), E> {
        let mut pending: Vec<(DeviceId, Missing)> =
            devices.iter().map(|device| (device.id, Missing::Driver)).collect();
        self.wait_until::<E>(guest, limit, || {
            let mut left = Vec::new();
            for (device, _) in pending.drain(..) {
                let reading = self.backend.read(name_of(guest, device), Which::Private)?;
                left.extend(missing(guest, device, reading)?.map(|missing| (device, missing)));
            }
            pending = left;
            Ok(pending.is_empty())
        })?;
        match pending.first() {
            None => Ok(()),
            Some(&(device, missing)) => {
                let missing = missing.explain(device, DomId::DOM0);
                Err(DeviceError::NotReady { domain: guest, device, timeout: limit, missing }.into())
            }
        }
    }

    /// Waits until the guest has connected its end; whether it has.
    pub(crate) fn wait_until_connected<E: From<NoxsError> + From<DeviceError>>(
        &self,
        guest: DomId,
        device: DeviceId,
        limit: Duration,
    ) -> Result<bool, E> {
        self.wait_until::<E>(guest, limit, || {
            match self.backend.read(name_of(guest, device), Which::Private)? {
                Some(reading) => Ok(reading.backend_state == DeviceState::Connected),
                None => Err(DeviceError::Missing { domain: guest, device }.into()),
            }
        })
    }

    /// The node, which tells changes of a guest's devices. A watch cannot be taken back, so it is
    /// on a file of its own.
    pub(crate) fn watching(&self, guest: DomId) -> Result<Backend, NoxsError> {
        let watching = self.backend.another()?;
        watching.watch_domain(guest)?;
        Ok(watching)
    }

    /// Waits until something holds that a guest's devices tell, for `limit` at most; whether it
    /// holds. If it holds at once, nothing is watched.
    fn wait_until<E: From<NoxsError>>(
        &self,
        guest: DomId,
        limit: Duration,
        mut holds: impl FnMut() -> Result<bool, E>,
    ) -> Result<bool, E> {
        if holds()? {
            return Ok(true);
        }
        let watching = self.watching(guest)?;
        let end = Instant::now() + limit;
        loop {
            if holds()? {
                return Ok(true);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            watching.wait(left)?;
            // What has come together is looked at once.
            watching.events()?;
        }
    }
}

/// What a device that is not ready lacks.
fn missing(
    domain: DomId,
    device: DeviceId,
    reading: Option<Reading>,
) -> Result<Option<Missing>, DeviceError> {
    let Some(reading) = reading else {
        return Err(DeviceError::Closed {
            domain,
            device,
            reason: "its backend is gone".to_owned(),
        });
    };
    let key = |key: &str| reading.keys.get(key).map(str::to_owned);
    let status = key("hotplug-status");
    if status.as_deref() == Some("error") {
        return Err(DeviceError::Hotplug { domain, device, reason: said(key("hotplug-error")) });
    }
    match reading.backend_state {
        DeviceState::Closing | DeviceState::Closed => {
            Err(DeviceError::Closed { domain, device, reason: said(key("error")) })
        }
        state if !state.is_served() => Ok(Some(Missing::Driver)),
        _ if status.as_deref() != Some("connected") => Ok(Some(Missing::Agent)),
        _ => Ok(None),
    }
}
