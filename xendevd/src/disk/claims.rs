//! Who has which disk: a writable one belongs to one device, one that is read to as many as like.

use std::collections::HashMap;

use super::target::Identity;
use crate::device::DeviceId;
use crate::nodes::Mode;

/// The disks that are in use.
#[derive(Debug, Default)]
pub struct Claims {
    by_identity: HashMap<Identity, Vec<(DeviceId, Mode)>>,
}

/// A device that has the disk already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conflict {
    /// The device.
    pub holder: DeviceId,
    /// What it does with the disk.
    pub mode: Mode,
}

impl Claims {
    /// Who stands against `device` having the disk in this way.
    #[must_use]
    pub fn conflict(&self, identity: Identity, device: DeviceId, mode: Mode) -> Option<Conflict> {
        let others = self
            .by_identity
            .get(&identity)
            .into_iter()
            .flatten()
            .filter(|(holder, _)| *holder != device);
        others
            .copied()
            .find(|(_, held)| match mode {
                Mode::Read => *held == Mode::Write,
                Mode::Write => true,
                // Wanted in as many words.
                Mode::Shared => false,
            })
            .map(|(holder, mode)| Conflict { holder, mode })
    }

    /// Notes that a device has a disk. Whoever calls this has asked [`conflict`](Self::conflict),
    /// or has found it so.
    pub fn take(&mut self, identity: Identity, device: DeviceId, mode: Mode) {
        self.release(device);
        self.by_identity.entry(identity).or_default().push((device, mode));
    }

    /// Forgets what a device has.
    pub fn release(&mut self, device: DeviceId) {
        self.by_identity.retain(|_, holders| {
            holders.retain(|(holder, _)| *holder != device);
            !holders.is_empty()
        });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::nodes::DeviceNumbers;

    #[test]
    fn who_may_share_with_whom() {
        let disk = Identity::Block(DeviceNumbers { major: 254, minor: 16 });
        let [first, second] =
            ["vbd-5-51712", "vbd-6-51712"].map(|name| DeviceId::from_sysname(name).unwrap());
        let allowed = [
            (Mode::Read, Mode::Read, true),
            (Mode::Read, Mode::Write, false),
            (Mode::Write, Mode::Read, false),
            (Mode::Write, Mode::Write, false),
            (Mode::Shared, Mode::Shared, true),
            (Mode::Shared, Mode::Read, true),
            (Mode::Shared, Mode::Write, false),
            (Mode::Write, Mode::Shared, true),
        ];
        for (held, wanted, fine) in allowed {
            let mut claims = Claims::default();
            claims.take(disk, first, held);
            assert_eq!(
                claims.conflict(disk, second, wanted).is_none(),
                fine,
                "{held} and then {wanted}"
            );
            assert_eq!(claims.conflict(disk, first, wanted), None, "nobody stands against himself");
            claims.release(first);
            assert_eq!(claims.conflict(disk, second, wanted), None);
        }
    }
}
