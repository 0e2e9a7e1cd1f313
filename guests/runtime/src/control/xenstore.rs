//! Requests in `control/shutdown` in Xenstore.

use super::TOKEN;
use crate::Exit;
use crate::store::{Store, StoreError};

const NODE: &str = "control/shutdown";

pub(super) fn open(store: &mut Store) -> Result<(), StoreError> {
    // The toolstack makes these nodes, or does not ask: a refusal is no failure.
    let _ = store.write("control/feature-poweroff", b"1");
    let _ = store.write("control/feature-reboot", b"1");
    store.watch(NODE, TOKEN)
}

pub(super) fn request(store: &mut Store) -> Option<Exit> {
    if !store.take_fired(TOKEN) {
        return None;
    }
    let mut buffer = [0; 16];
    let exit = Exit::requested(store.read(NODE, &mut buffer).ok()?)?;
    // Emptied: seen. If that fails the toolstack sees the domain stop all the same.
    let _ = store.write(NODE, b"");
    Some(exit)
}
