//! The way out of a device: its backend is told to close, waited for, and then the directories go,
//! the record last.
//!
//! A backend that is gone before its driver has let go could lose what the guest has written, and
//! keeps pages and event channels of a domain that is to go, too. One that does not answer keeps
//! nobody: after a bound it goes all the same.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Address, DeviceState};
use crate::error::StoreError;
use crate::id::DomId;
use crate::store::{Batch, Store};

/// How long the backends of a guest that is being destroyed may take, all together.
const LIMIT: Duration = Duration::from_secs(2);

/// Removes all devices of a guest that does not run, whoever made them, with their backends; the
/// guest's own nodes and the record are left to whoever removes the guest.
pub(crate) fn remove_all(store: &Store, guest: DomId) -> Result<(), StoreError> {
    let devices = Address::all(store, guest)?;
    if devices.is_empty() {
        return Ok(());
    }
    close(store, &devices, true, LIMIT)?;
    remove_backends(store, &devices)
}

/// Takes both ends of one device away from a guest that goes on, without asking it.
pub(super) fn force(store: &Store, device: &Address) -> Result<(), StoreError> {
    close(store, std::slice::from_ref(device), true, LIMIT)?;
    remove_ends(store, device)
}

/// Asks a guest to let go of one device. Says whether it has in time; then both ends are gone.
pub(super) fn ask(store: &Store, device: &Address, limit: Duration) -> Result<bool, StoreError> {
    let closed = close(store, std::slice::from_ref(device), false, limit)?;
    if closed {
        remove_ends(store, device)?;
    }
    Ok(closed)
}

/// Forgets a device whose ends are gone: the last step, since before it the device can be found and
/// removed again.
pub(super) fn forget(store: &Store, device: &Address) -> Result<(), StoreError> {
    let (record, folder) = (device.record(), device.record_class());
    let only =
        store.directory(&folder)?.iter().all(|number| record == format!("{folder}/{number}"));
    store.remove(if only { &folder } else { &record })
}

/// Has the backends close. By force the frontends' ends go first: a backend without one does not
/// wait for the guest.
fn close(
    store: &Store,
    devices: &[Address],
    force: bool,
    limit: Duration,
) -> Result<bool, StoreError> {
    let mut batch = Batch::new();
    let mut asked = Vec::new();
    for device in devices.iter().filter(|device| device.has_driver()) {
        // To write into a backend that is gone would make it anew.
        if let Some(state) = state(store, device)? {
            batch.write(format!("{}/online", device.backend()), "0");
            if state != DeviceState::Closed {
                batch.write(format!("{}/state", device.backend()), DeviceState::Closing.number());
                asked.push(device);
            }
        }
        if force {
            batch.remove(device.frontend());
        }
    }
    store.apply(&batch)?;
    let folders: Vec<String> = asked.iter().map(|device| device.backend_class()).collect();
    let closed = store.wait_until::<StoreError>(&folders, limit, || {
        let mut open = Vec::new();
        for device in asked.drain(..) {
            if state(store, device)?.is_some_and(|state| state != DeviceState::Closed) {
                open.push(device);
            }
        }
        asked = open;
        Ok(asked.is_empty())
    })?;
    for device in asked.iter().filter(|_| force) {
        log::warn!(
            "{} has not closed within {} s, and is removed all the same",
            device.backend(),
            limit.as_secs_f32()
        );
    }
    Ok(closed)
}

/// The state of the backend's end; `None` if the end is gone.
fn state(store: &Store, device: &Address) -> Result<Option<DeviceState>, StoreError> {
    Ok(store.read(&format!("{}/state", device.backend()))?.map(|state| DeviceState::read(&state)))
}

/// Removes both ends of a device, and the directories that held them, where nothing else is in
/// them.
fn remove_ends(store: &Store, device: &Address) -> Result<(), StoreError> {
    remove_backends(store, std::slice::from_ref(device))?;
    store.remove(&device.frontend())?;
    remove_if_empty(store, &device.frontend_class())
}

fn remove_backends(store: &Store, devices: &[Address]) -> Result<(), StoreError> {
    let mut batch = Batch::new();
    for device in devices {
        batch.remove(device.backend());
        if device.has_driver() {
            batch.remove(device.errors());
        }
    }
    store.apply(&batch)?;
    let folders: BTreeSet<String> = devices.iter().map(Address::backend_class).collect();
    folders.iter().try_for_each(|folder| remove_if_empty(store, folder))
}

fn remove_if_empty(store: &Store, folder: &str) -> Result<(), StoreError> {
    if store.directory(folder)?.is_empty() { store.remove(folder) } else { Ok(()) }
}
