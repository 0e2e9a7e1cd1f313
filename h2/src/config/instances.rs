//! What must hold between the values of a configuration, and the copies that are made from one.

use std::iter::FusedIterator;

use uuid::Uuid;

use super::choices::{Access, GuestType};
use super::error::{ConfigError, Place, ValueError};
use super::{GuestConfig, MAX_DEVICES, MAX_PV_CMDLINE, MAX_PVH_CMDLINE, Mac, limits};
use crate::id::DomId;

impl GuestConfig {
    /// This guest with everything filled in that is generated: its UUID and the MAC addresses of
    /// its interfaces.
    #[must_use]
    pub fn instance(&self) -> GuestConfig {
        self.completed(&mut Mac::random())
    }

    /// `count` guests of this configuration, each with its own UUID, MAC addresses and name.
    ///
    /// One guest keeps the name, several are called `NAME-1` to `NAME-N`. What is generated is
    /// different for each of them; what the configuration gives itself would be the same for
    /// all, so it must not give a UUID, a MAC or IP address, or a writable disk if there are to
    /// be several.
    ///
    /// # Errors
    /// [`ConfigError::Value`] when the configuration itself is wrong, when it gives what cannot be
    /// shared, when the longest name is too long, and when the count is not 1 to 32751, the
    /// most domains that a host can number.
    pub fn instances(&self, count: u32) -> Result<Instances, ConfigError> {
        self.check()?;
        self.shared(count).map_err(|(key, error)| ConfigError::Value {
            place: Place::default(),
            key,
            problem: error.to_string(),
        })?;
        Ok(Instances { config: self.clone(), mac: Mac::random(), made: 0, count })
    }

    /// The first thing that does not go together, with its key.
    pub(super) fn first_conflict(&self) -> Option<(String, ValueError)> {
        self.numbers().and_then(|()| self.command_line()).and_then(|()| self.devices()).err()
    }

    fn numbers(&self) -> Result<(), (String, ValueError)> {
        let within = |key: &str, value: Option<u64>, limits: &limits::Limits| {
            let checked = value.map(|value| limits.check(value)).transpose();
            checked.map(|_| ()).map_err(|error| (key.to_owned(), error))
        };
        within("memory", Some(self.memory.get()), &limits::MEMORY)?;
        within("maxmem", self.maxmem.map(u64::from), &limits::MEMORY)?;
        within("cpu_weight", self.cpu_weight.map(u64::from), &limits::CPU_WEIGHT)?;
        within("cpu_cap", self.cpu_cap.map(u64::from), &limits::CPU_CAP)?;
        within(
            "max_grant_frames",
            self.max_grant_frames.map(u64::from),
            &limits::MAX_GRANT_FRAMES,
        )?;
        within(
            "max_event_channels",
            self.max_event_channels.map(u64::from),
            &limits::MAX_EVENT_CHANNELS,
        )?;
        match self.maxmem {
            Some(maxmem) if maxmem < self.memory => {
                let problem = format!(
                    "{maxmem} is less than the `memory` of {}; give as much or more",
                    self.memory
                );
                Err(("maxmem".to_owned(), ValueError::new(problem)))
            }
            _ => Ok(()),
        }
    }

    fn command_line(&self) -> Result<(), (String, ValueError)> {
        let length = self.cmdline.as_ref().map_or(0, String::len);
        let most = match self.guest_type {
            GuestType::Pv => MAX_PV_CMDLINE,
            GuestType::Pvh => MAX_PVH_CMDLINE,
        };
        if length <= most {
            return Ok(());
        }
        let problem = format!(
            "{length} bytes are too long; a {} guest's command line has at most {most}",
            self.guest_type
        );
        Err(("cmdline".to_owned(), ValueError::new(problem)))
    }

    fn devices(&self) -> Result<(), (String, ValueError)> {
        for (key, number) in [("vifs", self.vifs.len()), ("vbds", self.vbds.len())] {
            if number > MAX_DEVICES {
                let problem = format!("{number} are too many; give {MAX_DEVICES} at most");
                return Err((key.to_owned(), ValueError::new(problem)));
            }
        }
        for (index, vif) in self.vifs.iter().enumerate() {
            let earlier = self
                .vifs
                .iter()
                .take(index)
                .position(|other| vif.mac.is_some() && other.mac == vif.mac);
            if let (Some(mac), Some(earlier)) = (vif.mac, earlier) {
                let problem = format!(
                    "{mac} is the address of `vifs[{earlier}]` too; give each its own, or none"
                );
                return Err((format!("vifs[{index}].mac"), ValueError::new(problem)));
            }
        }
        for (index, vbd) in self.vbds.iter().enumerate() {
            let same = |other: &super::Vbd| other.vdev.number() == vbd.vdev.number();
            if let Some(earlier) = self.vbds.iter().take(index).position(same) {
                let problem = format!(
                    "\"{}\" is the disk of `vbds[{earlier}]` too; give each its own",
                    vbd.vdev
                );
                return Err((format!("vbds[{index}].vdev"), ValueError::new(problem)));
            }
        }
        Ok(())
    }

    /// Whether that many copies can be made.
    fn shared(&self, count: u32) -> Result<(), (String, ValueError)> {
        let most = u32::from(DomId::MAX);
        if count == 0 || count > most {
            let problem = format!("{count} copies cannot be made; give 1 to {most}");
            return Err(("name".to_owned(), ValueError::new(problem)));
        }
        if count == 1 {
            return Ok(());
        }
        let alike = |key: String, what: String, way_out: &str| {
            Err((
                key,
                ValueError::new(format!("{what} would be the same in {count} copies; {way_out}")),
            ))
        };
        const GENERATED: &str = "leave it out, so that each gets its own";
        if let Some(uuid) = self.uuid {
            return alike("uuid".to_owned(), format!("the UUID {uuid}"), GENERATED);
        }
        for (index, vif) in self.vifs.iter().enumerate() {
            if let Some(mac) = vif.mac {
                return alike(
                    format!("vifs[{index}].mac"),
                    format!("the MAC address {mac}"),
                    GENERATED,
                );
            }
            if let Some(ip) = vif.ip {
                return alike(
                    format!("vifs[{index}].ip"),
                    format!("the address {ip}"),
                    "leave it out",
                );
            }
        }
        let writable = |vbd: &super::Vbd| vbd.access == Access::Write;
        if let Some((index, vbd)) = self.vbds.iter().enumerate().find(|(_, vbd)| writable(vbd)) {
            let what = format!("{}, which they may write to,", vbd.target.display());
            return alike(format!("vbds[{index}].access"), what, "make it \"r\"");
        }
        self.name.numbered(count).map(|_| ()).map_err(|error| ("name".to_owned(), error))
    }

    /// A copy with everything filled in, with MAC addresses from `mac` on.
    fn completed(&self, mac: &mut Mac) -> GuestConfig {
        let mut config = self.clone();
        config.uuid.get_or_insert_with(Uuid::new_v4);
        let given: Vec<Mac> = self.vifs.iter().filter_map(|vif| vif.mac).collect();
        for vif in config.vifs.iter_mut().filter(|vif| vif.mac.is_none()) {
            while given.contains(mac) {
                *mac = mac.next();
            }
            vif.mac = Some(*mac);
            *mac = mac.next();
        }
        config
    }
}

/// The copies of a guest, from [`GuestConfig::instances`].
#[derive(Debug, Clone)]
pub struct Instances {
    config: GuestConfig,
    mac: Mac,
    made: u32,
    count: u32,
}

impl Iterator for Instances {
    type Item = GuestConfig;

    fn next(&mut self) -> Option<GuestConfig> {
        if self.made == self.count {
            return None;
        }
        self.made += 1;
        let mut config = self.config.completed(&mut self.mac);
        if self.count > 1 {
            // The last name, the longest, was found good before the first copy.
            config.name = self.config.name.numbered(self.made).ok()?;
        }
        Some(config)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.count - self.made).unwrap_or(usize::MAX);
        (left, Some(left))
    }
}

impl ExactSizeIterator for Instances {}
impl FusedIterator for Instances {}
