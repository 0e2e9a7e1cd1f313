//! Guests on the network: what goes through their interfaces, seen from dom0 and from other guests.
//! On either plane: that of the host.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use lab_tests::device::{CONNECTED, frontend_key, states};
use lab_tests::network::{DOM0, daytime, ping, seconds, up};
use lab_tests::shell::Shell;
use lab_tests::{Host, Lab, chaos, echo, times};
use serde_json::json;

/// What the long transfers send through a guest and back: enough to go through every ring and every
/// sequence number of 16 bits hundreds of times, and more in a full run, where it takes an emulated
/// host a minute.
fn bulk() -> usize {
    times(10_000_000, 100_000_000)
}

/// What all others send.
fn short() -> usize {
    times(2_000_000, 5_000_000)
}

#[test]
fn daytime_talks_to_dom0() {
    let lab = Lab::new("net-daytime");
    let host = Host::now();
    for (base, address, bytes) in
        [("daytime-pv", "10.77.0.21", short()), ("daytime-pvh", "10.77.0.22", bulk())]
    {
        let guest =
            lab.create_with(base, base, &json!({"cmdline": format!("ip={address}/24")}), &[]);
        up(&guest.name, 0, address);
        ping(address);
        daytime(address);
        echo::through(address, bytes);
        assert_eq!(chaos::json(&["shutdown", &guest.name])["reason"], "poweroff");
    }
    host.assert_unchanged("guests with interfaces");
}

#[test]
fn linux_talks_to_dom0_and_to_daytime() {
    let lab = Lab::new("net-linux");
    let host = Host::now();
    let other =
        lab.create_with("daytime-pv", "daytime", &json!({"cmdline": "ip=10.77.0.23/24"}), &[]);
    up(&other.name, 0, "10.77.0.23");
    let served_by_dom0 = 7007;
    for (base, address, bytes) in
        [("linux-pv", "10.77.0.24", bulk()), ("linux-pvh", "10.77.0.25", short())]
    {
        let cmdline = format!("console=hvc0 net={address}/24");
        let guest = lab.create_with(base, base, &json!({"cmdline": cmdline, "memory": 512}), &[]);
        let mut shell = Shell::open(&guest.name);
        ping(address);
        echo::through(address, bytes);
        shell.until(&format!("ping -c 1 -W 2 {DOM0} && ping -c 1 -W 2 10.77.0.23"));
        let served = echo::serve_once(served_by_dom0);
        echo::from_guest(&mut shell, DOM0, served_by_dom0, short());
        assert_eq!(served.join().unwrap(), short() as u64);
        echo::from_guest(&mut shell, "10.77.0.23", echo::PORT, bytes);
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
    let vifs = serde_json::Value::from(vec![json!({"bridge": "xenbr0"}); 4]);
    let words: Vec<String> = ["ip", "ip1", "ip2", "ip3"]
        .iter()
        .zip(addresses)
        .map(|(key, address)| format!("{key}={address}/24"))
        .collect();
    for base in ["daytime-pv", "daytime-pvh"] {
        let changes = json!({"cmdline": words.join(" "), "memory": 16, "vifs": vifs});
        let guest = lab.create_with(base, base, &changes, &[]);
        for (vif, address) in (0..).zip(addresses) {
            up(&guest.name, vif, address);
            ping(address);
            echo::through(address, short());
        }
        chaos::chaos(&["destroy", &guest.name]).ok();
    }
    let cmdline = format!("console=hvc0 {}", words.join(" ").replace("ip", "net"));
    let guest =
        lab.create_with("linux-pv", "linux", &json!({"cmdline": cmdline, "vifs": vifs}), &[]);
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
    assert_eq!(frontend_key(guest.domid, "vif", 0, "multi-queue-num-queues").as_deref(), Some("4"));
    assert_eq!(states(guest.domid, "vif", 0), CONNECTED);
    shell.close();
    ping(address);
    let streams: Vec<_> =
        (0..4).map(|_| std::thread::spawn(move || echo::through(address, short()))).collect();
    for stream in streams {
        stream.join().unwrap();
    }
}

/// The witness itself: times as daytime prints them.
#[test]
fn times_are_read() {
    for (line, expected) in [
        ("Thursday, January 1, 1970 00:00:07-UTC\r\n", Some(7)),
        ("Sunday, November 22, 2026 17:05:12-UTC\r\n", Some(1_795_367_112)),
        ("Tuesday, February 29, 2000 23:59:59-UTC", Some(951_868_799)),
        ("Sunday, November 22, 2026 17:05:12", None),
        ("20:20", None),
    ] {
        assert_eq!(seconds(line), expected, "{line}");
    }
}
