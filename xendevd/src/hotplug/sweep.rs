//! A sweep: the picture of the devices is made to agree with the kernel, Xenstore, NoXS, and the
//! loop devices that exist.
//!
//! First a worker lists the loop devices, since one of them may hang; then each device is looked
//! at. Until the first sweep is done, new disks wait: only then is it known who has which file.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use h2::DomId;

use super::Hotplug;
use super::disk::{Done, Phase};
use crate::device::{Class, DeviceId};
use crate::disk::{Found, Identity, LOOP_MAJOR, release_left_over, scan};
use crate::nodes::{DeviceNumbers, Mode};
use crate::workers::Ticket;

/// How long the list of loop devices may take; without it the disks of guests that run already are
/// known by their nodes alone.
const SCAN_LIMIT: Duration = Duration::from_secs(5);

/// How long until what did not go well is looked at again.
const LATER: Duration = Duration::from_secs(1);

/// What is known of the sweeps.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    wanted: bool,
    /// When one is wanted that is not wanted yet.
    later: Option<Instant>,
    retry_failed: bool,
    first_done: bool,
    scan: Option<(Ticket, Instant)>,
}

impl Sweep {
    pub(super) fn is_scan(&self, ticket: Ticket) -> bool {
        self.scan.is_some_and(|(scan, _)| scan == ticket)
    }

    pub(super) fn is_first_done(&self) -> bool {
        self.first_done
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.wanted || self.later.is_some() || self.scan.is_some()
    }

    fn end(&self) -> Option<Instant> {
        self.scan.map(|(_, end)| end)
    }

    /// When there is something to do for it.
    pub(super) fn due(&self) -> Option<Instant> {
        [self.end(), self.later].into_iter().flatten().min()
    }

    pub(super) fn want(&mut self, retry_failed: bool) {
        self.wanted = true;
        self.retry_failed |= retry_failed;
    }

    pub(super) fn want_later(&mut self, now: Instant) {
        self.later.get_or_insert(now + LATER);
    }
}

impl Hotplug {
    /// Has everything looked at anew. Devices that have failed are tried again if `retry_failed`.
    pub fn want_sweep(&mut self, retry_failed: bool) {
        self.sweep.want(retry_failed);
    }

    pub(super) fn advance_sweep(&mut self, now: Instant) {
        if self.sweep.end().is_some_and(|end| now >= end) {
            log::error!(
                "the list of loop devices takes longer than {} s: one of them hangs",
                SCAN_LIMIT.as_secs()
            );
            self.swept(&[]);
        }
        self.sweep.wanted |= self.sweep.later.take_if(|at| *at <= now).is_some();
        if self.sweep.wanted && self.sweep.scan.is_none() {
            self.sweep.wanted = false;
            self.planes.noxs.open();
            let ticket = self.workers.submit(DomId::DOM0, || Done::Scanned(scan()));
            self.sweep.scan = Some((ticket, now + SCAN_LIMIT));
        }
    }

    /// The loop devices are known.
    pub(super) fn swept(&mut self, found: &[Found]) {
        self.sweep.scan = None;
        self.sweep.first_done = true;
        self.counters.sweeps += 1;
        self.reach.begin_anew();
        let present = match self.bus.devices() {
            Ok(present) => present,
            Err(error) => {
                return log::error!("the devices of xen-backend cannot be listed: {error}");
            }
        };
        let known: Vec<DeviceId> =
            self.disks.keys().chain(self.interfaces.keys()).copied().collect();
        for device in known.into_iter().filter(|device| !present.contains(device)) {
            self.removed(device);
        }
        if std::mem::take(&mut self.sweep.retry_failed) {
            self.forget_failed();
        }
        let new =
            present.iter().filter(|device| device.class == Class::Vbd && self.is_new(**device));
        for device in new.copied().collect::<Vec<_>>() {
            self.claim_found(device, found);
        }
        let mut ours: BTreeMap<DeviceId, Vec<u32>> = BTreeMap::new();
        for loop_device in found {
            let Some(owner) = loop_device.owner else { continue };
            if !present.contains(&owner) && !loop_device.sealed {
                self.release_left_over(loop_device.number, owner);
            } else {
                ours.entry(owner).or_default().push(loop_device.number);
            }
        }
        for device in present {
            match device.class {
                Class::Vif if !self.interfaces.contains_key(&device) => {
                    self.learn_interface(device)
                }
                Class::Vbd if self.is_new(device) => {
                    self.start_disk(device, ours.get(&device).map_or(&[], Vec::as_slice));
                }
                _ => {}
            }
        }
    }

    fn is_new(&self, device: DeviceId) -> bool {
        self.disks.get(&device).is_none_or(|disk| matches!(disk.phase, Phase::Waiting))
    }

    /// What a disk has had from an earlier daemon, or from another program, is nobody else's from
    /// now on, even though a worker or xenstored has yet to tell more.
    fn claim_found(&mut self, device: DeviceId, found: &[Found]) {
        let opened = self.bus.opened(device);
        let is_its = |found: &&Found| {
            let numbers = DeviceNumbers { major: LOOP_MAJOR, minor: found.number };
            found.owner == Some(device) || opened == Some(numbers)
        };
        match (found.iter().find(is_its), opened) {
            (Some(found), _) => {
                let mode = if found.read_only { Mode::Read } else { Mode::Write };
                self.claims.take(Identity::from(found), device, mode);
            }
            (None, Some(numbers)) if numbers.major != LOOP_MAJOR => {
                let mode = if self.bus.is_read_only(device) { Mode::Read } else { Mode::Write };
                self.claims.take(Identity::Block(numbers), device, mode);
            }
            _ => {}
        }
    }

    /// Devices that have failed get another chance, so their answers are taken back.
    fn forget_failed(&mut self) {
        let disks =
            self.disks.iter().filter(|(_, disk)| disk.failure.is_some()).map(|(device, _)| *device);
        let interfaces = self
            .interfaces
            .iter()
            .filter(|(_, found)| found.failure.is_some())
            .map(|(device, _)| *device);
        for device in disks.chain(interfaces).collect::<Vec<_>>() {
            match self.planes.answer(device, &[("hotplug-error", None), ("hotplug-status", None)]) {
                Ok(_) => {
                    self.forget_disk(device);
                    self.interfaces.remove(&device);
                }
                Err(error) => self.abandon(device, &error),
            }
        }
    }

    /// Releases a loop device that carries the mark of a device that does not have it.
    pub(super) fn release_left_over(&mut self, number: u32, owner: DeviceId) {
        log::info!("/dev/loop{number} was left over from {owner} and is released");
        self.workers.submit(owner.domain, move || {
            if let Err(error) = release_left_over(number, owner) {
                log::warn!("/dev/loop{number} cannot be released: {error}");
            }
            Done::Undone
        });
    }
}
