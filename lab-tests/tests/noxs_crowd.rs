//! Many guests at once on the NoXS plane, each with an interface: all of them answer, the last
//! costs what the first did, and nothing is left of them. Sixty, or five hundred in a full run.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::time::Instant;

use h2::{BootImage, GuestConfig, Hypervisor};
use lab_tests::chaos::Created;
use lab_tests::device::{CONNECTED, ports_of};
use lab_tests::network::{BRIDGE, Subnet, daytime, up};
use lab_tests::{Host, Lab, chaos, noxs, wait};
use serde_json::{Value, json};

/// The first of each type are made by the command, and so are the last; all others by the library,
/// in one process.
const KINDS: [&str; 2] = ["pv", "pvh"];

fn changes(net: &Subnet, number: usize) -> Value {
    json!({"cmdline": format!("ip={}/16", net.address(number))})
}

/// Keeps what an interface broadcasts from the other guests, all of which it would wake. Dom0 gets
/// it.
#[track_caller]
fn alone(domain: u16) {
    fs::write(format!("/sys/class/net/{BRIDGE}/brif/vif{domain}.0/isolated"), "1").unwrap();
}

#[test]
fn many_with_an_interface_each() {
    let count = lab_tests::times(60, 500);
    let lab = Lab::new("noxs-crowd");
    let net = Subnet::join();
    for kind in KINDS {
        lab.create_with(&format!("daytime-{kind}"), "warm", &changes(&net, 0), &[]);
        chaos::chaos(&["destroy", &lab.name("warm")]).ok();
    }
    let host = Host::now().with_crowd(count);
    let by_command = |number: usize| -> Created {
        let base = format!("daytime-{}", KINDS[number % 2]);
        let created =
            lab.create_with(&base, &number.to_string(), &changes(&net, number), &["--stats"]);
        alone(created.domid);
        up(&created.name, 0, &net.address(number));
        created
    };
    let first = [0, 1].map(by_command);

    let mut spent = [0.0; 2];
    let hypervisor = Hypervisor::open().unwrap();
    let images = KINDS.map(|kind| {
        let config = GuestConfig::from_file(format!("/guests/daytime-{kind}.json")).unwrap();
        BootImage::open(&config).unwrap()
    });
    for number in 2..count - 2 {
        let base = format!("daytime-{}", KINDS[number % 2]);
        let config = lab.config(&base, &number.to_string(), &changes(&net, number));
        let config = GuestConfig::from_file(&config).unwrap();
        let start = Instant::now();
        let made = hypervisor.create(&config).unwrap().boot(&images[number % 2]);
        alone(made.unwrap_or_else(|error| panic!("guest {number}: {error}")).id().get());
        spent[number % 2] += start.elapsed().as_secs_f64();
        if (number + 1).is_multiple_of(100) {
            eprintln!(
                "{} guests; seconds for the last fifty of each of {KINDS:?}: {spent:.1?}",
                number + 1
            );
            spent = [0.0; 2];
        }
    }
    drop(hypervisor);

    let last = [count - 2, count - 1].map(by_command);
    for ((kind, first), last) in KINDS.iter().zip(&first).zip(&last) {
        eprintln!("{kind}, the first: {:?}\n{kind}, the last:  {:?}", first.stats, last.stats);
    }
    assert_eq!(first.map(|guest| guest.stats.unwrap()), last.map(|guest| guest.stats.unwrap()));

    let rows = chaos::list();
    let guests: Vec<_> = rows.iter().filter(|row| row.domid != 0).collect();
    assert_eq!(guests.len(), count);
    let start = Instant::now();
    for number in 0..count {
        daytime(&net.address(number));
    }
    eprintln!("{count} guests asked for the time in {:.1} s", start.elapsed().as_secs_f64());
    // An interface and the device that each is shut down by.
    let devices = noxs::list();
    assert_eq!(devices.len(), count * 2);
    let ports = ports_of(BRIDGE);
    assert_eq!(ports.len(), count);
    for guest in &guests {
        let vif = format!("{} vif 0: {CONNECTED}", guest.domid);
        assert!(
            devices.contains(&vif) && ports.contains(&format!("vif{}.0", guest.domid)),
            "{vif} is not in {devices:?}"
        );
    }

    let start = Instant::now();
    let names = guests.iter().map(|row| row.name.as_deref().unwrap());
    chaos::chaos(&["destroy"].into_iter().chain(names).collect::<Vec<_>>()).ok();
    eprintln!("{count} guests destroyed in {:.1} s", start.elapsed().as_secs_f64());
    wait::until("devices are left", || noxs::list().is_empty());
    drop(net);
    host.assert_unchanged(&format!("{count} guests"));
}
