//! A guest that has nothing to do does nothing: whatever happened to it before, its CPU time, as
//! Xen counts it, stands still. On either plane: that of the host.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use lab_tests::chaos::Created;
use lab_tests::cpu_time::{self, idle};
use lab_tests::network::{BRIDGE, ping, up};
use lab_tests::{Lab, chaos, console, echo, run, wait};
use serde_json::{Value, json};

/// The guests of a test, PV and PVH, have interface 0 at the first address and the next at the
/// second.
const ADDRESSES: [[&str; 2]; 2] = [["10.77.0.51", "10.77.0.52"], ["10.77.0.53", "10.77.0.54"]];

/// Two times daytime.
#[track_caller]
fn daytime(lab: &Lab, vif: &Value) -> [Created; 2] {
    let bases = [("daytime-pv", ADDRESSES[0]), ("daytime-pvh", ADDRESSES[1])];
    bases.map(|(base, [first, second])| {
        let cmdline = format!("ip={first}/24 ip1={second}/24");
        let changes = json!({"cmdline": cmdline, "memory": 16, "vifs": [vif]});
        let guest = lab.create_with(base, base, &changes, &[]);
        up(&guest.name, 0, first);
        guest
    })
}

/// Attaches an interface, and waits until the guest has it up for the `count`th time.
#[track_caller]
fn attach(guest: &Created, count: usize) {
    chaos::chaos(&["device", "attach", "--wait=60", &guest.name, "vif", "--bridge", BRIDGE]).ok();
    console::wait_for_nth(&guest.name, "vif 1 00:", count);
}

#[test]
fn devices_that_came_and_went() {
    let lab = Lab::new("idle-plug");
    let guests = daytime(&lab, &json!({"bridge": BRIDGE}));
    idle(&guests, "its start");
    for guest in &guests {
        for round in 1..=20 {
            attach(guest, round);
            chaos::chaos(&["device", "detach", &guest.name, "vif", "1"]).ok();
        }
    }
    idle(&guests, "devices that came and went");
    for [first, _] in ADDRESSES {
        ping(first);
    }
}

#[test]
fn devices_that_were_taken_by_force() {
    let lab = Lab::new("idle-force");
    let guests = daytime(&lab, &json!({"bridge": BRIDGE}));
    for round in 1..=5 {
        for (guest, [_, second]) in guests.iter().zip(ADDRESSES) {
            attach(guest, round);
            ping(second);
            chaos::chaos(&["device", "detach", "--force", &guest.name, "vif", "1"]).ok();
        }
        if round == 1 {
            idle(&guests, "a forced detach");
        }
    }
    idle(&guests, "five forced detaches");
    // The memory of all of them is there again.
    for (guest, addresses) in guests.iter().zip(ADDRESSES) {
        attach(guest, 6);
        for address in addresses {
            ping(address);
        }
    }
}

#[test]
fn disks_that_were_taken_by_force() {
    let lab = Lab::new("idle-disk");
    let guests = ["blkcheck-pv", "blkcheck-pvh"].map(|base| {
        let disk =
            json!({"target": lab.image(base, 16), "type": "file", "vdev": "xvda", "access": "w"});
        let changes = json!({"cmdline": "disk=xvda ops=write:7:0:2048,flush", "vbds": [disk]});
        let guest = lab.create_with(base, base, &changes, &[]);
        console::wait_for(&guest.name, "blkcheck: done");
        guest
    });
    idle(&guests, "a disk was used");
    for guest in &guests {
        chaos::chaos(&["device", "detach", "--force", &guest.name, "vbd", "xvda"]).ok();
    }
    idle(&guests, "a disk was taken by force");
    for guest in &guests {
        assert_eq!(chaos::json(&["shutdown", &guest.name])["reason"], "poweroff");
    }
}

/// A file system on which nothing can be written as long as this exists.
#[derive(Debug)]
struct Frozen(PathBuf);

impl Frozen {
    /// Freezes what is mounted at `place`.
    #[track_caller]
    fn freeze(place: &Path) -> Self {
        run(&["fsfreeze", "--freeze", place.to_str().unwrap()]).ok();
        Self(place.to_owned())
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = Command::new("fsfreeze").arg("--unfreeze").arg(&self.0).status();
    }
}

/// What is mounted at a place, until this is dropped.
#[derive(Debug)]
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// A disk that does not answer: the guest sleeps until it does, and goes when it is asked to.
#[test]
fn a_disk_that_hangs() {
    /// Less than a guest's patience with its disk, which is two minutes.
    const SOON: Duration = Duration::from_secs(60);
    let lab = Lab::new("idle-hang");
    let (file, place) = (lab.image("file-system", 64), lab.path("place"));
    run(&["mke2fs", "-q", "-t", "ext4", file.to_str().unwrap()]).ok();
    fs::create_dir(&place).unwrap();
    run(&["mount", "-o", "loop", file.to_str().unwrap(), place.to_str().unwrap()]).ok();
    let mounted = Mounted(place.clone());
    let bases = ["blkcheck-pv", "blkcheck-pvh"];
    for base in bases {
        fs::File::create(place.join(base)).unwrap().set_len(16 << 20).unwrap();
    }
    let frozen = Frozen::freeze(&place);
    let guests = bases.map(|base| {
        let target = place.join(base);
        let disk = json!({"target": target, "type": "file", "vdev": "xvda", "access": "w"});
        let changes = json!({"cmdline": "disk=xvda ops=info,write:7:0:64", "vbds": [disk]});
        let guest = lab.create_with(base, base, &changes, &[]);
        console::wait_for(&guest.name, "blkcheck: info");
        guest
    });
    idle(&guests, "a disk that hangs");
    let start = Instant::now();
    let commands = guests
        .each_ref()
        .map(|guest| Command::new("chaos").args(["shutdown", &guest.name]).spawn().unwrap());
    let runs = |guest: &Created| {
        chaos::find(&guest.name).is_some_and(|row| ["running", "blocked"].contains(&&*row.state))
    };
    wait::until("the guests wait for their disks", || !guests.iter().any(runs));
    assert!(start.elapsed() < SOON, "it took {:?}", start.elapsed());
    drop(frozen);
    for mut command in commands {
        assert!(command.wait().unwrap().success());
    }
    drop(mounted);
}

/// Pings a hundred times a second, whatever is answered.
#[derive(Debug)]
struct Flood(Child);

impl Flood {
    fn start(address: &str) -> Self {
        let ping = ["-q", "-i", "0.01", "-s", "1000", address];
        Self(Command::new("ping").args(ping).stdout(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A backend that holds back what it sends: the guest waits for it, and does not ask again and
/// again.
#[test]
fn a_limit_under_load() {
    let lab = Lab::new("idle-rate");
    let guests = daytime(&lab, &json!({"bridge": BRIDGE, "rate": "1Mb/s"}));
    for (guest, [first, _]) in guests.iter().zip(ADDRESSES) {
        let (before, start) = (cpu_time::witnessed(guest.domid), Instant::now());
        let flood = Flood::start(first);
        let echo = || thread::spawn(move || echo::through(first, 300_000));
        for stream in [echo(), echo(), echo(), echo()] {
            stream.join().unwrap();
        }
        drop(flood);
        let (used, took) = (cpu_time::witnessed(guest.domid) - before, start.elapsed());
        println!("{}: {used:?} of {took:?} under a limit", guest.name);
        // 1.2 MB at 125 KB a second; what is to be done takes a fraction of that.
        assert!(took > Duration::from_secs(8), "there is no limit: {took:?}");
        assert!(used < took / 4, "{}: {used:?} of {took:?} under a limit", guest.name);
    }
    idle(&guests, "a limit under load");
}

/// The driver of a backend is taken off its device, without a word to the guest; and when it comes
/// back, it is another connection that it offers.
#[test]
fn a_backend_that_is_killed() {
    const DRIVER: &str = "/sys/bus/xen-backend/drivers/vif";
    let lab = Lab::new("idle-backend");
    let guests = daytime(&lab, &json!({"bridge": BRIDGE}));
    let device = |guest: &Created| format!("vif-{}-0", guest.domid);
    for guest in &guests {
        fs::write(format!("{DRIVER}/unbind"), device(guest)).unwrap();
    }
    idle(&guests, "its backend was killed");
    for guest in &guests {
        fs::write(format!("{DRIVER}/bind"), device(guest)).unwrap();
        console::wait_for(&guest.name, "vif 0 is gone");
    }
    idle(&guests, "its backend came back");
    for (guest, [_, second]) in guests.iter().zip(ADDRESSES) {
        attach(guest, 1);
        ping(second);
    }
    idle(&guests, "another backend came");
}
