//! How a device is at this moment.

use serde::Serialize;

use super::{Address, DeviceClass, DeviceId, DeviceState};
use crate::error::StoreError;
use crate::id::DomId;
use crate::store::Store;

/// A snapshot of a device. What it is comes from the toolstacks' record; the frontend's state is
/// what the guest says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DeviceInfo {
    /// What it is.
    pub class: DeviceClass,
    /// Its number among the guest's devices of this class.
    #[serde(rename = "id")]
    pub number: u32,
    /// The interface's name in the backend's domain, or the disk's name in the guest.
    pub name: Option<String>,
    /// The domain that has the other end.
    pub backend: DomId,
    /// The state of the guest's end; `None` if the end is gone.
    pub frontend_state: Option<DeviceState>,
    /// The state of the backend's end; `None` if the end is gone.
    pub backend_state: Option<DeviceState>,
    /// What the hotplug agent has said: "connected" or "error".
    pub hotplug_status: Option<String>,
    /// An interface's MAC address.
    pub mac: Option<String>,
    /// The bridge that an interface joins.
    pub bridge: Option<String>,
    /// An interface's IP address, as far as it is known.
    pub ip: Option<String>,
    /// What holds a disk's content.
    pub target: Option<String>,
    /// What the guest may do to a disk: "r" or "w".
    pub access: Option<String>,
}

impl DeviceInfo {
    /// Its name among the guest's devices.
    #[must_use]
    pub fn id(&self) -> DeviceId {
        DeviceId { class: self.class, number: self.number }
    }
}

/// All interfaces and disks of a guest, in the order of their numbers.
pub(super) fn all(store: &Store, guest: DomId) -> Result<Vec<DeviceInfo>, StoreError> {
    let mut found = Vec::new();
    for &class in DeviceClass::ALL {
        let mut devices = Address::of_class(store, guest, class.as_str())?;
        devices.sort_by_key(Address::number);
        for device in devices {
            found.push(one(store, class, &device)?);
        }
    }
    Ok(found)
}

/// The MAC address of an interface, by the record.
pub(super) fn mac(store: &Store, device: &Address) -> Result<Option<String>, StoreError> {
    store.read(&format!("{}/mac", device.record()))
}

pub(super) fn one(
    store: &Store,
    class: DeviceClass,
    device: &Address,
) -> Result<DeviceInfo, StoreError> {
    let (record, backend) = (device.record(), device.backend());
    let recorded = |node: &str| store.read(&format!("{record}/{node}"));
    let state = |end: &str| -> Result<_, StoreError> {
        Ok(store.read(&format!("{end}/state"))?.map(|state| DeviceState::read(&state)))
    };
    let is = |wanted| class == wanted;
    let vif = |node: &str| if is(DeviceClass::Vif) { recorded(node) } else { Ok(None) };
    let vbd = |node: &str| if is(DeviceClass::Vbd) { recorded(node) } else { Ok(None) };
    Ok(DeviceInfo {
        class,
        number: device.number(),
        name: match class {
            DeviceClass::Vif => {
                Some(vif("vifname")?.unwrap_or(format!("vif{}.{}", device.guest, device.number())))
            }
            DeviceClass::Vbd => vbd("dev")?,
        },
        backend: device.backend_domain,
        frontend_state: state(&device.frontend())?,
        backend_state: state(&backend)?,
        hotplug_status: store
            .read(&format!("{backend}/hotplug-status"))?
            .filter(|status| !status.is_empty()),
        mac: vif("mac")?,
        bridge: vif("bridge")?,
        ip: vif("ip")?,
        target: vbd("params")?,
        access: vbd("mode")?,
    })
}
