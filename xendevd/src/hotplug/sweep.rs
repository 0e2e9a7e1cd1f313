//! A sweep: the picture of the devices is made to agree with the kernel, Xenstore, and the loop devices that exist.
//!
//! First a worker lists the loop devices, since one of them may hang; then each device is looked at. Until the first sweep is done, new disks wait:
//! only then is it known who has which file.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use h2::DomId;

use super::Hotplug;
use super::disk::{Done, Phase};
use crate::device::{Class, DeviceId};
use crate::disk::{Found, release_left_over, scan};
use crate::workers::Ticket;

/// How long the list of loop devices may take; without it the disks of guests that run already are known by their nodes alone.
const SCAN_LIMIT: Duration = Duration::from_secs(5);

/// What is known of the sweeps.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    wanted: bool,
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
        self.wanted || self.scan.is_some()
    }

    pub(super) fn end(&self) -> Option<Instant> {
        self.scan.map(|(_, end)| end)
    }
}

impl Hotplug {
    /// Has everything looked at anew, as soon as xenstored is there. Devices that have failed are tried again if `retry_failed`.
    pub fn want_sweep(&mut self, retry_failed: bool) {
        self.sweep.wanted = true;
        self.sweep.retry_failed |= retry_failed;
    }

    pub(super) fn advance_sweep(&mut self, now: Instant) {
        if self.sweep.end().is_some_and(|end| now >= end) {
            log::error!("the list of loop devices takes longer than {} s: one of them hangs", SCAN_LIMIT.as_secs());
            self.swept(&[]);
        }
        if self.sweep.wanted && self.sweep.scan.is_none() && self.is_connected() {
            self.sweep.wanted = false;
            let ticket = self.workers.submit(DomId::DOM0, || Done::Scanned(scan()));
            self.sweep.scan = Some((ticket, now + SCAN_LIMIT));
        }
    }

    /// The loop devices are known.
    pub(super) fn swept(&mut self, found: &[Found]) {
        self.sweep.scan = None;
        self.sweep.first_done = true;
        self.counters.sweeps += 1;
        let present = match self.bus.devices() {
            Ok(present) => present,
            Err(error) => return log::error!("the devices of xen-backend cannot be listed: {error}"),
        };
        let known: Vec<DeviceId> = self.disks.keys().chain(self.interfaces.keys()).copied().collect();
        for device in known.into_iter().filter(|device| !present.contains(device)) {
            self.removed(device);
        }
        if std::mem::take(&mut self.sweep.retry_failed) {
            self.forget_failed();
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
                Class::Vif if !self.interfaces.contains_key(&device) => self.learn_interface(device),
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

    /// Devices that have failed get another chance, so their answers are taken back.
    fn forget_failed(&mut self) {
        let disks = self.disks.iter().filter(|(_, disk)| disk.failure.is_some()).map(|(device, _)| *device);
        let interfaces = self.interfaces.iter().filter(|(_, found)| found.failure.is_some()).map(|(device, _)| *device);
        for device in disks.chain(interfaces).collect::<Vec<_>>() {
            match self.xenstore.answer(device, &[("hotplug-error", None), ("hotplug-status", None)]) {
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
