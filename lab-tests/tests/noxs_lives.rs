//! Many guests with devices on the NoXS plane, one after the other: nothing is left of them in the
//! kernel, in the hypervisor or on the host. A hundred, or a thousand in a full run.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::{Duration, Instant};

use h2::{BootImage, DeviceClass, DeviceId, GuestConfig, Hypervisor};
use lab_tests::device::{XVDA, disk};
use lab_tests::{Host, Lab, chaos, console, grants};
use serde_json::json;

/// How many of them live through the command: the rest by the library, in one process.
const BY_COMMAND: usize = 20;

/// Every so many lives the guest has a disk beside its interface, and the disk is what it uses.
const WITH_DISK: usize = 5;

/// How long a guest may take to connect.
const LIMIT: Duration = Duration::from_secs(60);

/// One of the kinds of guests that live.
#[derive(Debug)]
struct Kind {
    name: String,
    config: String,
    /// What it connects, and what it says then.
    device: DeviceId,
    says: &'static str,
}

impl Kind {
    /// The command makes and destroys one.
    #[track_caller]
    fn live(&self) {
        console::clear(&self.name);
        chaos::chaos(&["create", &self.config]).ok();
        console::wait_for(&self.name, self.says);
        chaos::chaos(&["destroy", &self.name]).ok();
    }
}

#[test]
fn many_lives_leave_nothing() {
    let lives = lab_tests::times(100, 1000);
    let lab = Lab::new("noxs-lives");
    let both = json!({
        "cmdline": "disk=xvda ops=info,write:1:0:64,flush",
        "vifs": [{"bridge": "xenbr0"}],
        "vbds": [disk(lab.image("image", 16), "file", "w")],
    });
    let xvda = DeviceId { class: DeviceClass::Vbd, number: XVDA };
    let kind = |kind: &str, with_disk: bool| {
        let (app, changes) = if with_disk { ("blkcheck", &both) } else { ("daytime", &json!({})) };
        let base = format!("{app}-{kind}");
        let (device, says) =
            if with_disk { (xvda, "blkcheck: done") } else { (DeviceId::vif(0), "vif 0 ") };
        Kind { config: lab.config(&base, &base, changes), name: lab.name(&base), device, says }
    };
    let kinds = ["pv", "pvh"].map(|name| [false, true].map(|disk| kind(name, disk)));
    let of_life = |life: usize| (life % 2, usize::from(life.is_multiple_of(WITH_DISK)));
    let live = |life: usize| {
        let (kind, disk) = of_life(life);
        kinds[kind][disk].live();
    };
    // The first of each kind make what the host keeps.
    (0..=WITH_DISK).for_each(live);
    let (host, before) = (Host::now(), grants::now());

    let start = Instant::now();
    (0..BY_COMMAND).for_each(live);
    eprintln!("{BY_COMMAND} lives by chaos in {:.1} s", start.elapsed().as_secs_f64());

    let start = Instant::now();
    let hypervisor = Hypervisor::open().unwrap();
    let guests = kinds.each_ref().map(|kinds| {
        kinds.each_ref().map(|kind| {
            let config = GuestConfig::from_file(&kind.config).unwrap();
            (BootImage::open(&config).unwrap(), config)
        })
    });
    for life in BY_COMMAND..lives {
        let (kind, disk) = of_life(life);
        let (image, config) = &guests[kind][disk];
        let domain = hypervisor
            .create(config)
            .unwrap()
            .boot(image)
            .unwrap_or_else(|error| panic!("life {life}: {error}"));
        // Two of four are destroyed at once, in whatever their frontends are about.
        if life % 4 < 2 {
            let connected = domain.wait_until_connected(kinds[kind][disk].device, LIMIT);
            connected.unwrap_or_else(|error| panic!("life {life}: {error}"));
        }
        domain.destroy().unwrap_or_else(|error| panic!("life {life}: {error}"));
    }
    drop(hypervisor);
    eprintln!(
        "{} lives by the library in {:.1} s",
        lives - BY_COMMAND,
        start.elapsed().as_secs_f64()
    );
    host.assert_unchanged(&format!("{lives} guests with devices"));
    // Each was given at least two of dom0's grants.
    let after = grants::now();
    eprintln!("before: {before:?}\nafter:  {after:?}");
    assert_eq!(after.frames, before.frames, "dom0's table of grants has grown");
}
