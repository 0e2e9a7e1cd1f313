//! Guests on the network: what goes through their interfaces, seen from dom0 and from other guests.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::Read;

use lab_tests::shell::Shell;
use lab_tests::{Host, Lab, chaos, console, echo, run, wait, xenstore};
use serde_json::json;

/// What the long transfers send through a guest and back. On an emulated host that takes a minute, so each pair of ends has one.
const BULK: usize = 100_000_000;
const SHORT: usize = BULK / 20;

/// Between Linux guests and unikernels, on this side of the same bridge.
const DOM0: &str = "10.77.0.1";

#[track_caller]
fn ping(address: &str) {
    // One every fifth of a second until one is answered.
    wait::until(&format!("{address} does not answer"), || {
        run(&["ping", "-c", "1", "-i", "0.2", "-w", "20", address]).status.success()
    });
}

/// Waits until daytime has said that its interface is up.
#[track_caller]
fn up(name: &str, vif: u32, address: &str) {
    console::wait_for(name, &format!("vif {vif} "));
    let line = console::wait_for(name, address);
    assert!(line.contains(&format!("vif {vif} ")), "{line}");
}

/// Has a Linux guest send so many bytes to an echo service and compare what comes back, by checksum.
#[track_caller]
fn send_through(shell: &mut Shell, to: &str, port: u16, length: usize) {
    const PIECE: usize = 1_000_000;
    let count = length / PIECE;
    // busybox's nc itself sends a KiB at a time. With -e it leaves the socket to a program, and cat sends 64 KiB.
    shell.run(&format!("head -c {PIECE} /dev/urandom >/tmp/piece"));
    shell.run(&format!("echo 'for i in $(seq {count}); do cat /tmp/piece; done' >/tmp/pieces"));
    let back = format!("dd bs={PIECE} count={count} iflag=fullblock 2>/dev/null | sha256sum >/tmp/back");
    shell.run(&format!("printf '#!/bin/sh\nsh /tmp/pieces & {back}\n' >/tmp/both; chmod 755 /tmp/both"));
    let sum = shell.run("sh /tmp/pieces | sha256sum");
    shell.run(&format!("nc {to} {port} -e /tmp/both"));
    assert_eq!(shell.run("cat /tmp/back"), sum, "{to}:{port}");
}

#[test]
fn daytime_talks_to_dom0() {
    let lab = Lab::new("net-daytime");
    let host = Host::now();
    for (base, address, bytes) in [("daytime-pv", "10.77.0.21", SHORT), ("daytime-pvh", "10.77.0.22", BULK)] {
        let guest = lab.create_with(base, base, &json!({"cmdline": format!("ip={address}/24")}), &[]);
        up(&guest.name, 0, address);
        ping(address);
        let mut text = String::new();
        echo::connect(address, 13).read_to_string(&mut text).unwrap();
        // RFC 867 leaves the form open; a year and a time of day are in all of them.
        assert!(text.contains(':') && text.contains("20"), "{text:?}");
        echo::through(address, bytes);
        assert_eq!(chaos::json(&["shutdown", &guest.name])["reason"], "poweroff");
    }
    host.assert_unchanged("guests with interfaces");
}

#[test]
fn linux_talks_to_dom0_and_to_daytime() {
    let lab = Lab::new("net-linux");
    let host = Host::now();
    let other = lab.create_with("daytime-pv", "daytime", &json!({"cmdline": "ip=10.77.0.23/24"}), &[]);
    up(&other.name, 0, "10.77.0.23");
    let served_by_dom0 = 7007;
    for (base, address, bytes) in [("linux-pv", "10.77.0.24", BULK), ("linux-pvh", "10.77.0.25", SHORT)] {
        let cmdline = format!("console=hvc0 net={address}/24");
        let guest = lab.create_with(base, base, &json!({"cmdline": cmdline, "memory": 512}), &[]);
        let mut shell = Shell::open(&guest.name);
        ping(address);
        echo::through(address, bytes);
        shell.until(&format!("ping -c 1 -W 2 {DOM0} && ping -c 1 -W 2 10.77.0.23"));
        let served = echo::serve_once(served_by_dom0);
        send_through(&mut shell, DOM0, served_by_dom0, SHORT);
        assert_eq!(served.join().unwrap(), SHORT as u64);
        send_through(&mut shell, "10.77.0.23", echo::PORT, bytes);
        shell.close();
        chaos::chaos(&["destroy", &guest.name]).ok();
    }
    chaos::chaos(&["destroy", &other.name]).ok();
    host.assert_unchanged("guests that talked to each other");
}

#[test]
fn four_interfaces() {
    let lab = Lab::new("net-four");
    let host = Host::now();
    let addresses = ["10.77.0.31", "10.77.0.32", "10.77.0.33", "10.77.0.34"];
    let vifs = json!([{"bridge": "xenbr0"}, {"bridge": "xenbr0"}, {"bridge": "xenbr0"}, {"bridge": "xenbr0"}]);
    let words: Vec<String> =
        ["ip", "ip1", "ip2", "ip3"].iter().zip(addresses).map(|(key, address)| format!("{key}={address}/24")).collect();
    for base in ["daytime-pv", "daytime-pvh"] {
        let changes = json!({"cmdline": words.join(" "), "memory": 16, "vifs": vifs});
        let guest = lab.create_with(base, base, &changes, &[]);
        for (vif, address) in (0..).zip(addresses) {
            up(&guest.name, vif, address);
            ping(address);
            echo::through(address, SHORT);
        }
        chaos::chaos(&["destroy", &guest.name]).ok();
    }
    let cmdline = format!("console=hvc0 {}", words.join(" ").replace("ip", "net"));
    let guest = lab.create_with("linux-pv", "linux", &json!({"cmdline": cmdline, "vifs": vifs}), &[]);
    let mut shell = Shell::open(&guest.name);
    for (vif, address) in addresses.iter().enumerate() {
        shell.until(&format!("ping -c 1 -W 2 -I eth{vif} {DOM0}"));
        ping(address);
    }
    shell.close();
    chaos::chaos(&["destroy", &guest.name]).ok();
    host.assert_unchanged("guests with four interfaces");
}

#[test]
fn a_queue_for_each_vcpu() {
    let lab = Lab::new("net-queues");
    let address = "10.77.0.26";
    let changes = json!({"cmdline": format!("console=hvc0 net={address}/24"), "vcpus": 4});
    let guest = lab.create_with("linux-pv", "a", &changes, &[]);
    let mut shell = Shell::open(&guest.name);
    assert_eq!(shell.run("ls -d /sys/class/net/eth0/queues/tx-* | wc -l"), "4");
    let backend = format!("/local/domain/0/backend/vif/{}/0", guest.domid);
    let frontend = format!("/local/domain/{}/device/vif/0", guest.domid);
    assert_eq!(xenstore::read(&format!("{frontend}/multi-queue-num-queues")).as_deref(), Some("4"));
    assert_eq!(xenstore::read(&format!("{backend}/state")).as_deref(), Some("4"));
    shell.close();
    ping(address);
    let streams: Vec<_> = (0..4).map(|_| std::thread::spawn(move || echo::through(address, SHORT))).collect();
    for stream in streams {
        stream.join().unwrap();
    }
}

/// The administrator plugs an interface into a running guest and pulls it out, again and again.
#[test]
fn a_hundred_interfaces_come_and_go() {
    let lab = Lab::new("net-plug");
    let (first, second) = ("10.77.0.27", "10.77.0.28");
    let cmdline = format!("ip={first}/24 ip1={second}/24");
    let guest = lab.create_with("daytime-pv", "a", &json!({"cmdline": cmdline, "memory": 16}), &[]);
    up(&guest.name, 0, first);
    let host = Host::now();
    for round in 0..100 {
        chaos::chaos(&["device", "attach", &guest.name, "vif", "--bridge", "xenbr0"]).ok();
        ping(second);
        if round % 20 == 0 {
            echo::through(second, 1_000_000);
            ping(first);
        }
        chaos::chaos(&["device", "detach", &guest.name, "vif", "1"]).ok();
    }
    host.assert_unchanged("a hundred interfaces");
    ping(first);
}
