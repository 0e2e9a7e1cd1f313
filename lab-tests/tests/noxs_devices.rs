//! Devices of guests on the NoXS plane: interfaces and disks, at the start and later, seen from
//! both ends.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

use lab_tests::device::{CONNECTED, XVDA, disk, loops_on, ports_of, states};
use lab_tests::network::{DOM0, daytime, ping};
use lab_tests::shell::Shell;
use lab_tests::{Host, Lab, chaos, console, echo, noxs, run};
use serde_json::json;

#[test]
fn an_interface_carries_data() {
    let lab = Lab::new("noxs-net");
    let host = Host::now();
    for (base, address) in [("daytime-pv", "10.77.0.41"), ("daytime-pvh", "10.77.0.42")] {
        let guest =
            lab.create_with(base, base, &json!({"cmdline": format!("ip={address}/24")}), &[]);
        console::wait_for(&guest.name, "vif 0 ");
        assert!(ports_of("xenbr0").contains(&format!("vif{}.0", guest.domid)));
        ping(address);
        assert_eq!(states(guest.domid, "vif", 0), CONNECTED);
        daytime(address);
        echo::through(address, 1_000_000);
        // What only the host needs is not in the page.
        let keys = noxs::keys(guest.domid, "vif", 0);
        assert!(keys.iter().any(|line| line == "private bridge = xenbr0"), "{keys:?}");
        assert!(!keys.iter().any(|line| line.starts_with("backend bridge")), "{keys:?}");
        assert_eq!(chaos::json(&["shutdown", &guest.name])["reason"], "poweroff");
    }
    host.assert_unchanged("guests with interfaces");
}

#[test]
fn a_disk_keeps_data() {
    let lab = Lab::new("noxs-disk");
    let host = Host::now();
    for base in ["blkcheck-pv", "blkcheck-pvh"] {
        let path = lab.image(base, 16);
        let write = json!({
            "cmdline": "disk=xvda ops=info,write:7:0:2048,write:9:30000:64,flush",
            "vbds": [disk(&path, "file", "w")],
        });
        let guest = lab.create_with(base, "writer", &write, &[]);
        console::wait_for(&guest.name, "blkcheck: done");
        assert_eq!(loops_on(path.to_str().unwrap()).len(), 1);
        chaos::chaos(&["destroy", &guest.name]).ok();
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
    host.assert_unchanged("guests with disks");
}

#[test]
fn linux_with_both() {
    let lab = Lab::new("noxs-both");
    let host = Host::now();
    for (base, address) in [("linux-pv", "10.77.0.43"), ("linux-pvh", "10.77.0.44")] {
        let path = lab.image(base, 32);
        run(&["mke2fs", "-q", "-t", "ext4", path.to_str().unwrap()]).ok();
        let changes = json!({
            "cmdline": format!("console=hvc0 net={address}/24"),
            "vbds": [disk(&path, "file", "w")],
        });
        let guest = lab.create_with(base, base, &changes, &[]);
        let mut shell = Shell::open(&guest.name);
        shell.until(&format!("ping -c 1 -W 2 {DOM0}"));
        ping(address);
        echo::through(address, 1_000_000);
        shell.run("mkdir -p /mnt && mount -t ext4 /dev/xvda /mnt");
        shell.run("head -c 4000000 /dev/urandom >/mnt/data && sync");
        let sum = shell.run("sha256sum </mnt/data");
        shell.run("umount /mnt && mount -t ext4 /dev/xvda /mnt");
        assert_eq!(shell.run("sha256sum </mnt/data"), sum);
        shell.run("umount /mnt");
        shell.close();
        assert_eq!(states(guest.domid, "vbd", XVDA), CONNECTED);
        assert_eq!(chaos::json(&["shutdown", &guest.name])["reason"], "poweroff");
        run(&["e2fsck", "-fn", path.to_str().unwrap()]).ok();
    }
    host.assert_unchanged("Linux guests with devices");
}

#[test]
fn devices_come_and_go() {
    let lab = Lab::new("noxs-plug");
    let host = Host::now();
    for base in ["linux-pv", "linux-pvh"] {
        let path = lab.image(base, 16);
        let target = path.to_str().unwrap();
        let changes = json!({"cmdline": "console=hvc0 net=10.77.0.45/24", "vifs": []});
        let guest = lab.create_with(base, base, &changes, &[]);
        let mut shell = Shell::open(&guest.name);
        for round in 0..2 {
            let add = ["device", "attach", &guest.name];
            chaos::chaos(
                &[&add[..], &["vbd", "--target", target, "--vdev", "xvdb", "--type", "file"]]
                    .concat(),
            )
            .ok();
            chaos::chaos(&[&add[..], &["vif", "--bridge", "xenbr0"]].concat()).ok();
            shell.until("test -b /dev/xvdb && test -e /sys/class/net/eth0");
            shell.run(&format!("echo round-{round} | dd of=/dev/xvdb conv=fsync"));
            shell.until(&format!("ping -c 1 -W 2 {DOM0}"));
            chaos::chaos(&["device", "detach", &guest.name, "vbd", "xvdb"]).ok();
            chaos::chaos(&["device", "detach", &guest.name, "vif", "0"]).ok();
            shell.until("! test -b /dev/xvdb && ! test -e /sys/class/net/eth0");
            assert!(std::fs::read(&path).unwrap().starts_with(format!("round-{round}").as_bytes()));
            assert_eq!(noxs::devices_of(guest.domid).len(), 1, "{:?}", noxs::list());
        }
        shell.close();
        chaos::chaos(&["destroy", &guest.name]).ok();
    }
    host.assert_unchanged("devices that came and went");
}

#[test]
fn what_cannot_work_is_refused() {
    let lab = Lab::new("noxs-refused");
    let host = Host::now();
    for (changes, reason) in [
        (json!({"vifs": [{"bridge": "xenbr9"}]}), "xenbr9"),
        (json!({"vbds": [disk(Path::new("/no/such.img"), "file", "w")]}), "/no/such.img"),
    ] {
        let config = lab.config("noop-pv", "a", &changes);
        let output = chaos::chaos(&["create", &config]);
        output.fails_with_a_message();
        assert!(output.stderr.contains(reason), "{}", output.report());
        assert_eq!(noxs::list(), Vec::<String>::new());
    }
    host.assert_unchanged("guests that could not be");
}
