//! What the tests over the fake host share: a bench with a host, a state directory and images, and
//! pictures to compare.

#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use h2::config::{GuestType, Plane};
use h2::{BootImage, CreateError, DomId, Domain, GuestConfig, Hypervisor};
use h2_fake::{FakeHost, Snapshot};
use tempfile::TempDir;

pub(crate) const TYPES: [GuestType; 2] = [GuestType::Pv, GuestType::Pvh];

/// The guest that most tests make.
pub(crate) const NAME: &str = "web";

/// A file that says that the guests of this folder have no Xenstore.
const NOXS: &str = "noxs";

/// A fake host, and a folder with the state directory and images.
pub(crate) struct Bench {
    pub(crate) host: FakeHost,
    folder: TempDir,
}

impl Bench {
    /// A host on which a guest has been made and destroyed, so that the directories are there that
    /// outlive guests.
    pub(crate) fn new() -> Self {
        Self::with(Plane::Xenstore)
    }

    /// A host with NoXS and without xenstored, whose guests have no Xenstore.
    pub(crate) fn noxs() -> Self {
        Self::with(Plane::Noxs)
    }

    /// A host of each plane.
    pub(crate) fn planes() -> [Self; 2] {
        [Self::new(), Self::noxs()]
    }

    fn with(plane: Plane) -> Self {
        let bench = Self { host: FakeHost::new(), folder: tempfile::tempdir().unwrap() };
        if plane == Plane::Noxs {
            bench.host.set_noxs(true, true);
            bench.host.set_xenstored(false);
            fs::write(bench.folder.path().join(NOXS), "").unwrap();
        }
        write_images(bench.folder.path());
        let hypervisor = bench.open();
        bench.start(&hypervisor, &bench.config(GuestType::Pv, "first")).unwrap().destroy().unwrap();
        bench
    }

    pub(crate) fn plane(&self) -> Plane {
        if self.folder().join(NOXS).exists() { Plane::Noxs } else { Plane::Xenstore }
    }

    /// The folder that the state directory and the images are in.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn state(&self) -> PathBuf {
        state_dir(self.folder())
    }

    pub(crate) fn open(&self) -> Hypervisor {
        self.host.open(&self.state()).unwrap()
    }

    pub(crate) fn config(&self, guest_type: GuestType, name: &str) -> GuestConfig {
        config(self.folder(), guest_type, name)
    }

    pub(crate) fn start(
        &self,
        hypervisor: &Hypervisor,
        config: &GuestConfig,
    ) -> Result<Domain, CreateError> {
        start(hypervisor, config)
    }

    /// A PV guest that runs.
    pub(crate) fn guest(&self, hypervisor: &Hypervisor, name: &str) -> Domain {
        self.start(hypervisor, &self.config(GuestType::Pv, name)).unwrap()
    }

    pub(crate) fn picture(&self) -> Picture {
        Picture { host: self.host.snapshot(), files: files(&self.state()) }
    }
}

pub(crate) fn state_dir(folder: &Path) -> PathBuf {
    folder.join("state")
}

/// A guest that uses every step of a create: pinned vcpus, a share of the CPUs, a ramdisk, and for
/// PV an interface and a disk, which are the same for PVH.
pub(crate) fn config(folder: &Path, guest_type: GuestType, name: &str) -> GuestConfig {
    let mut config = serde_json::json!({
        "name": name,
        "type": match guest_type { GuestType::Pv => "pv", GuestType::Pvh => "pvh" },
        "kernel": folder.join("kernel"),
        "ramdisk": folder.join("ramdisk"),
        "cmdline": "console=hvc0",
        "memory": 16,
        "maxmem": 16,
        "vcpus": { "count": 2, "cpumap": [[0], [1, 2]] },
        "cpu_weight": 512,
        "cpu_cap": 50,
    });
    if guest_type == GuestType::Pv {
        config["vifs"] = serde_json::json!([{ "ip": "10.77.0.9", "rate": "10Mb/s" }]);
        let target = folder.join("disk");
        config["vbds"] = serde_json::json!([
            { "target": target, "type": "file", "vdev": "xvda", "access": "w" }
        ]);
    }
    if folder.join(NOXS).exists() {
        config["xen"] = serde_json::json!({ "dev_method": "noxs" });
    }
    GuestConfig::from_json(&config.to_string(), "test").unwrap()
}

pub(crate) fn start(hypervisor: &Hypervisor, config: &GuestConfig) -> Result<Domain, CreateError> {
    let image = BootImage::open(config)?;
    hypervisor.create(config)?.boot(&image)
}

pub(crate) fn id(number: u16) -> DomId {
    DomId::new(number).unwrap()
}

/// Everything that a toolstack can leave something in.
#[derive(Debug, Clone)]
pub(crate) struct Picture {
    pub(crate) host: Snapshot,
    pub(crate) files: BTreeMap<String, String>,
}

impl Picture {
    /// Fails with a line for each difference.
    #[track_caller]
    pub(crate) fn assert_same(&self, now: &Picture, context: impl std::fmt::Display) {
        let mut lines = self.host.difference(&now.host);
        for (path, content) in &now.files {
            match self.files.get(path) {
                Some(before) if before == content => {}
                Some(before) => lines.push(format!("file {path} was {before} and is {content}")),
                None => lines.push(format!("file {path} is new: {content}")),
            }
        }
        lines.extend(
            self.files
                .keys()
                .filter(|path| !now.files.contains_key(*path))
                .map(|path| format!("file {path} is gone")),
        );
        assert!(lines.is_empty(), "{context}:\n  {}", lines.join("\n  "));
    }
}

/// The state directory's files and links, with their content; not the lock, which stays.
fn files(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_symlink() {
                let target = fs::read_link(&path).unwrap();
                found.insert(path.display().to_string(), target.display().to_string());
            } else if path.is_dir() {
                folders.push(path);
            } else if path != root.join("lock") {
                found.insert(path.display().to_string(), fs::read_to_string(&path).unwrap());
            }
        }
    }
    found
}

/// A kernel for both types of guests, a ramdisk, and a disk.
fn write_images(folder: &Path) {
    fs::write(folder.join("disk"), [0; 4096]).unwrap();
    fs::write(folder.join("kernel"), kernel()).unwrap();
    fs::write(folder.join("ramdisk"), [0xcd; 512]).unwrap();
}

/// The smallest ELF image that Xen would take: one segment at 1 MiB, and notes for PV and PVH.
fn kernel() -> Vec<u8> {
    const START: u64 = 0x10_0000;
    let mut notes = Vec::new();
    for (kind, value) in [
        (6_u32, b"test\0".to_vec()),
        (5, b"xen-3.0\0".to_vec()),
        (8, b"generic\0".to_vec()),
        (3, 0_u64.to_le_bytes().to_vec()),
        (1, START.to_le_bytes().to_vec()),
        (18, 0x10_0000_u32.to_le_bytes().to_vec()),
    ] {
        for word in [4, u32::try_from(value.len()).unwrap(), kind] {
            notes.extend_from_slice(&word.to_le_bytes());
        }
        notes.extend_from_slice(b"Xen\0");
        notes.extend_from_slice(&value);
        notes.resize(notes.len().next_multiple_of(4), 0);
    }
    let notes_size = u64::try_from(notes.len()).unwrap();

    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(16, 0);
    for short in [2_u16, 62] {
        elf.extend_from_slice(&short.to_le_bytes());
    }
    elf.extend_from_slice(&1_u32.to_le_bytes());
    for word in [START, 64, 0] {
        elf.extend_from_slice(&word.to_le_bytes());
    }
    elf.extend_from_slice(&0_u32.to_le_bytes());
    for short in [64_u16, 56, 2, 64, 0, 0] {
        elf.extend_from_slice(&short.to_le_bytes());
    }
    // Type, flags; offset, virtual and physical address, size in the file and in memory, alignment.
    for (kind, flags, numbers) in [
        (1_u32, 7_u32, [0x200, START, START, 0x100, 0x1000, 4]),
        (4, 4, [0x300, 0, 0, notes_size, notes_size, 4]),
    ] {
        elf.extend_from_slice(&kind.to_le_bytes());
        elf.extend_from_slice(&flags.to_le_bytes());
        for number in numbers {
            elf.extend_from_slice(&number.to_le_bytes());
        }
    }
    elf.resize(0x200, 0);
    elf.resize(0x300, 0xf4);
    elf.extend_from_slice(&notes);
    elf
}
