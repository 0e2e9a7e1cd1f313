//! Disks at their edges: pulled out while a guest writes to them, and with sectors larger than
//! most. On either plane: that of the host.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lab_tests::device::{loops_on, states};
use lab_tests::{Host, Lab, chaos, console, run, wait};
use serde_json::{Value, json};

const XVDA: u32 = lab_tests::device::XVDA;

/// What blkcheck makes of these sectors (guests/README.md).
fn pattern(seed: u16, sectors: std::ops::Range<u32>) -> Vec<u8> {
    let lines = sectors.flat_map(|sector| (0..32).map(move |line| (sector, line)));
    lines
        .map(|(sector, line)| format!("{seed:04x} {sector:08x}{line:02x}\n"))
        .collect::<String>()
        .into()
}

#[track_caller]
fn has_pattern(image: &Path, seed: u16, sectors: std::ops::Range<u32>) {
    let bytes = fs::read(image).unwrap();
    let place = |sector: u32| usize::try_from(sector).unwrap() * 512;
    let found = &bytes[place(sectors.start)..place(sectors.end)];
    assert!(found == pattern(seed, sectors.clone()), "{sectors:?} are not what the guest wrote");
}

/// How often a guest writes the same 16 MiB, which dom0's page cache takes: it is at it for
/// seconds.
const WRITES: usize = 8;

/// A guest that writes one MiB, makes it last, and then writes on and on.
#[track_caller]
fn writer(lab: &Lab, base: &str, image: &Path) -> String {
    let long = ["write:2:2048:32768"; WRITES].join(",");
    let changes = json!({
        "cmdline": format!("disk=xvda ops=write:1:0:2048,flush,{long}"),
        "vbds": [{"target": image, "type": "file", "vdev": "xvda", "access": "w"}],
        "on_crash": "preserve",
    });
    let name = lab.create_with(base, base, &changes, &[]).name;
    console::wait_for(&name, "flush ok");
    name
}

/// blkcheck lets go of a disk when it has done all that it was told to: until then its backend
/// serves it, and what it has written is there.
#[test]
fn pulled_out_while_a_guest_writes() {
    let lab = Lab::new("edge-pulled");
    let host = Host::now();
    for base in ["blkcheck-pv", "blkcheck-pvh"] {
        let image = lab.image(base, 32);
        let name = writer(&lab, base, &image);
        let said = console::text(&name);
        assert!(!said.contains("blkcheck: done"), "it was not writing any more: {said}");
        let domain = chaos::find(&name).unwrap().domid;
        chaos::chaos(&["device", "detach", "--timeout", "120", &name, "vbd", "xvda"]).ok();
        console::wait_for(&name, "blkcheck: done");
        assert_eq!(console::text(&name).matches("write ok 32768 sectors").count(), WRITES);
        assert_eq!(loops_on(image.to_str().unwrap()), [0; 0]);
        assert_eq!(states(domain, "vbd", XVDA).trim(), "");
        has_pattern(&image, 1, 0..2048);
        has_pattern(&image, 2, 2048..34816);
        assert_eq!(chaos::json(&["shutdown", &name])["reason"], "poweroff");
    }
    host.assert_unchanged("disks that were pulled out");
}

/// The guest is not asked: its write fails, what it had made last is there, and it lives. It may
/// wait for an answer for as long as a driver waits, so that it is heard of in a full run only.
#[test]
fn torn_out_while_a_guest_writes() {
    let lab = Lab::new("edge-torn");
    let host = Host::now();
    for base in ["blkcheck-pv", "blkcheck-pvh"] {
        let image = lab.image(base, 32);
        let name = writer(&lab, base, &image);
        let domain = chaos::find(&name).unwrap().domid;
        chaos::chaos(&["device", "detach", "--force", &name, "vbd", "xvda"]).ok();
        wait::until("a loop device is left", || loops_on(image.to_str().unwrap()).is_empty());
        assert_eq!(states(domain, "vbd", XVDA).trim(), "");
        has_pattern(&image, 1, 0..2048);
        wait::until("the guest does not wait", || chaos::find(&name).unwrap().state == "blocked");
        if lab_tests::full() {
            console::wait_for(&name, "blkcheck: write failed: ");
            assert_eq!(chaos::json(&["shutdown", &name])["reason"], "poweroff");
        } else {
            chaos::chaos(&["destroy", &name]).ok();
        }
    }
    host.assert_unchanged("disks that were torn out");
}

/// A block device of dom0 with sectors of 4,096 bytes, taken away on drop.
struct Block(PathBuf);

impl Block {
    #[track_caller]
    fn over(image: &Path) -> Self {
        let words = ["losetup", "--sector-size", "4096", "--find", "--show"];
        let device = run(&[&words[..], &[image.to_str().unwrap()]].concat()).ok();
        Self(PathBuf::from(device.trim()))
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.0).status();
    }
}

#[test]
fn sectors_of_4096_bytes() {
    let lab = Lab::new("edge-sectors");
    let host = Host::now();
    let disk = |block: &Block, ops: &str| -> Value {
        json!({
            "cmdline": format!("disk=xvda ops={ops}"),
            "vbds": [{"target": block.0, "type": "phy", "vdev": "xvda", "access": "w"}],
        })
    };
    for base in ["blkcheck-pv", "blkcheck-pvh"] {
        let image = lab.image(base, 16);
        let block = Block::over(&image);
        let ops = disk(&block, "info,write:5:0:1024,flush,verify:5:0:1024,write:6:2048:8");
        let name = lab.create_with(base, "whole", &ops, &[]).name;
        console::wait_for(&name, "blkcheck: done");
        let said = console::text(&name);
        assert!(said.contains("info 32768 sectors, 4096 bytes each, writable"), "{said}");
        chaos::chaos(&["destroy", &name]).ok();
        // A part of one is not the guest's to write.
        let name = lab.create_with(base, "part", &disk(&block, "write:7:2056:4"), &[]).name;
        console::wait_for(&name, "blkcheck: write failed: out of range");
        chaos::chaos(&["destroy", &name]).ok();
        drop(block);
        has_pattern(&image, 5, 0..1024);
        has_pattern(&image, 6, 2048..2056);
        assert!(fs::read(&image).unwrap()[2056 * 512..].iter().all(|byte| *byte == 0));
    }
    host.assert_unchanged("disks with sectors of 4,096 bytes");
}
