//! The devices of guests on the NoXS plane, made and removed.
//!
//! ```text
//!   make:    the kernel makes the backend's end and a control page --> grant, port --> the hypervisor puts it into the device page
//!   remove:  the kernel closes its end, and forgets it --> the hypervisor takes it out of the device page, unless the guest goes, too
//! ```
//!
//! What the kernel lists for a guest is what there is: whoever undoes a guest asks it, and needs no
//! record. So a builder may die at any point.

use std::time::{Duration, Instant};

use noxs::device::Class;
use noxs::device_page::SLOTS;

use super::keys;
use crate::device::{DeviceClass, DeviceError, DeviceId, NewDevice};
use crate::error::{CallError, CreateError, OpenError};
use crate::id::DomId;
use crate::inner::Inner;
use crate::noxs_backend::{Backend, Keys, Name, NoxsError};
use crate::random_seed::RandomSeed;
use crate::seam::NoxsDevice;
use crate::store::nodes::GuestNodes;

/// How long the backends of a guest that is being destroyed may take, all together.
const LIMIT: Duration = Duration::from_secs(2);

/// The NoXS plane of this host.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Noxs<'a> {
    pub(super) inner: &'a Inner,
    pub(super) backend: &'a Backend,
}

/// The kernel's name for a device.
pub(super) fn name_of(guest: DomId, device: DeviceId) -> Name {
    let class = match device.class {
        DeviceClass::Vif => Class::VIF,
        DeviceClass::Vbd => Class::VBD,
    };
    Name::new(guest, class, device.number)
}

/// The device that the kernel calls so, if it is an interface or a disk.
pub(super) fn device_of(name: Name) -> Option<DeviceId> {
    let class =
        DeviceClass::ALL.iter().copied().find(|class| class.as_str() == name.class.as_str())?;
    Some(DeviceId { class, number: name.id })
}

pub(super) fn sysctl(guest: DomId) -> Name {
    Name::new(guest, Class::SYSCTL, 0)
}

impl<'a> Noxs<'a> {
    /// The plane, if this kernel has it.
    pub(crate) fn open(inner: &'a Inner) -> Result<Self, OpenError> {
        let backend = inner.noxs_backend()?.ok_or(OpenError::NoNoxsKernel)?;
        Ok(Self { inner, backend })
    }

    /// Refuses what cannot be, before anything is made.
    pub(crate) fn check<E>(&self, devices: &[NewDevice]) -> Result<(), E>
    where
        E: From<OpenError> + From<CallError> + From<DeviceError>,
    {
        if !self.inner.hypervisor_has_noxs()? {
            return Err(no_noxs(self.inner).into());
        }
        let unusable = |device: &NewDevice, problem: &str| DeviceError::Unusable {
            device: device.id,
            problem: problem.to_owned(),
        };
        if let Some(device) = devices.iter().find(|device| !device.config.backend().is_dom0()) {
            return Err(unusable(device, "on the NoXS plane backends are in domain 0 alone").into());
        }
        // One slot is sysctl's.
        match devices.get(SLOTS - 1) {
            Some(device) => Err(too_many(device.id).into()),
            None => Ok(()),
        }
    }

    /// Makes all devices of a new guest, sysctl first.
    pub(crate) fn make_all(
        &self,
        guest: &GuestNodes<'_>,
        seed: &RandomSeed,
        devices: &[NewDevice],
    ) -> Result<(), CreateError> {
        let name = sysctl(guest.domain);
        let keys = keys::sysctl(guest, seed);
        match self.make::<CreateError>(name, &keys, &Keys::new()) {
            // Of an earlier domain of that id, which somebody has destroyed and not its devices.
            // This one has none yet.
            Err(CreateError::Noxs(error)) if error.is(libc::EEXIST) => {
                log::warn!("the kernel has devices of an earlier domain {}; they go", guest.domain);
                self.remove_all(guest.domain)?;
                self.make::<CreateError>(name, &keys, &Keys::new())?;
            }
            result => result?,
        }
        devices.iter().try_for_each(|device| self.make_device(guest.domain, device))
    }

    /// Makes one device.
    pub(super) fn make_device<E>(&self, guest: DomId, device: &NewDevice) -> Result<(), E>
    where
        E: From<NoxsError> + From<CallError> + From<OpenError> + From<DeviceError>,
    {
        let (page, private) = keys::of_device(device);
        self.make(name_of(guest, device.id), &page, &private)
    }

    fn make<E>(&self, name: Name, keys: &Keys, private: &Keys) -> Result<(), E>
    where
        E: From<NoxsError> + From<CallError> + From<OpenError> + From<DeviceError>,
    {
        let (grant, port) = self.backend.create(name, keys, private)?;
        let device =
            NoxsDevice { class: name.class, id: name.id, backend: DomId::DOM0, grant, port };
        match self.inner.calls.noxs_add(name.domain, &device) {
            Err(error) if error.is(libc::ENOSYS) || error.is(libc::EOPNOTSUPP) => {
                Err(no_noxs(self.inner).into())
            }
            Err(error) if error.is(libc::ENOSPC) => match device_of(name) {
                Some(device) => Err(too_many(device).into()),
                None => Err(error.into()),
            },
            result => Ok(result?),
        }
    }

    /// Removes all devices of a guest that does not run, whoever made them, without asking it. Its
    /// device page goes with its domain.
    pub(crate) fn remove_all(&self, guest: DomId) -> Result<(), NoxsError> {
        let devices = self.backend.list(Some(guest))?;
        // All of them first, so that their drivers let go side by side.
        for device in &devices {
            self.backend.destroy(device.name, Duration::ZERO, true)?;
        }
        self.wait_until_gone(devices.iter().map(|device| device.name))
    }

    /// Removes one device of a guest that goes on, without asking it. The page is left to the
    /// caller.
    pub(super) fn force(&self, name: Name) -> Result<(), NoxsError> {
        self.backend.destroy(name, Duration::ZERO, true)?;
        self.wait_until_gone([name])
    }

    /// Waits for devices that are on their way out. They go in any case.
    fn wait_until_gone(&self, names: impl IntoIterator<Item = Name>) -> Result<(), NoxsError> {
        let end = Instant::now() + LIMIT;
        for name in names {
            let left = end.saturating_duration_since(Instant::now());
            // A second call does no more than wait.
            if self.backend.destroy(name, left, true)? && Instant::now() >= end {
                log::warn!(
                    "NoXS device {name} has not closed within {} s; it goes when its driver lets \
                     go",
                    LIMIT.as_secs_f32()
                );
            }
        }
        Ok(())
    }
}

/// The device page is full.
fn too_many(device: DeviceId) -> DeviceError {
    DeviceError::Unusable { device, problem: "a guest has 125 devices at most".to_owned() }
}

fn no_noxs(inner: &Inner) -> OpenError {
    OpenError::NoNoxsHypervisor { hypervisor: inner.host.hypervisor_version.clone() }
}
