//! All that there is of a guest's devices on the NoXS plane, for people: the device page as the
//! hypervisor has it, and of each control page what the kernel has published and taken from it,
//! without secrets.

use serde::Serialize;

use super::Control;
use super::noxs::Noxs;
use crate::device::DeviceState;
use crate::domain::Domain;
use crate::error::Error;
use crate::id::{DomId, GrantRef, Port};
use crate::noxs_backend::{Keys, Name, Which};
use crate::seam::NoxsSlot;

/// A guest's device page and control pages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NoxsDump {
    /// The guest.
    pub domain: DomId,
    /// The device page's count of changes.
    pub generation: u32,
    /// The devices: those of the page in the order of their slots, then those that only the kernel
    /// has.
    pub devices: Vec<NoxsDumpDevice>,
}

/// One device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NoxsDumpDevice {
    /// Its slot in the device page; `None` if it is not in the page.
    pub slot: Option<u32>,
    /// The slot's count of changes.
    pub sequence: Option<u32>,
    /// What it is.
    pub class: String,
    /// Which of its class.
    pub id: u32,
    /// The domain that serves it.
    pub backend_domain: DomId,
    /// The control page, in that domain's grant table.
    pub grant: GrantRef,
    /// That domain's port for the guest.
    pub port: Port,
    /// The backend's end; `None` if the kernel has no such device.
    pub backend: Option<NoxsDumpEnd>,
    /// The guest's end, as the backend last acted on it.
    pub frontend: Option<NoxsDumpEnd>,
    /// The keys of the host alone.
    pub private: Option<Keys>,
}

/// One end of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NoxsDumpEnd {
    /// Its state.
    pub state: DeviceState,
    /// Its count of changes.
    pub generation: u32,
    /// Its keys.
    pub keys: Keys,
}

impl Domain {
    /// What is in the guest's device page and control pages.
    ///
    /// # Errors
    /// [`Error::WrongState`] for a guest with Xenstore, [`Error::NoSuchDomain`] if it is gone,
    /// [`Error::Call`] or [`Error::Noxs`] if hypervisor or kernel refuse.
    pub fn noxs_dump(&self) -> Result<NoxsDump, Error> {
        match self.control()? {
            Control::Noxs(noxs) => noxs.dump(self.id()),
            Control::Xenstore(_) => Err(Error::WrongState(format!(
                "domain {} has Xenstore, and no device page; see xenstore-ls",
                self.id()
            ))),
        }
    }
}

impl Noxs<'_> {
    fn dump(&self, guest: DomId) -> Result<NoxsDump, Error> {
        let page = match self.inner.calls.noxs_page(guest) {
            // There is no page before the first device.
            Err(error) if error.is(libc::ENOENT) => crate::seam::NoxsPage::default(),
            page => page?,
        };
        let mut devices = Vec::new();
        for slot in &page.slots {
            devices.push(
                self.dump_device(Name::new(guest, slot.device.class, slot.device.id), Some(slot))?,
            );
        }
        for listed in self.backend.list(Some(guest))? {
            let same = |slot: &NoxsSlot| {
                slot.device.class == listed.name.class && slot.device.id == listed.name.id
            };
            if !page.slots.iter().any(same) {
                devices.push(self.dump_device(listed.name, None)?);
            }
        }
        Ok(NoxsDump { domain: guest, generation: page.generation, devices })
    }

    fn dump_device(&self, name: Name, slot: Option<&NoxsSlot>) -> Result<NoxsDumpDevice, Error> {
        let [ours, theirs, private] = [Which::Backend, Which::Frontend, Which::Private]
            .map(|which| self.backend.read(name, which));
        let (ours, theirs, private) = (ours?, theirs?, private?);
        let in_page = slot.map(|slot| (slot.device.grant, slot.device.port));
        let in_kernel = ours.as_ref().map(|reading| (reading.grant, reading.port));
        let (grant, port) = in_page.or(in_kernel).unwrap_or((GrantRef::new(0), Port::new(0)));
        Ok(NoxsDumpDevice {
            slot: slot.map(|slot| slot.slot),
            sequence: slot.map(|slot| slot.sequence),
            class: name.class.as_str().to_owned(),
            id: name.id,
            backend_domain: slot.map_or(DomId::DOM0, |slot| slot.device.backend),
            grant,
            port,
            backend: ours.map(|reading| NoxsDumpEnd {
                state: reading.backend_state,
                generation: reading.backend_generation,
                keys: reading.keys.without_secrets(),
            }),
            frontend: theirs.map(|reading| NoxsDumpEnd {
                state: reading.frontend_state,
                generation: reading.frontend_generation,
                keys: reading.keys.without_secrets(),
            }),
            private: private.map(|reading| reading.keys.without_secrets()),
        })
    }
}
