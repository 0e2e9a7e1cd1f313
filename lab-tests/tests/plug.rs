//! Devices of running guests that are plugged in and pulled out, again and again: ten times, a
//! hundred in a full run. On either plane: that of the host.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;

use lab_tests::network::{ping, up};
use lab_tests::shell::Shell;
use lab_tests::{Host, Lab, chaos, echo};
use serde_json::json;

/// How often.
fn rounds() -> usize {
    lab_tests::times(10, 100)
}

#[test]
fn interfaces_come_and_go() {
    let lab = Lab::new("plug-vif");
    let (first, second) = ("10.77.0.27", "10.77.0.28");
    let cmdline = format!("ip={first}/24 ip1={second}/24");
    let guest = lab.create_with("daytime-pv", "a", &json!({"cmdline": cmdline, "memory": 16}), &[]);
    up(&guest.name, 0, first);
    let host = Host::now();
    for round in 0..rounds() {
        chaos::chaos(&["device", "attach", &guest.name, "vif", "--bridge", "xenbr0"]).ok();
        ping(second);
        if round % 20 == 0 {
            echo::through(second, 1_000_000);
            ping(first);
        }
        chaos::chaos(&["device", "detach", &guest.name, "vif", "1"]).ok();
    }
    host.assert_unchanged("interfaces that came and went");
    ping(first);
}

#[test]
fn disks_come_and_go() {
    let lab = Lab::new("plug-vbd");
    let image = lab.image("image", 16);
    let target = image.to_str().unwrap();
    let guest = lab.create_with("linux-pvh", "a", &json!({"vifs": []}), &[]);
    let mut shell = Shell::open(&guest.name);
    let attach = [
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
    ];
    let host = Host::now();
    for round in 0..rounds() {
        chaos::chaos(&attach).ok();
        // Between the two the disk is closed, and with that forgotten by the guest's cache.
        let line = format!("round {round}");
        shell.run("until test -b /dev/xvdb; do usleep 10000; done");
        shell.run(&format!("echo {line} | dd of=/dev/xvdb bs=512 conv=sync,fsync"));
        assert_eq!(shell.run("dd if=/dev/xvdb bs=512 count=1 2>/dev/null | head -n 1"), line);
        chaos::chaos(&["device", "detach", &guest.name, "vbd", "xvdb"]).ok();
        assert!(
            fs::read(&image).unwrap().starts_with(format!("{line}\n\0").as_bytes()),
            "{line} is not in the image"
        );
        shell.run("! test -b /dev/xvdb");
    }
    host.assert_unchanged("disks that came and went");
    shell.close();
}
