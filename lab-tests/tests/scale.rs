//! Many guests: the two-hundredth costs what the first one does, and a thousand that came and went
//! leave nothing.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::time::Instant;

use h2::{BootImage, GuestConfig, Hypervisor};
use lab_tests::chaos::Stats;
use lab_tests::{Host, Lab, chaos, xenstore, xl};
use serde_json::json;

/// How many guests live at once, by type, made in so many commands of so many guests.
const ALIVE: [(&str, u32, u32); 2] = [("pv", 4, 40), ("pvh", 1, 40)];

/// How many come and go, and how many of them through the command: the rest use the library in one
/// process.
const TURNS: u32 = 1000;
const BY_COMMAND: u32 = 20;

const BRIDGE: &str = "xenbr0";

/// What a guest more costs on this host at this moment.
fn cost(lab: &Lab, kind: &str) -> Stats {
    let created = lab.create_with(&format!("noop-{kind}"), "probe", &json!({}), &["--stats"]);
    chaos::chaos(&["destroy", &created.name]).ok();
    created.stats.unwrap()
}

#[test]
fn two_hundred_at_once() {
    let lab = Lab::new("many");
    let host = Host::now().with_crowd(200);
    let alone = ["pv", "pvh"].map(|kind| cost(&lab, kind));
    assert!(alone[0].hypercalls.is_some(), "chaos counts hypercalls: {alone:?}");

    let start = Instant::now();
    let mut names = Vec::new();
    for (kind, commands, count) in ALIVE {
        for command in 0..commands {
            let config =
                lab.config(&format!("noop-{kind}"), &format!("{kind}-{command}"), &json!({}));
            names.extend(
                chaos::create(&config, &["-n", &count.to_string()])
                    .into_iter()
                    .map(|guest| guest.name),
            );
        }
    }
    eprintln!("200 guests made in {:.1} s", start.elapsed().as_secs_f64());
    assert_eq!(names.len(), 200);

    assert_eq!(
        ["pv", "pvh"].map(|kind| cost(&lab, kind)),
        alone,
        "a create with 200 guests alive does more than one with none"
    );

    let listed = xl::list();
    let ours: Vec<_> = listed.iter().filter(|row| names.contains(&row.name)).collect();
    assert_eq!(ours.len(), 200);
    assert!(ours.iter().all(|row| row.state.contains('b') && row.memory_mib == 4), "{ours:?}");
    let rows = chaos::list();
    assert_eq!(rows.iter().filter(|row| row.state == "blocked").count(), 200);

    let start = Instant::now();
    let destroy: Vec<&str> =
        ["destroy"].into_iter().chain(names.iter().map(String::as_str)).collect();
    chaos::chaos(&destroy).ok();
    eprintln!("200 guests destroyed in {:.1} s", start.elapsed().as_secs_f64());
    host.assert_unchanged("200 guests lived and were destroyed");
}

#[test]
fn a_thousand_in_a_row() {
    let lab = Lab::new("row");
    let host = Host::now();
    let config = lab.config("noop-pv", "a", &json!({}));
    let name = lab.name("a");

    let start = Instant::now();
    for _ in 0..BY_COMMAND {
        chaos::chaos(&["create", &config]).ok();
        chaos::chaos(&["destroy", &name]).ok();
    }
    eprintln!("{BY_COMMAND} turns by chaos in {:.1} s", start.elapsed().as_secs_f64());

    let start = Instant::now();
    let hypervisor = Hypervisor::open().unwrap();
    let guest = GuestConfig::from_file(&config).unwrap();
    let image = BootImage::open(&guest).unwrap();
    for turn in BY_COMMAND..TURNS {
        let domain = hypervisor
            .create(&guest)
            .unwrap()
            .boot(&image)
            .unwrap_or_else(|error| panic!("turn {turn}: {error}"));
        domain.destroy().unwrap_or_else(|error| panic!("turn {turn}: {error}"));
    }
    drop(hypervisor);
    eprintln!(
        "{} turns by the library in {:.1} s",
        TURNS - BY_COMMAND,
        start.elapsed().as_secs_f64()
    );
    host.assert_unchanged("1,000 guests came and went");
}

/// Many guests with an interface each, as fast as it goes.
#[test]
fn a_hundred_with_an_interface_each() {
    const COUNT: usize = 100;
    let lab = Lab::new("crowd");
    lab.create_with("noop-pv", "warm", &json!({"vifs": [{ "bridge": BRIDGE }]}), &[]);
    chaos::chaos(&["destroy", &lab.name("warm")]).ok();
    let host = Host::now().with_crowd(COUNT);
    let config = lab.config("noop-pv", "a", &json!({"vifs": [{ "bridge": BRIDGE }]}));
    let guests = chaos::create(&config, &["-n", &COUNT.to_string()]);
    assert_eq!(guests.len(), COUNT);
    let ports = fs::read_dir(format!("/sys/class/net/{BRIDGE}/brif")).unwrap().count();
    assert_eq!(ports, COUNT);
    for guest in &guests {
        let status = xenstore::read(&format!(
            "/local/domain/0/backend/vif/{}/0/hotplug-status",
            guest.domid
        ));
        assert_eq!(status.as_deref(), Some("connected"), "{}", guest.name);
    }
    let names = guests.iter().map(|guest| guest.name.as_str());
    chaos::chaos(&["destroy"].into_iter().chain(names).collect::<Vec<_>>()).ok();
    host.assert_unchanged("a hundred guests with an interface each");
}
