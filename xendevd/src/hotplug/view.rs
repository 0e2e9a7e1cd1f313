//! What the daemon tells about its devices.

use serde::{Deserialize, Serialize};

use super::Hotplug;
use crate::protocol::DeviceStatus;

/// What was done since the start.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Counters {
    /// Messages of the kernel about devices.
    pub uevents: u64,
    /// Disks that were connected.
    pub disks: u64,
    /// Interfaces that were connected.
    pub interfaces: u64,
    /// Devices that failed.
    pub errors: u64,
    /// Scripts of somebody's own that were run.
    pub scripts: u64,
    /// Times that everything was looked at.
    pub sweeps: u64,
    /// Times that messages of the kernel were lost.
    pub lost_uevents: u64,
}

impl Hotplug {
    /// What was done since the start.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// One line for those who look in passing.
    #[must_use]
    pub fn summary(&self) -> String {
        let errors = self.disks.values().filter(|disk| disk.failure.is_some()).count()
            + self.interfaces.values().filter(|interface| interface.failure.is_some()).count();
        let under_way =
            self.disks.values().filter(|disk| !disk.is_settled()).count() + self.scripts.count();
        format!(
            "{} disks, {} interfaces; {under_way} under way, {errors} failed",
            self.disks.len(),
            self.interfaces.len()
        )
    }

    /// The kernel had more to say than fits: everything is looked at anew.
    pub fn lost_uevents(&mut self) {
        log::warn!("messages of the kernel were lost; everything is looked at anew");
        self.counters.lost_uevents += 1;
        self.want_sweep(false);
    }

    /// The jobs that workers are at, and those that wait for one.
    #[must_use]
    pub fn load(&self) -> crate::workers::Load {
        self.workers.load()
    }

    /// All devices, each with its guest's name.
    pub fn view(&mut self) -> Vec<DeviceStatus> {
        let disks = self.disks.iter().map(|(device, disk)| DeviceStatus {
            device: device.sysname(),
            class: device.class,
            domain: device.domain,
            number: device.number,
            guest: None,
            state: disk.state().to_owned(),
            error: disk.failure.clone(),
            target: Some(disk.target.display().to_string()),
            mode: Some(disk.mode.to_string()),
            loop_device: disk.loop_device.map(|number| format!("/dev/loop{number}")),
            interface: None,
            bridge: None,
        });
        let interfaces = self.interfaces.iter().map(|(device, interface)| DeviceStatus {
            device: device.sysname(),
            class: device.class,
            domain: device.domain,
            number: device.number,
            guest: None,
            state: interface.state().to_owned(),
            error: interface.failure.clone(),
            target: None,
            mode: None,
            loop_device: None,
            interface: interface.plugged.as_ref().map(|plugged| plugged.name.clone()),
            bridge: interface.plugged.as_ref().map(|plugged| plugged.bridge.clone()),
        });
        let mut all: Vec<DeviceStatus> = disks.chain(interfaces).collect();
        for device in &mut all {
            device.guest = self.planes.name(device.domain);
        }
        all
    }
}
