//! NoXS devices whose guests are gone: the kernel keeps them, with all that belongs to them, until
//! somebody removes them. Whoever destroys a guest does, unless it is killed, or knows nothing of
//! NoXS. The kernel's node also tells when a domain ends, of whatever plane.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use h2::error::OpenError;
use h2::noxs_backend::Backend;
use h2::{DomId, DomainState, Error, Hypervisor};

use crate::xenstore::chain;

/// Who destroys a guest has this long to remove its devices.
const GRACE: Duration = Duration::from_secs(2);

/// How often it is looked for them.
pub(super) const LOOK: Duration = Duration::from_secs(1);

/// What is known of devices that are left.
#[derive(Debug)]
pub(super) struct Left {
    backend: Option<Backend>,
    /// It tells of domains that end.
    tells: bool,
    looked: Option<Instant>,
    /// Guests that are gone and have devices, and since when that is known.
    suspects: Suspects,
}

impl Left {
    /// Opens the kernel's node, if this kernel has one.
    pub(super) fn open() -> Result<Self, OpenError> {
        let backend = Backend::open()?;
        let tells = match backend.as_ref().map_or(Ok(false), Backend::watch_ends) {
            Ok(tells) => tells,
            Err(error) => {
                log::warn!("the kernel does not tell of domains that end: {}", chain(&error));
                false
            }
        };
        Ok(Self { backend, tells, looked: None, suspects: Suspects::default() })
    }

    /// Whether the kernel tells of every domain that ends.
    pub(super) fn tells(&self) -> bool {
        self.tells
    }

    /// What to poll for its news.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.backend.as_ref().filter(|_| self.tells).map(AsFd::as_fd)
    }

    /// Takes the news that have come. Whether there were some.
    pub(super) fn take_news(&mut self) -> bool {
        let Some(backend) = self.backend.as_ref().filter(|_| self.tells) else { return false };
        match backend.news() {
            Ok(news) => news.domain_ended,
            Err(error) => {
                log::warn!("the kernel tells no more of domains that end: {}", chain(&error));
                self.tells = false;
                false
            }
        }
    }

    /// Whether there is somebody whose time is not up.
    pub(super) fn has_suspects(&self) -> bool {
        !self.suspects.0.is_empty()
    }

    /// Whether there can be NoXS guests.
    pub(super) fn can_be(&self) -> bool {
        self.backend.is_some()
    }

    /// Removes the devices of guests that have been gone for a while.
    pub(super) fn remove(&mut self, hypervisor: &Hypervisor, now: Instant) {
        let Some(backend) =
            self.backend.as_ref().filter(|_| self.looked.is_none_or(|at| now >= at + LOOK))
        else {
            return;
        };
        self.looked = Some(now);
        if let Err(error) = remove(backend, hypervisor, &mut self.suspects, now) {
            log::warn!("devices that guests have left cannot be removed: {}", chain(&error));
        }
    }
}

fn remove(
    backend: &Backend,
    hypervisor: &Hypervisor,
    suspects: &mut Suspects,
    now: Instant,
) -> Result<(), Error> {
    let devices = backend.list(None)?;
    let owners: BTreeSet<DomId> = devices.iter().map(|device| device.name.domain).collect();
    if owners.is_empty() {
        suspects.0.clear();
        return Ok(());
    }
    // After the devices: the guest of one that was just made is among these. A guest whose devices
    // are still there is dying until they go, whoever destroyed it.
    let living = hypervisor.domains()?;
    let living: BTreeSet<DomId> =
        living.iter().filter(|info| info.state != DomainState::Dying).map(|info| info.id).collect();
    let gone = suspects.confirmed(&owners, &living, now);
    for device in devices.iter().filter(|device| gone.contains(&device.name.domain)) {
        log::info!(
            "the NoXS device {} was left over from a guest that is gone, and is removed",
            device.name
        );
        // Without a wait: its driver may take its time.
        backend.destroy(device.name, Duration::ZERO, true)?;
    }
    Ok(())
}

#[derive(Debug, Default)]
struct Suspects(Vec<(DomId, Instant)>);

impl Suspects {
    /// Those of `owners` that have not been `living` for a while.
    fn confirmed(
        &mut self,
        owners: &BTreeSet<DomId>,
        living: &BTreeSet<DomId>,
        now: Instant,
    ) -> BTreeSet<DomId> {
        let since = |domain: &DomId| {
            self.0.iter().find(|(known, _)| known == domain).map_or(now, |(_, since)| *since)
        };
        self.0 = owners.difference(living).map(|domain| (*domain, since(domain))).collect();
        self.0
            .iter()
            .filter(|(_, since)| now >= *since + GRACE)
            .map(|(domain, _)| *domain)
            .collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn domains(numbers: &[u16]) -> BTreeSet<DomId> {
        numbers.iter().map(|number| DomId::new(*number).unwrap()).collect()
    }

    #[test]
    fn only_guests_that_stay_gone_lose_their_devices() {
        let (mut suspects, start) = (Suspects::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(
            suspects.confirmed(&domains(&[5, 6, 7]), &domains(&[0, 5, 6]), at(0)),
            domains(&[])
        );
        assert_eq!(
            suspects.confirmed(&domains(&[5, 6, 7]), &domains(&[0, 6]), at(1)),
            domains(&[])
        );
        assert_eq!(
            suspects.confirmed(&domains(&[5, 6, 7]), &domains(&[0, 6]), at(2)),
            domains(&[7])
        );
        // One whose number a new guest has is nobody's suspect any more.
        assert_eq!(
            suspects.confirmed(&domains(&[5, 6]), &domains(&[0, 5, 6]), at(3)),
            domains(&[])
        );
        assert_eq!(suspects.confirmed(&domains(&[5, 6]), &domains(&[0, 6]), at(4)), domains(&[]));
        assert_eq!(suspects.confirmed(&domains(&[5]), &domains(&[0]), at(6)), domains(&[5]));
    }
}
