//! Devices of running guests that are plugged in and pulled out, again and again: ten times, a
//! hundred in a full run. On either plane: that of the host.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use lab_tests::device::{CONNECTED, states};
use lab_tests::network::{ping, up};
use lab_tests::shell::Shell;
use lab_tests::{Host, Lab, chaos, console, echo, wait};
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

/// daytime serves four interfaces: a fifth is left alone, also by the guest's CPU, until one of the
/// four goes.
#[test]
fn a_fifth_interface_waits_for_a_place() {
    let lab = Lab::new("plug-fifth");
    let cmdline = "ip=10.77.0.81/24 ip1=10.77.0.82/24 ip2=10.77.0.83/24 ip3=10.77.0.84/24";
    let vifs: Vec<_> = (0..4).map(|_| json!({"bridge": "xenbr0"})).collect();
    let changes = json!({"cmdline": cmdline, "memory": 16, "vifs": vifs});
    for base in ["daytime-pv", "daytime-pvh"] {
        let guest = lab.create_with(base, base, &changes, &[]);
        let attach = ["device", "attach", &guest.name, "vif", "--bridge", "xenbr0"];
        for (vif, number) in (0..4).zip(81..) {
            up(&guest.name, vif, &format!("10.77.0.{number}"));
        }
        chaos::chaos(&attach).ok();
        console::wait_for(&guest.name, "vif 4: no place for it");
        // The guest's end has said nothing: Xenstore's toolstack writes 1 there, NoXS's nothing.
        let state = states(guest.domid, "vif", 4);
        assert!(["2 0", "2 1"].contains(&state.as_str()), "{state}");
        let looks = || chaos::find(&guest.name).unwrap().cpu_time_ns;
        let idle = (0..10).any(|_| {
            let before = looks();
            sleep(Duration::from_millis(500));
            looks() == before
        });
        assert!(idle, "the guest is not idle with an interface that it does not serve");
        (81..=84).for_each(|number| ping(&format!("10.77.0.{number}")));
        // It goes as any other does, and one that finds a place is served.
        chaos::chaos(&["device", "detach", &guest.name, "vif", "4"]).ok();
        chaos::chaos(&attach).ok();
        chaos::chaos(&["device", "detach", &guest.name, "vif", "3"]).ok();
        wait::until("the fifth is not served", || states(guest.domid, "vif", 4) == CONNECTED);
        assert_eq!(chaos::json(&["shutdown", &guest.name])["reason"], "poweroff");
    }
}
