//! A picture of the host that can be compared with another.

use std::collections::{BTreeMap, BTreeSet};

use h2::DomId;
use h2::id::KiB;

use crate::guest::Guest;
use crate::host::Host;
use crate::noxs::Device;
use crate::session::Session;
use crate::tree::Node;

/// All of the host that a toolstack could leave something in. Domain ids that were used do not
/// count.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The domains.
    pub domains: BTreeMap<DomId, Guest>,
    /// Memory that no domain has.
    pub free: KiB,
    /// Domains that xenstored serves, and the port that it was told of.
    pub introduced: BTreeMap<DomId, u32>,
    /// Watches of connections that are open: path and token.
    pub watches: BTreeSet<(String, String)>,
    nodes: BTreeMap<String, Node>,
    /// The kernel's NoXS devices, and the device pages.
    noxs: BTreeMap<String, String>,
}

impl Snapshot {
    pub(crate) fn new(host: &Host, session: &Session) -> Self {
        Self {
            domains: host.domains.clone(),
            free: host.free,
            introduced: host.introduced.clone(),
            watches: session.watches(),
            nodes: host.tree.nodes().clone(),
            noxs: noxs(host),
        }
    }

    /// The kernel's NoXS devices, and the slots of device pages, each with what is in it.
    pub fn noxs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.noxs.iter().map(|(name, what)| (name.as_str(), what.as_str()))
    }

    /// The nodes' paths.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.nodes.keys().map(String::as_str)
    }

    /// What is different in `later`, a line each: empty if nothing is.
    #[must_use]
    pub fn difference(&self, later: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        compare(&mut lines, "domain", &self.domains, &later.domains, |guest| format!("{guest:?}"));
        compare(&mut lines, "introduced", &self.introduced, &later.introduced, |port| {
            format!("port {port}")
        });
        compare(&mut lines, "node", &self.nodes, &later.nodes, |node| {
            format!("{:?} {:?}", String::from_utf8_lossy(&node.value), node.permissions)
        });
        compare(&mut lines, "NoXS", &self.noxs, &later.noxs, Clone::clone);
        if self.free != later.free {
            lines.push(format!("free memory was {} and is {}", self.free, later.free));
        }
        if self.watches != later.watches {
            lines.push(format!("watches were {:?} and are {:?}", self.watches, later.watches));
        }
        lines
    }
}

fn compare<K: Ord + std::fmt::Display, V: PartialEq>(
    lines: &mut Vec<String>,
    what: &str,
    before: &BTreeMap<K, V>,
    after: &BTreeMap<K, V>,
    show: impl Fn(&V) -> String,
) {
    for (key, value) in before {
        match after.get(key) {
            Some(now) if now == value => {}
            Some(now) => {
                lines.push(format!("{what} {key} was {} and is {}", show(value), show(now)))
            }
            None => lines.push(format!("{what} {key} is gone: {}", show(value))),
        }
    }
    for (key, value) in after.iter().filter(|(key, _)| !before.contains_key(key)) {
        lines.push(format!("{what} {key} is new: {}", show(value)));
    }
}

fn noxs(host: &Host) -> BTreeMap<String, String> {
    let device = |device: &Device| {
        (
            format!("device {}/{}/{}", device.class, device.guest, device.id),
            format!("{:?} {:?}", device.keys, device.private),
        )
    };
    let slots = host.noxs.pages.iter().flat_map(|(domain, page)| {
        page.devices().map(move |slot| {
            (format!("slot {}/{domain}/{}", slot.class, slot.id), format!("{slot:?}"))
        })
    });
    host.noxs.devices.iter().map(device).chain(slots).collect()
}
