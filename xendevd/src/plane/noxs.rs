//! The NoXS plane: the kernel keeps the nodes of a device, those for the guest in its control page
//! and those of the host alone beside it.

use std::collections::BTreeMap;

use h2::DeviceState;
use h2::noxs_backend::{Backend, Class as NoxsClass, Keys, Name, NoxsError, Reading, Which};
use nix::errno::Errno;

use crate::device::{Class, DeviceId};
use crate::xenstore::chain;

/// The longest value of a node, in bytes (docs/noxs-abi.md, part 9).
const VALUE_MAX: usize = 512;

/// What a guest takes for its interface's MTU when nobody says anything.
const USUAL_MTU: u32 = 1500;

/// The kernel's node, if this kernel has one.
#[derive(Debug, Default)]
pub struct Noxs {
    backend: Option<Backend>,
    complained: bool,
}

/// The nodes of a device, as they were at a moment.
#[derive(Debug)]
pub struct NoxsNodes {
    private: Reading,
    page: Keys,
}

impl NoxsNodes {
    /// A node's value, wherever it is.
    #[must_use]
    pub fn get(&self, node: &str) -> Option<&str> {
        self.private.keys.get(node).or_else(|| self.page.get(node))
    }

    /// Whether its backend closes, or has closed.
    pub(super) fn is_closing(&self) -> bool {
        matches!(self.private.backend_state, DeviceState::Closing | DeviceState::Closed)
    }
}

impl Noxs {
    /// Opens the kernel's node, unless that is done. Where it cannot be, there are no NoXS devices.
    pub fn open(&mut self) {
        if self.backend.is_none() {
            match Backend::open() {
                Ok(backend) => self.backend = backend,
                Err(error) if !self.complained => {
                    log::error!("NoXS devices cannot be served: {}", chain(&error));
                    self.complained = true;
                }
                Err(_) => {}
            }
        }
    }

    /// Whether this kernel has NoXS devices.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.backend.is_some()
    }

    /// Serves devices of this instead of the kernel's.
    #[cfg(test)]
    pub(crate) fn over(backend: Backend) -> Self {
        Self { backend: Some(backend), complained: false }
    }

    /// A device's nodes; `None` if it is none of this plane's.
    ///
    /// # Errors
    /// [`NoxsError`]; so with the others.
    pub(super) fn read(&self, device: DeviceId) -> Result<Option<NoxsNodes>, NoxsError> {
        let Some(backend) = &self.backend else { return Ok(None) };
        let name = name_of(device);
        let Some(private) = backend.read(name, Which::Private)? else { return Ok(None) };
        Ok(backend.read(name, Which::Backend)?.map(|page| NoxsNodes { private, page: page.keys }))
    }

    /// Sets nodes of the host's, all at once, after those without a value were removed. Whether the
    /// device was there.
    pub(super) fn answer(
        &self,
        device: DeviceId,
        there: &NoxsNodes,
        nodes: &[(&str, Option<String>)],
    ) -> Result<bool, NoxsError> {
        let Some(backend) = &self.backend else { return Ok(false) };
        let name = name_of(device);
        let gone: Vec<&str> =
            nodes.iter().filter(|(_, value)| value.is_none()).map(|(node, _)| *node).collect();
        let gone: Vec<&str> =
            gone.into_iter().filter(|node| there.private.keys.get(node).is_some()).collect();
        // One value each: the last.
        let set =
            nodes.iter().filter_map(|(node, value)| Some((*node, fitting(value.as_deref()?))));
        let set: Vec<(&str, String)> = set.collect::<BTreeMap<_, _>>().into_iter().collect();
        let change = || {
            if !gone.is_empty() {
                backend.remove_keys(name, true, &gone)?;
            }
            if set.is_empty() { Ok(()) } else { backend.set_keys(name, true, &set) }
        };
        match change() {
            Ok(()) => Ok(true),
            Err(error) if error.is(Errno::ENOENT as i32) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Tells the guest its interface's MTU through the control page, unless that says so already,
    /// or it is what guests take for granted.
    pub(super) fn tell_mtu(
        &self,
        device: DeviceId,
        there: &NoxsNodes,
        mtu: u32,
    ) -> Result<(), NoxsError> {
        let said = there.page.get("mtu").map_or(USUAL_MTU, |text| text.parse().unwrap_or(0));
        let Some(backend) = self.backend.as_ref().filter(|_| said != mtu) else { return Ok(()) };
        match backend.set_keys(name_of(device), false, &[("mtu", mtu.to_string())]) {
            Err(error) if error.is(Errno::ENOENT as i32) => Ok(()),
            result => result,
        }
    }
}

/// A device's name in this plane.
fn name_of(device: DeviceId) -> Name {
    let class = match device.class {
        Class::Vif => NoxsClass::VIF,
        Class::Vbd => NoxsClass::VBD,
    };
    Name::new(device.domain, class, device.number)
}

/// A value that the kernel takes: without NUL, and not too long.
fn fitting(value: &str) -> String {
    let mut value = value.replace('\0', "?");
    if value.len() > VALUE_MAX {
        let end = (0..=VALUE_MAX - 3).rev().find(|&end| value.is_char_boundary(end)).unwrap_or(0);
        value.truncate(end);
        value.push_str("...");
    }
    value
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "noxs_tests.rs"]
mod tests;
