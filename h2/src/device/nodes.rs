//! What is written into a device's directories: what libxl 4.17 writes for the same device.
//!
//! There is no transaction: the order serves. The record comes first, so that whatever a process
//! that dies leaves is found with it; the states come last, the backend's behind the frontend's,
//! since a driver looks at a device when it sees state 1.

use std::path::Path;

use super::{DeviceConfig, DeviceState, NewDevice};
use crate::config::{Access, Vbd, Vif};
use crate::error::StoreError;
use crate::id::DomId;
use crate::info::DomainKind;
use crate::seam::NodePermission;
use crate::store::{Batch, Store};

/// Where libxl looks for hotplug scripts, and the ones that it takes unless told otherwise.
const SCRIPTS: &str = "/etc/xen/scripts";
const VIF_SCRIPT: &str = "vif-bridge";
const VBD_SCRIPT: &str = "block";

/// What a guest's interface can carry: Ethernet's.
const MTU: &str = "1500";

/// Nodes of one end.
type Nodes = Vec<(&'static str, String)>;

/// Writes the nodes of some devices of one guest.
pub(crate) fn write(
    store: &Store,
    kind: DomainKind,
    devices: &[NewDevice],
) -> Result<(), StoreError> {
    if devices.is_empty() {
        return Ok(());
    }
    let mut batch = Batch::new();
    for device in devices {
        add(&mut batch, kind, device);
    }
    store.apply(&batch)
}

fn add(batch: &mut Batch, kind: DomainKind, device: &NewDevice) {
    let address = &device.address;
    let (frontend, backend, record) = (address.frontend(), address.backend(), address.record());
    let (guest, backend_domain) = (address.guest, address.backend_domain);
    let state = DeviceState::Initialising.number();
    let (of_frontend, for_guest, of_backend) = match &device.config {
        DeviceConfig::Vif(vif) => vif_nodes(vif, address.number()),
        DeviceConfig::Vbd(vbd) => vbd_nodes(vbd, address.number(), kind),
    };
    let of_backend: Nodes = [("frontend-id", guest.to_string()), ("online", "1".to_owned())]
        .into_iter()
        .chain(of_backend)
        .collect();

    // The node by which the others are found goes first of all.
    batch
        .write(format!("{record}/backend"), &backend)
        .write(format!("{record}/frontend"), &frontend);
    for (node, value) in &of_backend {
        batch.write(format!("{record}/{node}"), value);
    }
    batch.write(format!("{record}/state"), state);

    batch.mkdir(&frontend).set_permissions(&frontend, &shared(guest, backend_domain));
    batch.write(format!("{frontend}/backend"), &backend);
    batch.write(format!("{frontend}/backend-id"), backend_domain.to_string());
    for (node, value) in of_frontend {
        batch.write(format!("{frontend}/{node}"), value);
    }
    for (node, value) in for_guest {
        let path = format!("{frontend}/{node}");
        batch.write(&path, value).set_permissions(path, &shared(backend_domain, guest));
    }

    batch.mkdir(&backend).set_permissions(&backend, &shared(backend_domain, guest));
    batch.write(format!("{backend}/frontend"), &frontend);
    // The hotplug agent leaves devices of libxl's guests to libxl, which has scripts of its own;
    // this one is not libxl's.
    batch.write(format!("{backend}/toolstack"), "chaos");
    for (node, value) in of_backend {
        batch.write(format!("{backend}/{node}"), value);
    }
    batch.write(format!("{frontend}/state"), state).write(format!("{backend}/state"), state);
}

/// `owner` may do all, and `reader` read.
fn shared(owner: DomId, reader: DomId) -> [NodePermission; 2] {
    [
        NodePermission { domain: owner, read: false, write: false },
        NodePermission { domain: reader, read: true, write: false },
    ]
}

/// The nodes that the guest owns, those that it only reads, and those of the backend.
fn vif_nodes(vif: &Vif, number: u32) -> (Nodes, Nodes, Nodes) {
    let handle = number.to_string();
    let mut backend = vec![("script", script(vif.script.as_deref(), VIF_SCRIPT))];
    let mut frontend = vec![("handle", handle.clone())];
    if let Some(mac) = vif.mac {
        backend.push(("mac", mac.to_string()));
        frontend.push(("mac", mac.to_string()));
    }
    backend.extend(vif.ip.map(|ip| ("ip", ip.to_string())));
    backend.extend(
        vif.rate
            .map(|rate| ("rate", format!("{},{}", rate.bytes_per_interval(), rate.interval_us()))),
    );
    backend.extend(vif.bridge.as_ref().map(|bridge| ("bridge", bridge.to_string())));
    backend.extend([
        ("handle", handle),
        ("type", "vif".to_owned()),
        ("hotplug-status", String::new()),
    ]);
    frontend.push(("trusted", "1".to_owned()));
    (frontend, vec![("mtu", MTU.to_owned())], backend)
}

/// As [`vif_nodes`]. A file is a `phy` for libxl, too: the hotplug agent puts it on a loop device.
fn vbd_nodes(vbd: &Vbd, number: u32, kind: DomainKind) -> (Nodes, Nodes, Nodes) {
    let discard = if vbd.access == Access::Write { "1" } else { "0" };
    let backend = vec![
        ("params", vbd.target.display().to_string()),
        ("script", script(None, VBD_SCRIPT)),
        ("removable", "0".to_owned()),
        ("bootable", "1".to_owned()),
        ("dev", vbd.vdev.to_string()),
        ("type", "phy".to_owned()),
        ("mode", vbd.access.to_string()),
        ("device-type", "disk".to_owned()),
        ("discard-enable", discard.to_owned()),
        ("specification", "xen".to_owned()),
    ];
    let mut frontend = vec![
        ("virtual-device", number.to_string()),
        ("device-type", "disk".to_owned()),
        ("trusted", "1".to_owned()),
    ];
    if kind == DomainKind::Pv {
        frontend.push(("protocol", "x86_64-abi".to_owned()));
    }
    (frontend, Nodes::new(), backend)
}

fn script(given: Option<&Path>, default: &str) -> String {
    Path::new(SCRIPTS).join(given.unwrap_or(Path::new(default))).display().to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "nodes_tests.rs"]
mod tests;
