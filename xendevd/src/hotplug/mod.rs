//! The devices of all guests: what the kernel says happens to them, and what is done about it.
//!
//! ```text
//!  a disk:                                     probe, attach and seal are done by workers, each with a bound
//!
//!  add --> Waiting --> Probing --> Contended --> Attaching --> Opening --> Sealing --> Served --> remove
//!         (the first      |        (its holder      |         (blkback                    ^
//!           sweep)        |         is leaving)     |          opens it)                  |
//!                         +-------------------------+--> Failed         a daemon before --+
//!                                                                       us did the rest
//!  an interface: online --> plugged in, or failed --> offline
//! ```
//!
//! [`Hotplug`] owns all of it and does no waiting: the event loop ([`crate::daemon`]) tells it what
//! has happened and when to look at its clock. What it knows is only a picture. The kernel's bus,
//! Xenstore and the loop devices are the truth, and a sweep ([`Hotplug::want_sweep`]) makes the
//! picture agree with them: at the start, when uevents were lost, when xenstored comes back, and
//! when an administrator asks.

mod disk;
mod disks;
mod interfaces;
mod reach;
mod sweep;
mod view;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use self::disk::{Disk, Done};
use self::interfaces::Interface;
use self::reach::Reach;
use self::sweep::Sweep;
use crate::bus::Bus;
use crate::config::Config;
use crate::device::{Class, DeviceId};
use crate::disk::Claims;
use crate::net::Links;
use crate::plane::{PlaneError, Planes};
use crate::script::{Action, Finished, Scripts};
use crate::workers::{Ticket, Workers};
use crate::xenstore::chain;

pub use self::view::Counters;

/// What the kernel says about a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Uevent {
    /// It is there.
    Add(DeviceId),
    /// It is gone.
    Remove(DeviceId),
    /// Its interface is there.
    Online(DeviceId),
    /// Its interface is going.
    Offline(DeviceId),
}

/// All devices.
#[derive(Debug)]
pub struct Hotplug {
    config: Config,
    bus: Bus,
    links: Links,
    planes: Planes,
    reach: Reach,
    workers: Workers<Done>,
    claims: Claims,
    scripts: Scripts,
    disks: BTreeMap<DeviceId, Disk>,
    interfaces: BTreeMap<DeviceId, Interface>,
    /// Whose work a worker is at. Work that is in nobody's name any more is undone when it comes.
    tickets: HashMap<Ticket, DeviceId>,
    /// When to look at which disk again. Each has one entry at most.
    timers: BTreeSet<(Instant, DeviceId)>,
    sweep: Sweep,
    counters: Counters,
}

impl Hotplug {
    /// Without any device yet; the first sweep finds those that there are. xenstored need not be
    /// there.
    ///
    /// # Errors
    /// [`io::Error`] if the kernel has no socket for it.
    pub fn new(config: Config) -> io::Result<Self> {
        let mut planes = Planes::default();
        planes.noxs.open();
        let mut sweep = Sweep::default();
        sweep.want(false);
        Ok(Self {
            config,
            bus: Bus::default(),
            links: Links::open()?,
            planes,
            reach: Reach::default(),
            workers: Workers::new()?,
            claims: Claims::default(),
            scripts: Scripts::default(),
            disks: BTreeMap::new(),
            interfaces: BTreeMap::new(),
            tickets: HashMap::new(),
            timers: BTreeSet::new(),
            sweep,
            counters: Counters::default(),
        })
    }

    /// From now on works like this.
    pub fn configure(&mut self, config: Config) {
        self.config = config;
    }

    /// The workers' descriptor: readable when there are results.
    #[must_use]
    pub fn workers(&self) -> BorrowedFd<'_> {
        self.workers.as_fd()
    }

    /// xenstored's descriptor: readable when there are events.
    #[must_use]
    pub fn xenstored(&self) -> Option<OwnedFd> {
        self.planes.xenstore.descriptor()
    }

    /// Takes what xenstored has sent. To be called before each wait.
    pub fn take_store_events(&mut self) {
        self.planes.xenstore.take_events();
    }

    /// The kernel has said something.
    pub fn uevent(&mut self, event: &Uevent) {
        log::debug!("{event:?}");
        self.counters.uevents += 1;
        match *event {
            Uevent::Add(device) if device.class == Class::Vbd => self.disk_added(device),
            Uevent::Online(device) if device.class == Class::Vif => self.interface_online(device),
            Uevent::Offline(device) => self.interface_offline(device),
            Uevent::Remove(device) => self.removed(device),
            Uevent::Add(_) | Uevent::Online(_) => {}
        }
    }

    /// Workers have finished something.
    pub fn take_results(&mut self) {
        for (ticket, done) in self.workers.results() {
            if self.reach.is_it(ticket) {
                if let Done::Reached(result) = done {
                    self.reach.done(result);
                }
            } else if self.sweep.is_scan(ticket) {
                if let Done::Scanned(found) = done {
                    self.swept(&found);
                }
            } else if let Some(device) = self.tickets.remove(&ticket) {
                self.disk_done(device, done);
            } else if done.holds_something() {
                log::info!("work that came too late is undone");
                self.workers.submit(h2::DomId::DOM0, move || {
                    drop(done);
                    Done::Undone
                });
            }
        }
    }

    /// Looks at what has become due.
    pub fn tick(&mut self, now: Instant) {
        while let Some((_, device)) = self.timers.first().copied().filter(|(due, _)| *due <= now) {
            self.timers.pop_first();
            if let Some(disk) = self.disks.get_mut(&device) {
                disk.due = None;
            }
            self.disk_due(device, now);
        }
        self.reap(now);
        self.advance_sweep(now);
    }

    /// A child of this process has ended, or the time of one is up.
    pub fn reap(&mut self, now: Instant) {
        for Finished { device, action, result } in self.scripts.reap(now) {
            self.counters.scripts += 1;
            match (action, result) {
                (Action::Stop, Ok(())) => {}
                (Action::Stop, Err(error)) => log::warn!("{device}: {}", chain(&error)),
                (Action::Start, result) => {
                    self.script_finished(device, result.map_err(|error| chain(&error)))
                }
            }
        }
    }

    /// When to call [`tick`](Self::tick) at the latest.
    #[must_use]
    pub fn next_tick(&self) -> Option<Instant> {
        let disks = self.timers.first().map(|(due, _)| *due);
        [disks, self.scripts.next_end(), self.sweep.due(), self.next_reach()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether nothing is under way: every device is served, or has failed for good.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        !self.sweep.is_under_way()
            && self.reach.nobody_waits()
            && self.scripts.count() == 0
            && self.disks.values().all(Disk::is_settled)
    }

    fn removed(&mut self, device: DeviceId) {
        self.reach.forget(device);
        match device.class {
            Class::Vif => self.interface_offline(device),
            Class::Vbd => self.disk_removed(device),
        }
    }

    /// A script of somebody's own has set a device up, or has failed to. Most write their answer
    /// themselves.
    fn script_finished(&mut self, device: DeviceId, result: Result<(), String>) {
        if let Err(problem) = result {
            return self.fail(device, &format!("{device}: {problem}"));
        }
        let answered = match self.planes.hotplug_status(device) {
            Ok(Some(status)) if status == "error" => {
                let said = self.planes.hotplug_error(device);
                return self.failed(device, &said);
            }
            Ok(Some(_)) => Ok(true),
            Ok(None) => {
                self.planes.answer(device, &[("hotplug-status", Some("connected".to_owned()))])
            }
            Err(error) => Err(error),
        };
        match answered {
            Ok(_) => self.served_by_script(device),
            Err(error) => self.abandon(device, &error),
        }
    }

    fn served_by_script(&mut self, device: DeviceId) {
        match device.class {
            Class::Vif => {
                if let Some(interface) = self.interfaces.get_mut(&device) {
                    interface.connected = true;
                }
            }
            Class::Vbd => self.served(device),
        }
    }

    /// Tells the toolstack that a device does not work, and why.
    fn fail(&mut self, device: DeviceId, text: &str) {
        log::warn!("{text}");
        let nodes = [
            ("hotplug-error", Some(text.to_owned())),
            ("hotplug-status", Some("error".to_owned())),
        ];
        match self.planes.answer(device, &nodes) {
            Ok(true) => self.failed(device, text),
            // Nobody waits for it any more; its uevent comes.
            Ok(false) => log::debug!("{device} is gone"),
            Err(error) => self.abandon(device, &error),
        }
    }

    /// Notes that a device does not work.
    fn failed(&mut self, device: DeviceId, text: &str) {
        self.counters.errors += 1;
        match device.class {
            Class::Vif => self.interface_failed(device, text),
            Class::Vbd => self.disk_failed(device, text),
        }
    }

    /// xenstored or the kernel did not take part: what was done for the device is undone, and
    /// another sweep begins anew.
    fn abandon(&mut self, device: DeviceId, error: &PlaneError) {
        let is_gone = !self.bus.has(device);
        let waits = !is_gone && matches!(error, PlaneError::Xenstore(_)) && !self.is_connected();
        match device.class {
            Class::Vif => _ = self.interfaces.remove(&device),
            // What it has stays its own.
            Class::Vbd if waits => self.drop_disk(device),
            Class::Vbd => self.forget_disk(device),
        }
        if is_gone {
            return log::debug!("{device} is gone");
        }
        if waits {
            // The connection brings a sweep with it.
            return self.reach.wait(device, error);
        }
        log::warn!("{device}: {}; it is looked at again later", chain(error));
        self.sweep.want_later(Instant::now());
    }

    /// What became of a device: `None` as long as that is not known.
    #[must_use]
    pub fn outcome(&self, device: DeviceId) -> Option<Result<(), String>> {
        let (failure, connected) = match (self.disks.get(&device), self.interfaces.get(&device)) {
            (Some(disk), _) => (&disk.failure, disk.is_connected()),
            (_, Some(interface)) => (&interface.failure, interface.connected),
            // Its uevent is still to come.
            (None, None) if self.bus.has(device) => return None,
            (None, None) => return Some(Err(format!("{device}: there is no such device"))),
        };
        match failure {
            Some(text) => Some(Err(text.clone())),
            None => connected.then_some(Ok(())),
        }
    }
}
