//! Guests with disks: what they write is there afterwards, and what they must not write is not.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs::File;
use std::path::{Path, PathBuf};

use lab_tests::device::disk;
use lab_tests::shell::Shell;
use lab_tests::{Host, Lab, chaos, console, run};
use serde_json::json;

/// A block device of dom0 over an image, taken away on drop.
struct Block(PathBuf);

impl Block {
    #[track_caller]
    fn over(image: &Path) -> Self {
        let device = run(&["losetup", "--find", "--show", image.to_str().unwrap()]).ok();
        Self(PathBuf::from(device.trim()))
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let _ = std::process::Command::new("losetup").arg("--detach").arg(&self.0).status();
    }
}

/// The checksum that dom0 sees of `file` on an image.
#[track_caller]
fn sum_in(lab: &Lab, image: &Path, file: &str) -> String {
    let place = lab.path("mounted");
    std::fs::create_dir_all(&place).unwrap();
    // Writable, since the journal of a guest that was destroyed has to be replayed.
    run(&["mount", "-o", "loop", image.to_str().unwrap(), place.to_str().unwrap()]).ok();
    let sum = run(&["sha256sum", place.join(file).to_str().unwrap()]).ok();
    run(&["umount", place.to_str().unwrap()]).ok();
    sum.split_whitespace().next().unwrap().to_owned()
}

#[test]
fn what_linux_writes_stays() {
    let lab = Lab::new("disk-ext4");
    // Xen keeps the frames in which it tracks what dom0 maps of guests' memory: as many as there
    // were ever needed at once. What a guest leaves mapped keeps all of its memory.
    let mut host = Host::now().with_slack(64);
    for (base, kind) in [("linux-pv", "file"), ("linux-pvh", "phy")] {
        let path = lab.image(kind, 64);
        run(&["mke2fs", "-q", "-t", "ext4", path.to_str().unwrap()]).ok();
        let block = (kind == "phy").then(|| Block::over(&path));
        let target = block.as_ref().map_or(path.as_path(), |block| block.0.as_path());
        let guest = lab.create_with(
            base,
            kind,
            &json!({"vifs": [], "vbds": [disk(target, kind, "w")]}),
            &[],
        );
        let mut shell = Shell::open(&guest.name);
        shell.run("mkdir -p /mnt && mount -t ext4 /dev/xvda /mnt");
        shell.run("dd if=/dev/urandom of=/mnt/data bs=1M count=16 && sync");
        let sum = shell.run("sha256sum </mnt/data");
        chaos::chaos(&["destroy", &guest.name]).ok();
        drop(block);
        assert_eq!(
            Some(sum_in(&lab, &path, "data").as_str()),
            sum.split_whitespace().next(),
            "{base} {kind}"
        );
        host.assert_unchanged(&format!("{base} with ext4 on {kind}"));
        host = Host::now().with_slack(64);
    }
}

#[test]
fn a_read_only_disk_refuses_writes() {
    let lab = Lab::new("disk-ro");
    let path = lab.image("image", 16);
    run(&["mke2fs", "-q", "-t", "ext4", path.to_str().unwrap()]).ok();
    let before = run(&["sha256sum", path.to_str().unwrap()]).ok();
    // Many may read it at the same time.
    let changes = json!({"vifs": [], "vbds": [disk(&path, "file", "r")]});
    let linux = lab.create_with("linux-pv", "linux", &changes, &[]);
    let check = json!({
        "cmdline": "disk=xvda ops=info,write:1:0:8",
        "vbds": [disk(&path, "file", "r")],
    });
    let unikernel = lab.create_with("blkcheck-pvh", "check", &check, &[]);
    console::wait_for(&unikernel.name, "blkcheck: failed");
    let mut shell = Shell::open(&linux.name);
    let write = "dd if=/dev/zero of=/dev/xvda bs=4096 count=1 conv=fsync";
    assert_ne!(shell.status(write).0, 0);
    // The frontend has refused that; without it the backend has to.
    shell.run("blockdev --setrw /dev/xvda");
    assert_ne!(shell.status(write).0, 0);
    assert_ne!(
        shell.status("mkdir -p /mnt && mount -t ext4 -o rw /dev/xvda /mnt && touch /mnt/x").0,
        0
    );
    chaos::chaos(&["destroy", &linux.name]).ok();
    chaos::chaos(&["destroy", &unikernel.name]).ok();
    assert_eq!(run(&["sha256sum", path.to_str().unwrap()]).ok(), before);
}

#[test]
fn blkcheck_verifies_what_it_wrote() {
    let lab = Lab::new("disk-check");
    let host = Host::now();
    for base in ["blkcheck-pv", "blkcheck-pvh"] {
        let path = lab.image(base, 16);
        let write = json!({
            "cmdline": "disk=xvda ops=info,write:7:0:2048,write:9:30000:64,flush",
            "vbds": [disk(&path, "file", "w")],
        });
        let guest = lab.create_with(base, "writer", &write, &[]);
        console::wait_for(&guest.name, "blkcheck: done");
        chaos::chaos(&["destroy", &guest.name]).ok();
        // Another life, and the same content; what was not written is not what the seed says.
        let read = json!({
            "cmdline": "disk=xvda ops=verify:7:0:2048,verify:9:30000:64,verify:7:4096:8",
            "vbds": [disk(&path, "file", "r")],
        });
        let guest = lab.create_with(base, "reader", &read, &[]);
        console::wait_for(&guest.name, "blkcheck: failed");
        let text = console::text(&guest.name);
        assert_eq!(
            text.lines().filter(|line| line.contains("verify") && line.contains(" ok")).count(),
            2,
            "{text}"
        );
        chaos::chaos(&["destroy", &guest.name]).ok();
    }
    host.assert_unchanged("guests that checked disks");
}

#[test]
fn a_writable_image_has_one_guest() {
    let lab = Lab::new("disk-shared");
    let host = Host::now();
    let path = lab.image("image", 16);
    let link = lab.path("link");
    std::fs::hard_link(&path, &link).unwrap();
    let first =
        lab.create_with("hello-pv", "first", &json!({"vbds": [disk(&path, "file", "w")]}), &[]);
    for (name, target, access) in
        [("same", &path, "w"), ("link", &link, "w"), ("reader", &path, "r")]
    {
        let config = lab.config("hello-pv", name, &json!({"vbds": [disk(target, "file", access)]}));
        let output = chaos::chaos(&["create", &config]);
        assert!(!output.status.success(), "{}", output.report());
        let both =
            [first.name.as_str(), &lab.name(name)].iter().all(|name| output.stderr.contains(name));
        assert!(both, "not both guests are named: {}", output.report());
    }
    chaos::chaos(&["destroy", &first.name]).ok();
    // It is free as soon as the guest is gone.
    let second =
        lab.create_with("hello-pv", "second", &json!({"vbds": [disk(&path, "file", "w")]}), &[]);
    chaos::chaos(&["destroy", &second.name]).ok();
    host.assert_unchanged("guests that wanted the same disk");
}

#[test]
fn a_full_file_system_is_the_guests_error() {
    let lab = Lab::new("disk-full");
    let place = lab.path("small");
    std::fs::create_dir(&place).unwrap();
    run(&["mount", "-t", "tmpfs", "-o", "size=1m", "none", place.to_str().unwrap()]).ok();
    let path = place.join("image");
    File::create(&path).unwrap().set_len(64 << 20).unwrap();
    let write = json!({
        "cmdline": "disk=xvda ops=info,write:7:0:16384,flush",
        "vbds": [disk(&path, "file", "w")],
    });
    let guest = lab.create_with("blkcheck-pv", "a", &write, &[]);
    console::wait_for(&guest.name, "blkcheck: failed");
    chaos::chaos(&["destroy", &guest.name]).ok();
    run(&["umount", place.to_str().unwrap()]).ok();
}

/// The administrator plugs a disk into a running guest, and pulls it out.
#[test]
fn a_disk_comes_and_goes() {
    let lab = Lab::new("disk-plug");
    let path = lab.image("image", 16);
    let target = path.to_str().unwrap();
    let guest = lab.create_with("linux-pv", "a", &json!({"vifs": []}), &[]);
    let mut shell = Shell::open(&guest.name);
    let host = Host::now();
    for round in 0..5 {
        chaos::chaos(&[
            "device",
            "attach",
            &guest.name,
            "vbd",
            "--target",
            target,
            "--vdev",
            "xvdb",
            "--type",
            "file",
        ])
        .ok();
        shell.until("test -b /dev/xvdb");
        shell.run(&format!("echo round-{round} | dd of=/dev/xvdb conv=fsync"));
        chaos::chaos(&["device", "detach", &guest.name, "vbd", "xvdb"]).ok();
        shell.until("! test -b /dev/xvdb");
        assert!(std::fs::read(&path).unwrap().starts_with(format!("round-{round}").as_bytes()));
    }
    host.assert_unchanged("a disk that came and went");
}
