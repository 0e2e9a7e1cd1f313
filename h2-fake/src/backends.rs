//! The drivers and the hotplug agent behind the devices' backends, and the guests' drivers before
//! them. They act while a toolstack waits for events, and know nothing but the nodes, so they
//! outlive a process that dies.

use h2::DomId;
use serde::{Deserialize, Serialize};

use crate::host::Host;

/// What the backends' side does with a new device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Backends {
    /// The driver takes it, and the hotplug agent connects it.
    #[default]
    Ready,
    /// The driver takes it, and the hotplug agent refuses it with these words.
    Refuse(String),
    /// The driver takes it, and there is no hotplug agent.
    NoAgent,
    /// The driver takes it, and closes it again.
    Close,
    /// Nobody does anything, neither then nor when the device is to close.
    Silent,
}

/// What guests that run do with their devices.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Frontends {
    /// They connect, and let go when they are asked to.
    #[default]
    Connect,
    /// They have no drivers.
    Absent,
    /// They connect, and never let go.
    NeverClose,
}

/// A device as the nodes of its backend tell it.
struct Device {
    guest: DomId,
    backend: String,
    /// `None` if the frontend's end is gone.
    frontend: Option<String>,
    state: String,
}

/// Lets all devices take one step. The nodes that have changed.
pub(crate) fn react(host: &mut Host) -> Vec<String> {
    let mut changed = Vec::new();
    for device in devices(host) {
        // A guest that may not write its end cannot connect it, and its backend waits.
        let (guest, ours) = step(host, &device);
        let written = guest
            .iter()
            .all(|(node, value)| host.tree.write_as(device.guest, node, value.as_bytes()).is_ok());
        if !written {
            continue;
        }
        for (node, value) in &ours {
            // The nodes stand beside one that was read.
            let _ = host.tree.write(node, value.as_bytes());
        }
        changed.extend(guest.into_iter().chain(ours).map(|(node, _)| node));
    }
    changed
}

/// Nodes and their new values.
type Writes = Vec<(String, String)>;

/// What the guest writes, and what the control domain writes after it.
fn step(host: &Host, device: &Device) -> (Writes, Writes) {
    let backend =
        |node: &str, value: &str| (format!("{}/{node}", device.backend), value.to_owned());
    let runs = host.domains.get(&device.guest).is_some_and(|guest| guest.runs());
    let both = |state: &str| {
        let frontend =
            device.frontend.iter().map(|path| (format!("{path}/state"), state.to_owned()));
        (frontend.collect(), vec![backend("state", state)])
    };
    let ours = match (device.state.as_str(), &host.backends) {
        (_, Backends::Silent) => Vec::new(),
        ("1", Backends::Ready) => {
            vec![backend("hotplug-status", "connected"), backend("state", "2")]
        }
        ("1", Backends::Refuse(words)) => {
            vec![
                backend("hotplug-error", words),
                backend("hotplug-status", "error"),
                backend("state", "2"),
            ]
        }
        ("1", Backends::NoAgent) => vec![backend("state", "2")],
        ("1", Backends::Close) => vec![backend("state", "5")],
        ("2" | "4" | "5", _) if device.frontend.is_none() => vec![backend("state", "6")],
        ("2", _) if runs && host.frontends != Frontends::Absent => return both("4"),
        ("5", _) if runs && host.frontends == Frontends::Connect => return both("6"),
        _ => Vec::new(),
    };
    (Vec::new(), ours)
}

fn devices(host: &Host) -> Vec<Device> {
    let read = |path: &str| {
        let value = host.tree.read(path).ok().flatten()?;
        Some(String::from_utf8_lossy(&value).into_owned())
    };
    let found = host.tree.nodes().keys().filter_map(|path| {
        let backend = path.strip_suffix("/state")?;
        let parts: Vec<&str> = backend.strip_prefix("/local/domain/")?.split('/').collect();
        let [_, "backend", "vif" | "vbd", guest, _] = parts.as_slice() else { return None };
        let frontend = read(&format!("{backend}/frontend"))?;
        Some(Device {
            guest: guest.parse().ok()?,
            backend: backend.to_owned(),
            frontend: read(&frontend).map(|_| frontend),
            state: read(path)?,
        })
    });
    found.collect()
}
