//! Disks come and go.

use std::path::Path;
use std::time::{Duration, Instant};

use super::Hotplug;
use super::disk::{Disk, Done, MANY_LOOKS, Phase};
use crate::device::DeviceId;
use crate::disk::{Attachment, Identity, Refusal, Target, look};
use crate::nodes::{DeviceNumbers, NodeError, VbdNodes};
use crate::plane::PlaneError;
use crate::script::Action;
use crate::xenstore::chain;

/// How long until a disk whose holder is leaving is tried again.
const AGAIN: Duration = Duration::from_millis(100);

/// How long until the first look whether blkback has opened a disk; then twice as long each time,
/// up to the last.
const FIRST_LOOK: Duration = Duration::from_millis(5);
const LAST_LOOK: Duration = Duration::from_secs(5);

/// What a disk's directory says, and how far others have come with it.
type Nodes = (Result<VbdNodes, NodeError>, Option<String>);

impl Hotplug {
    pub(super) fn disk_added(&mut self, device: DeviceId) {
        if let Some(disk) = self.disks.get(&device) {
            // The sweep was faster than the uevent, unless there is a new device behind a removal
            // that was lost.
            let under_way = !disk.is_settled();
            if under_way || matches!(self.planes.hotplug_status(device), Ok(Some(_))) {
                return;
            }
            self.forget_disk(device);
        }
        if self.sweep.is_first_done() {
            self.start_disk(device, &[]);
        } else {
            self.note(device);
        }
    }

    /// Notes a disk about which nothing is known yet.
    pub(super) fn note(&mut self, device: DeviceId) -> &mut Disk {
        let deadline = Instant::now() + self.config.disk_timeout;
        self.disks.entry(device).or_insert_with(|| Disk::new(deadline))
    }

    /// Begins with a disk that is on the bus. `ours` are the loop devices that carry its mark.
    pub(super) fn start_disk(&mut self, device: DeviceId, ours: &[u32]) {
        let read = |this: &mut Self| -> Result<Option<Nodes>, PlaneError> {
            let mut nodes = this.planes.nodes(device)?;
            let status = nodes.hotplug_status()?;
            // What another program has connected is none of our work, but its file is in use.
            let others = status.as_deref() != Some("connected") && nodes.is_others()?;
            if others || !nodes.is_there()? {
                return Ok(None);
            }
            let nodes = VbdNodes::read(device, |node| nodes.get(node))?;
            Ok(Some((nodes, status)))
        };
        let (nodes, status) = match read(self) {
            Ok(Some(found)) => found,
            Ok(None) => return self.forget_disk(device),
            Err(error) => return self.abandon(device, &error),
        };
        self.note(device);
        let nodes = match nodes {
            Ok(nodes) => nodes,
            Err(error) => return self.fail(device, &error.to_string()),
        };
        for &number in ours.iter().filter(|number| nodes.loop_device != Some(**number)) {
            self.release_left_over(number, device);
        }
        let disk = self.note(device);
        disk.target.clone_from(&nodes.target);
        disk.mode = nodes.mode;
        disk.script.clone_from(&nodes.script);
        match status.as_deref() {
            Some("error") => {
                let said = self.planes.hotplug_error(device);
                self.disk_failed(device, &said);
            }
            status => self.begin(device, nodes, status == Some("connected")),
        }
    }

    fn begin(&mut self, device: DeviceId, nodes: VbdNodes, connected: bool) {
        if let Some(script) = nodes.script {
            if connected {
                return self.served(device);
            }
            if self.planes.is_noxs(device) {
                let text = format!(
                    "{device}: a disk without Xenstore has no script, and {} is one",
                    script.display()
                );
                return self.fail(device, &text);
            }
            return match self.scripts.start(
                &script,
                device,
                Action::Start,
                &[],
                &self.config.scripts(),
            ) {
                Ok(()) => self.enter(device, Phase::Script),
                Err(error) => self.fail(device, &format!("{device}: {}", chain(&error))),
            };
        }
        if let Some(number) = nodes.loop_device {
            self.enter(device, Phase::Learning { connected });
            return self.submit(device, move || Done::Adopted(Attachment::adopt(number, device)));
        }
        match nodes.physical.filter(|_| connected) {
            Some(numbers) => {
                self.claims.take(Identity::Block(numbers), device, nodes.mode);
                self.served(device);
            }
            None if connected => self.served(device),
            None => self.probe(device),
        }
    }

    fn probe(&mut self, device: DeviceId) {
        let Some(disk) = self.disks.get(&device) else { return };
        let (path, mode) = (disk.target.clone(), disk.mode);
        self.enter(device, Phase::Probing);
        self.submit(device, move || Done::Probed(Target::probe(&path, mode)));
    }

    /// Has a worker do something for a disk; if it has no answer until the disk's deadline, the
    /// disk has failed.
    fn submit(&mut self, device: DeviceId, work: impl FnOnce() -> Done + Send + 'static) {
        let ticket = self.workers.submit(device.domain, work);
        self.tickets.insert(ticket, device);
        if let Some(disk) = self.disks.get(&device) {
            let deadline = disk.deadline.max(Instant::now());
            self.look_again(device, deadline);
        }
    }

    fn enter(&mut self, device: DeviceId, phase: Phase) {
        if let Some(disk) = self.disks.get_mut(&device) {
            disk.phase = phase;
        }
    }

    fn look_again(&mut self, device: DeviceId, due: Instant) {
        if let Some(disk) = self.disks.get_mut(&device) {
            if let Some(old) = disk.due.replace(due) {
                self.timers.remove(&(old, device));
            }
            self.timers.insert((due, device));
        }
    }

    /// A worker has finished something for a disk.
    pub(super) fn disk_done(&mut self, device: DeviceId, done: Done) {
        match done {
            Done::Probed(Ok(target)) => self.contend(device, target),
            Done::Probed(Err(refusal)) | Done::Attached(Err(refusal)) => {
                self.refuse(device, &refusal)
            }
            Done::Attached(Ok(attachment)) => {
                self.attached(device, attachment.numbers(), Some(attachment))
            }
            Done::Adopted(result) => self.adopted(device, result),
            Done::Looked(result) => {
                if let (Ok(Some(found)), Some(disk)) = (result, self.disks.get(&device)) {
                    self.claims.take(Identity::from(&found), device, disk.mode);
                }
                self.served(device);
            }
            Done::Sealed(result) => {
                if let Err(error) = result {
                    log::warn!("{device}: its loop device does not go by itself: {error}");
                }
                self.served(device);
            }
            Done::Scanned(_) | Done::Reached(_) | Done::Undone => {}
        }
    }

    /// Takes the disk unless somebody else has it.
    fn contend(&mut self, device: DeviceId, target: Target) {
        let (identity, mode) = (target.identity(), target.mode());
        while let Some(conflict) = self.claims.conflict(identity, device, mode) {
            let holder = conflict.holder;
            if !self.bus.has(holder) {
                // Its uevent is still to come.
                self.disk_removed(holder);
                self.claims.release(holder);
                continue;
            }
            if self.planes.is_leaving(holder) {
                self.enter(device, Phase::Contended(target));
                return self.look_again(device, Instant::now() + AGAIN);
            }
            let (guest, other) =
                (self.planes.guest(device.domain), self.planes.guest(holder.domain));
            let text = format!(
                "vbd {} of {guest}: {} cannot be attached {mode}: vbd {} of {other} has it {}",
                device.number,
                target.path().display(),
                holder.number,
                conflict.mode,
            );
            return self.fail(device, &text);
        }
        self.claims.take(identity, device, mode);
        match identity {
            Identity::Block(numbers) => {
                drop(target);
                self.attached(device, numbers, None);
            }
            Identity::File(_) => {
                self.enter(device, Phase::Attaching);
                let direct_io = self.config.direct_io;
                self.submit(device, move || {
                    Done::Attached(Attachment::make(&target, device, direct_io))
                });
            }
        }
    }

    /// A block device is there for the disk: tells blkback and the toolstack.
    fn attached(
        &mut self,
        device: DeviceId,
        numbers: DeviceNumbers,
        attachment: Option<Attachment>,
    ) {
        let Some(disk) = self.disks.get_mut(&device) else { return self.undo(device, attachment) };
        let path = attachment.as_ref().map_or_else(|| disk.target.clone(), Attachment::path);
        let path = path.to_string_lossy().into_owned();
        disk.loop_device = attachment.as_ref().map(Attachment::number);
        let nodes = [
            ("node", disk.loop_device.map(|_| path.clone())),
            ("physical-device-path", Some(path)),
            ("physical-device", Some(numbers.to_string())),
            ("hotplug-error", None),
            ("hotplug-status", Some("connected".to_owned())),
        ];
        match self.planes.answer(device, &nodes) {
            Ok(true) => {
                log::info!("{device}: connected to {numbers}");
                self.counters.disks += 1;
                self.enter(device, Phase::Opening { attachment, looks: 0 });
                self.look_again(device, Instant::now() + FIRST_LOOK);
            }
            Ok(false) => {
                self.undo(device, attachment);
                self.forget_disk(device);
            }
            Err(error) => {
                self.undo(device, attachment);
                self.abandon(device, &error);
            }
        }
    }

    /// What an earlier daemon made is known now.
    fn adopted(
        &mut self,
        device: DeviceId,
        result: std::io::Result<Option<(Attachment, loopctl::Backing)>>,
    ) {
        let Some(disk) = self.disks.get(&device) else { return };
        let (mode, loop_device) = (disk.mode, disk.loop_device);
        let Phase::Learning { connected } = disk.phase else { return };
        match result {
            Ok(Some((attachment, backing))) => {
                let identity = Identity::File(backing);
                if !connected && self.claims.conflict(identity, device, mode).is_some() {
                    // Whoever had it in the meantime keeps it; the way from the start names both.
                    self.undo(device, Some(attachment));
                    return self.probe(device);
                }
                self.claims.take(identity, device, mode);
                if !connected {
                    return self.attached(device, attachment.numbers(), Some(attachment));
                }
                if let Some(disk) = self.disks.get_mut(&device) {
                    disk.loop_device = Some(attachment.number());
                }
                self.enter(device, Phase::Opening { attachment: Some(attachment), looks: 0 });
                self.look_again(device, Instant::now());
            }
            // Set up by another program, which takes it away as well; only what it is need be
            // known.
            Ok(None) if connected => match loop_device {
                Some(number) => self.submit(device, move || Done::Looked(look(number))),
                None => self.served(device),
            },
            Ok(None) if self.bus.opened(device).is_some() => {
                self.fail(
                    device,
                    &format!(
                        "{device}: its loop device was taken away from it; attach the disk anew"
                    ),
                );
            }
            Ok(None) => self.probe(device),
            Err(error) if connected => {
                log::warn!("{device}: its loop device cannot be looked at: {error}");
                self.served(device);
            }
            Err(_) => self.probe(device),
        }
    }

    /// The time has come that was set for a disk.
    pub(super) fn disk_due(&mut self, device: DeviceId, now: Instant) {
        let Some(disk) = self.disks.get_mut(&device) else { return };
        let late = now >= disk.deadline;
        let path = disk.target.clone();
        match std::mem::replace(&mut disk.phase, Phase::Failed) {
            Phase::Probing | Phase::Attaching | Phase::Learning { .. } if late => {
                self.tickets.retain(|_, owner| *owner != device);
                self.refuse(device, &Refusal::Silent { path, limit: self.config.disk_timeout });
            }
            Phase::Contended(target) if late => {
                let by =
                    "the guest that has it is being destroyed, and that does not end".to_owned();
                drop(target);
                self.refuse(device, &Refusal::InUse { path, by });
            }
            Phase::Contended(target) => self.contend(device, target),
            Phase::Opening { attachment, looks } => {
                self.look_for_open(device, attachment, looks, now)
            }
            phase => disk.phase = phase,
        }
    }

    fn look_for_open(
        &mut self,
        device: DeviceId,
        attachment: Option<Attachment>,
        looks: u32,
        now: Instant,
    ) {
        if self.bus.opened(device).is_some() {
            return match attachment {
                Some(attachment) => {
                    self.enter(device, Phase::Sealing);
                    self.submit(device, move || Done::Sealed(attachment.seal()));
                }
                None => self.served(device),
            };
        }
        if !self.bus.has(device) {
            self.undo(device, attachment);
            return self.disk_removed(device);
        }
        if looks == MANY_LOOKS {
            log::warn!("{device}: blkback has not opened it; see dmesg");
        }
        self.enter(device, Phase::Opening { attachment, looks: looks.saturating_add(1) });
        let pause = FIRST_LOOK.saturating_mul(1 << looks.min(MANY_LOOKS)).min(LAST_LOOK);
        self.look_again(device, now + pause);
    }

    /// The guest has the disk.
    pub(super) fn served(&mut self, device: DeviceId) {
        self.enter(device, Phase::Served);
    }

    fn refuse(&mut self, device: DeviceId, refusal: &Refusal) {
        self.claims.release(device);
        self.fail(device, &format!("{device}: {}", chain(refusal)));
    }

    pub(super) fn disk_failed(&mut self, device: DeviceId, text: &str) {
        self.claims.release(device);
        if let Some(disk) = self.disks.get_mut(&device) {
            disk.phase = Phase::Failed;
            disk.failure = Some(text.to_owned());
        }
    }

    /// The device is gone.
    pub(super) fn disk_removed(&mut self, device: DeviceId) {
        let script = self.disks.get(&device).and_then(|disk| disk.script.clone());
        self.forget_disk(device);
        if let Some(script) = script {
            self.stop_script(device, &script, &[]);
        }
    }

    /// Forgets a disk, and undoes what was done for it as far as the guest does not have it.
    pub(super) fn forget_disk(&mut self, device: DeviceId) {
        self.claims.release(device);
        self.drop_disk(device);
    }

    /// As [`forget_disk`](Self::forget_disk), but nobody else may have what it had.
    pub(super) fn drop_disk(&mut self, device: DeviceId) {
        let Some(disk) = self.disks.remove(&device) else { return };
        if let Some(due) = disk.due {
            self.timers.remove(&(due, device));
        }
        self.tickets.retain(|_, owner| *owner != device);
        if let Phase::Opening { attachment, .. } = disk.phase {
            self.undo(device, attachment);
        }
    }

    /// Releases a loop device, which may take its time.
    fn undo(&mut self, device: DeviceId, attachment: Option<Attachment>) {
        if let Some(attachment) = attachment {
            self.workers.submit(device.domain, move || {
                drop(attachment);
                Done::Undone
            });
        }
    }

    /// Has somebody's own script take the device down.
    pub(super) fn stop_script(
        &mut self,
        device: DeviceId,
        script: &Path,
        variables: &[(&str, String)],
    ) {
        if let Err(error) =
            self.scripts.start(script, device, Action::Stop, variables, &self.config.scripts())
        {
            log::warn!("{device}: {}", chain(&error));
        }
    }
}
