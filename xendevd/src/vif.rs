//! A guest's interface is put into its bridge: what Xen's script vif-bridge does, without its
//! processes.

use crate::device::DeviceId;
use crate::net::{Links, NetError};
use crate::nodes::VifNodes;

/// An interface that is in its bridge, and what it takes to undo that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plugged {
    /// The interface's index: another one may get its name.
    pub index: u32,
    /// The name that it has now.
    pub name: String,
    /// The bridge's name.
    pub bridge: String,
    /// The MTU that it has now.
    pub mtu: u32,
}

/// Why an interface is not in its bridge.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VifError {
    /// The toolstack named none.
    #[error("{0}: no bridge is named")]
    NoBridgeNamed(DeviceId),
    /// There is no such bridge.
    #[error("{device}: there is no bridge {bridge}")]
    NoBridge {
        /// The device.
        device: DeviceId,
        /// The name that it should be in.
        bridge: String,
    },
    /// The name is that of another kind of interface.
    #[error("{device}: the interface {bridge} is no bridge of the kernel's")]
    NotABridge {
        /// The device.
        device: DeviceId,
        /// The name that should be a bridge's.
        bridge: String,
    },
    /// netback has not made the interface, or it is gone again.
    #[error("{device}: there is no interface {interface}")]
    NoInterface {
        /// The device.
        device: DeviceId,
        /// The interface's name.
        interface: String,
    },
    /// The kernel refused.
    #[error("{device}")]
    Net {
        /// The device.
        device: DeviceId,
        /// What it refused.
        #[source]
        source: NetError,
    },
}

/// Puts the device's interface into its bridge, gives it MTU and name, and switches it on. An
/// interface that is plugged in already stays so. After a failure it is as it was, apart from its
/// MTU.
///
/// # Errors
/// [`VifError`].
pub fn plug(links: &mut Links, device: DeviceId, nodes: &VifNodes) -> Result<Plugged, VifError> {
    let net = |source| VifError::Net { device, source };
    let bridge = nodes.bridge.clone().ok_or(VifError::NoBridgeNamed(device))?;
    let to = match links.find(&bridge).map_err(net)? {
        Some(link) if link.is_bridge => link,
        Some(_) => return Err(VifError::NotABridge { device, bridge }),
        None => return Err(VifError::NoBridge { device, bridge }),
    };
    let (mut name, link) = interface(links, device, nodes)?;
    if let Some(wanted) = nodes.name.as_ref().filter(|wanted| **wanted != name) {
        links.rename(&name, link.index, wanted).map_err(net)?;
        name.clone_from(wanted);
    }
    let mtu = nodes.mtu.unwrap_or(to.mtu);
    let mut change = || {
        if link.mtu != mtu {
            links.set_mtu(&name, link.index, mtu)?;
        }
        if link.master != Some(to.index) {
            links.set_master(&name, link.index, Some(to.index))?;
        }
        links.set_up(&name, link.index, true)
    };
    if let Err(error) = change() {
        // Harmless if it was never in.
        if let Err(undo) = links.set_master(&name, link.index, None) {
            log::debug!("{device}: {undo}");
        }
        return Err(net(error));
    }
    Ok(Plugged { index: link.index, name, bridge, mtu })
}

/// The device's interface under the name that netback gave it, or under the one that it has got
/// since.
fn interface(
    links: &mut Links,
    device: DeviceId,
    nodes: &VifNodes,
) -> Result<(String, crate::net::Link), VifError> {
    let first = device.interface();
    for name in [Some(&first), nodes.name.as_ref()].into_iter().flatten() {
        if let Some(link) = links.find(name).map_err(|source| VifError::Net { device, source })? {
            return Ok((name.clone(), link));
        }
    }
    Err(VifError::NoInterface { device, interface: first })
}

/// Whether netback has made the device's interface, and it has its first name still.
pub fn exists(links: &mut Links, device: DeviceId) -> bool {
    links.find(&device.interface()).is_ok_and(|link| link.is_some())
}

/// An interface that is plugged in already, as it is now; `None` if it is in no bridge.
pub fn find(links: &mut Links, device: DeviceId, nodes: &VifNodes) -> Option<Plugged> {
    let (name, link) = interface(links, device, nodes).ok()?;
    link.master?;
    Some(Plugged { index: link.index, name, bridge: nodes.bridge.clone()?, mtu: link.mtu })
}

/// Undoes [`plug`], in reverse order. An interface that is gone is no failure.
///
/// # Errors
/// [`VifError`].
pub fn unplug(links: &mut Links, device: DeviceId, plugged: &Plugged) -> Result<(), VifError> {
    let absent = |result: Result<(), NetError>| match result {
        Err(error) if !error.is_absent() => Err(VifError::Net { device, source: error }),
        _ => Ok(()),
    };
    absent(links.set_up(&plugged.name, plugged.index, false))?;
    absent(links.set_master(&plugged.name, plugged.index, None))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::testing::private_network;

    fn nodes(bridge: &str) -> VifNodes {
        VifNodes { bridge: Some(bridge.to_owned()), mtu: None, name: None, script: None }
    }

    #[test]
    #[ignore = "needs root, for a network of its own: the lab runs it"]
    fn a_vif_goes_into_its_bridge_and_out_again() {
        let device = DeviceId::from_sysname("vif-5-0").unwrap();
        private_network(|links| {
            links.create("xenbr0", "bridge").unwrap();
            links.create("vif5.0", "veth").unwrap();
            let bridge = links.find("xenbr0").unwrap().unwrap();
            links.set_mtu("xenbr0", bridge.index, 1400).unwrap();
            let plugged = plug(links, device, &nodes("xenbr0")).unwrap();
            let vif = links.find("vif5.0").unwrap().unwrap();
            assert_eq!((vif.master, vif.is_up, vif.mtu), (Some(bridge.index), true, 1400));
            assert_eq!(plug(links, device, &nodes("xenbr0")).unwrap(), plugged, "again");
            unplug(links, device, &plugged).unwrap();
            let vif = links.find("vif5.0").unwrap().unwrap();
            assert_eq!((vif.master, vif.is_up), (None, false));
            let named =
                VifNodes { mtu: Some(1300), name: Some("web0".to_owned()), ..nodes("xenbr0") };
            assert_eq!(plug(links, device, &named).unwrap().name, "web0");
            assert_eq!(plug(links, device, &named).unwrap().mtu, 1300, "again, under its new name");
        });
    }

    #[test]
    #[ignore = "needs root, for a network of its own: the lab runs it"]
    fn what_is_missing_is_named() {
        let device = DeviceId::from_sysname("vif-5-0").unwrap();
        private_network(|links| {
            let mut error = |nodes: &VifNodes| plug(links, device, nodes).unwrap_err().to_string();
            assert_eq!(error(&nodes("xenbr9")), "vif 0 of domain 5: there is no bridge xenbr9");
            assert_eq!(
                error(&nodes("lo")),
                "vif 0 of domain 5: the interface lo is no bridge of the kernel's"
            );
            assert_eq!(
                error(&VifNodes { bridge: None, ..nodes("x") }),
                "vif 0 of domain 5: no bridge is named"
            );
            links.create("xenbr0", "bridge").unwrap();
            let error = plug(links, device, &nodes("xenbr0")).unwrap_err();
            assert_eq!(error.to_string(), "vif 0 of domain 5: there is no interface vif5.0");
        });
    }
}
