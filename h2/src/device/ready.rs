//! Waiting until backends are ready for their guest: the driver has taken the device, and the
//! hotplug agent has said that it is connected.

use std::time::Duration;

use super::{Address, DeviceError, DeviceId, DeviceState, NewDevice};
use crate::error::StoreError;
use crate::id::DomId;
use crate::store::Store;

/// The longest text of another program that a message repeats.
const LONGEST: usize = 300;

/// What is known of a device that is not ready.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Missing {
    /// The backend's driver has not taken it.
    Driver,
    /// The hotplug agent has not answered.
    Agent,
}

/// Waits for all of these devices, for `limit` together.
///
/// # Errors
/// [`DeviceError::Hotplug`], [`DeviceError::Closed`], or [`DeviceError::NotReady`] for the first
/// device that fails.
pub(crate) fn wait<E: From<StoreError> + From<DeviceError>>(
    store: &Store,
    devices: &[NewDevice],
    limit: Duration,
) -> Result<(), E> {
    let mut pending: Vec<(&NewDevice, Missing)> =
        devices.iter().map(|device| (device, Missing::Driver)).collect();
    let folders: Vec<String> =
        devices.iter().map(|device| device.address.backend_class()).collect();
    store.wait_until::<E>(&folders, limit, || {
        let mut left = Vec::new();
        for (device, _) in pending.drain(..) {
            left.extend(
                look::<E>(store, device.id, &device.address)?.map(|missing| (device, missing)),
            );
        }
        pending = left;
        Ok(pending.is_empty())
    })?;
    match pending.first() {
        None => Ok(()),
        Some((device, missing)) => Err(DeviceError::NotReady {
            domain: device.address.guest,
            device: device.id,
            timeout: limit,
            missing: missing.explain(device.id, device.address.backend_domain),
        }
        .into()),
    }
}

/// Whether a device is ready, and what is missing if not.
fn look<E: From<StoreError> + From<DeviceError>>(
    store: &Store,
    device: DeviceId,
    address: &Address,
) -> Result<Option<Missing>, E> {
    let (backend, domain) = (address.backend(), address.guest);
    let status = store.read(&format!("{backend}/hotplug-status"))?.unwrap_or_default();
    if status == "error" {
        let reason = said(store.read(&format!("{backend}/hotplug-error"))?);
        return Err(DeviceError::Hotplug { domain, device, reason }.into());
    }
    match store.read(&format!("{backend}/state"))?.map(|state| DeviceState::read(&state)) {
        None => {
            Err(DeviceError::Closed { domain, device, reason: "its nodes are gone".to_owned() }
                .into())
        }
        Some(DeviceState::Closing | DeviceState::Closed) => {
            let reason = said(store.read(&format!("{}/error", address.errors()))?);
            Err(DeviceError::Closed { domain, device, reason }.into())
        }
        Some(state) if !state.is_served() => Ok(Some(Missing::Driver)),
        Some(_) if status != "connected" => Ok(Some(Missing::Agent)),
        Some(_) => Ok(None),
    }
}

impl Missing {
    pub(crate) fn explain(self, device: DeviceId, backend: DomId) -> String {
        match (self, backend.is_dom0()) {
            (Self::Driver, true) => {
                let driver = device.class.driver();
                format!(
                    "the kernel's backend driver has not taken it; is {driver} loaded (modprobe \
                     {driver})?"
                )
            }
            (Self::Driver, false) => {
                format!("domain {backend} has no backend driver that takes it")
            }
            (Self::Agent, true) => {
                "the hotplug agent has not answered; is xendevd running (systemctl status xendevd)?"
                    .to_owned()
            }
            (Self::Agent, false) => {
                format!(
                    "the hotplug agent of domain {backend} has not answered; does xendevd or xl \
                     devd run there?"
                )
            }
        }
    }
}

/// What another program has written, in a form that a message can repeat.
pub(crate) fn said(text: Option<String>) -> String {
    let text = text.unwrap_or_default();
    let text: String =
        text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect();
    if text.is_empty() { "it gives no reason".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_say() {
        assert_eq!(said(None), "it gives no reason");
        assert_eq!(said(Some(" no bridge\n\x1b[2J ".to_owned())), "no bridge  [2J");
        assert_eq!(said(Some("x".repeat(1000))).len(), LONGEST);
    }
}
