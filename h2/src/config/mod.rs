//! The configuration of a guest: a JSON file, its bounds, and the copies made from it.
//!
//! [`GuestConfig`] is the whole of it. [`GuestConfig::from_file`] and [`GuestConfig::from_json`]
//! read one, [`GuestConfig::new`] builds one in memory, [`GuestConfig::check`] says whether its
//! values go together, and [`GuestConfig::instances`] makes the copies that differ in name, UUID
//! and MAC addresses. Values that cannot be right cannot be built: [`GuestName`], [`Vcpus`],
//! [`Mac`], [`Vdev`] and [`Rate`] check what they are made from.
//!
//! Nothing here talks to Xen. What depends on the host (its CPUs, its memory, its limits) is
//! checked when the guest is created. docs/configuration.md describes every key; the tests read the
//! examples beside it.

mod choices;
mod device;
mod error;
mod instances;
mod limits;
mod mac;
mod name;
mod nearest;
mod rate;
mod read;
mod tree;
mod vcpus;
mod vdev;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use uuid::Uuid;

pub use self::choices::{Access, DiskFormat, DiskType, GuestType, Plane, StopAction, TscMode};
pub use self::device::{Interface, Vbd, Vif};
pub use self::error::{ConfigError, Place, ValueError};
pub use self::instances::Instances;
pub use self::mac::Mac;
pub use self::name::GuestName;
pub use self::rate::Rate;
pub use self::vcpus::{CpuSet, Vcpus};
pub use self::vdev::Vdev;
use crate::id::{KiB, MiB, Pages};

/// The longest configuration that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;
/// The most interfaces, and the most disks, of one guest.
const MAX_DEVICES: usize = 64;
/// The longest kernel command line of a PV guest in bytes: `MAX_GUEST_CMDLINE` of
/// xen/include/public/xen.h without its end. libxenguest cuts a longer one without a word.
const MAX_PV_CMDLINE: usize = 1023;
/// The longest kernel command line of a PVH guest in bytes.
const MAX_PVH_CMDLINE: usize = 4095;

/// What a guest is to be.
///
/// The fields may be set freely; [`GuestConfig::check`] says whether they go together, and
/// everything that makes a guest from a configuration calls it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct GuestConfig {
    /// The guest's name.
    pub name: GuestName,
    /// How it is virtualised. PV unless set.
    #[serde(rename = "type")]
    pub guest_type: GuestType,
    /// The kernel image's path.
    pub kernel: PathBuf,
    /// The path of the initial ramdisk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ramdisk: Option<PathBuf>,
    /// The kernel's command line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmdline: Option<String>,
    /// The memory that the guest starts with.
    pub memory: MiB,
    /// The memory that it may grow to. What it starts with, unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maxmem: Option<MiB>,
    /// Its vcpus and where they run.
    pub vcpus: Vcpus,
    /// Its UUID. Without one, [`GuestConfig::instances`] generates one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<Uuid>,
    /// What becomes of it when it powers off. Destroyed unless set.
    pub on_poweroff: StopAction,
    /// What becomes of it when it reboots. Restarted unless set.
    pub on_reboot: StopAction,
    /// What becomes of it when it crashes. Destroyed unless set.
    pub on_crash: StopAction,
    /// Its share of contended CPUs, against 256 of an ordinary guest: 1 to 65535.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_weight: Option<u16>,
    /// The most CPU time that it gets, in per cent of one physical CPU. Zero is no cap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_cap: Option<u16>,
    /// The size of its grant table in pages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_grant_frames: Option<u32>,
    /// The highest event channel port that it can have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_event_channels: Option<u32>,
    /// How it sees the time stamp counter.
    pub tsc_mode: TscMode,
    /// Its network interfaces.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vifs: Vec<Vif>,
    /// Its disks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vbds: Vec<Vbd>,
    /// Whether it stays paused when it is made.
    pub paused: bool,
    /// Its control plane. The host's own choice, unless set.
    #[serde(
        rename = "xen",
        skip_serializing_if = "Option::is_none",
        serialize_with = "plane_as_xen"
    )]
    pub plane: Option<Plane>,
}

impl GuestConfig {
    /// A PV guest with one vcpu, no devices, and the default of everything else.
    #[must_use]
    pub fn new(name: GuestName, kernel: impl Into<PathBuf>, memory: MiB) -> Self {
        Self {
            name,
            guest_type: GuestType::Pv,
            kernel: kernel.into(),
            ramdisk: None,
            cmdline: None,
            memory,
            maxmem: None,
            vcpus: Vcpus::ONE,
            uuid: None,
            on_poweroff: StopAction::Destroy,
            on_reboot: StopAction::Restart,
            on_crash: StopAction::Destroy,
            cpu_weight: None,
            cpu_cap: None,
            max_grant_frames: None,
            max_event_channels: None,
            tsc_mode: TscMode::Default,
            vifs: Vec::new(),
            vbds: Vec::new(),
            paused: false,
            plane: None,
        }
    }

    /// Reads a configuration file. Relative paths in it are taken from the folder that the file is
    /// in.
    ///
    /// # Errors
    /// [`ConfigError::Read`] and [`ConfigError::TooLarge`] for the file, and whatever
    /// [`GuestConfig::from_json`] finds.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        let unreadable = |source| ConfigError::Read { path: path.to_owned(), source };
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(unreadable)?;
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_BYTES {
            return Err(ConfigError::TooLarge { path: path.to_owned(), limit: MAX_BYTES });
        }
        let name = path.display().to_string();
        let text = std::str::from_utf8(&bytes).map_err(|error| {
            let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
            ConfigError::Encoding { place: Place { source: name.clone(), line } }
        })?;
        let mut config = Self::from_json(text, &name)?;
        let path = std::path::absolute(path).map_err(unreadable)?;
        config.resolve_paths(path.parent().unwrap_or(Path::new("/")));
        Ok(config)
    }

    /// Reads a configuration from text that `source` names in messages. Paths in it are kept as
    /// they are.
    ///
    /// # Errors
    /// [`ConfigError`] with the line and the key of the first thing that is wrong.
    pub fn from_json(text: &str, source: &str) -> Result<Self, ConfigError> {
        let source = tree::Source { name: source, text };
        let config = read::guest(&source.root()?)?;
        match config.first_conflict() {
            None => Ok(config),
            Some((key, error)) => Err(ConfigError::Value {
                place: source.locate(&key),
                key,
                problem: error.to_string(),
            }),
        }
    }

    /// The configuration as compact JSON that [`GuestConfig::from_json`] reads back to the same
    /// configuration.
    ///
    /// # Errors
    /// [`ConfigError::Unwritable`] for a path that is not UTF-8.
    pub fn to_json(&self) -> Result<String, ConfigError> {
        serde_json::to_string(self)
            .map_err(|source| ConfigError::Unwritable { name: self.name.to_string(), source })
    }

    /// Takes relative paths (kernel, ramdisk, scripts, and the targets of disks) from this folder.
    pub fn resolve_paths(&mut self, folder: &Path) {
        let scripts = self.vifs.iter_mut().filter_map(|vif| vif.script.as_mut());
        let targets = self.vbds.iter_mut().map(|vbd| &mut vbd.target);
        for path in
            [&mut self.kernel].into_iter().chain(&mut self.ramdisk).chain(scripts).chain(targets)
        {
            *path = folder.join(&*path);
        }
    }

    /// Checks what the types of the fields do not: bounds of numbers, and values that depend on
    /// others.
    ///
    /// # Errors
    /// [`ConfigError::Value`] for the first value that cannot be right.
    pub fn check(&self) -> Result<(), ConfigError> {
        match self.first_conflict() {
            None => Ok(()),
            Some((key, error)) => {
                Err(ConfigError::Value { place: Place::default(), key, problem: error.to_string() })
            }
        }
    }

    /// The memory that the guest starts with, in KiB.
    #[must_use]
    pub fn memory_kib(&self) -> KiB {
        self.memory.to_kib().unwrap_or(KiB::new(u64::MAX))
    }

    /// The memory that the guest starts with, in pages.
    #[must_use]
    pub fn memory_pages(&self) -> Pages {
        self.memory.to_pages().unwrap_or(Pages::new(u64::MAX))
    }

    /// The memory that the guest may grow to, in KiB: at least what it starts with.
    #[must_use]
    pub fn maxmem_kib(&self) -> KiB {
        self.maxmem.unwrap_or(self.memory).max(self.memory).to_kib().unwrap_or(KiB::new(u64::MAX))
    }
}

#[allow(clippy::ref_option)] // the form that serde asks for
fn plane_as_xen<S: Serializer>(plane: &Option<Plane>, serializer: S) -> Result<S::Ok, S::Error> {
    let mut xen = serializer.serialize_map(Some(1))?;
    xen.serialize_entry("dev_method", plane)?;
    xen.end()
}
