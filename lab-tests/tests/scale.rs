//! Many guests: the last of a hundred at once costs what the first one does, and two hundred that
//! came and went leave nothing. In a full run two hundred at once, and a thousand in a row.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::time::Instant;

use h2::{BootImage, GuestConfig, Hypervisor};
use lab_tests::chaos::Stats;
use lab_tests::network::BRIDGE;
use lab_tests::{Host, Lab, chaos, times, xenstore, xl};
use serde_json::json;

/// By how many commands the guests that live at once are made, by type.
const COMMANDS: [(&str, usize); 2] = [("pv", 4), ("pvh", 1)];

/// How many of those that come and go do so by the command: the rest use the library in one
/// process.
const BY_COMMAND: usize = 20;

/// What a guest more costs on this host at this moment.
fn cost(lab: &Lab, kind: &str) -> Stats {
    let created = lab.create_with(&format!("noop-{kind}"), "probe", &json!({}), &["--stats"]);
    chaos::chaos(&["destroy", &created.name]).ok();
    created.stats.unwrap()
}

#[test]
fn many_at_once() {
    let of_a_command = times(20, 40);
    let count = of_a_command * COMMANDS.iter().map(|(_, commands)| commands).sum::<usize>();
    let lab = Lab::new("many");
    let host = Host::now().with_crowd(count);
    let alone = ["pv", "pvh"].map(|kind| cost(&lab, kind));
    assert!(alone[0].hypercalls.is_some(), "chaos counts hypercalls: {alone:?}");

    let start = Instant::now();
    let mut names = Vec::new();
    for (kind, commands) in COMMANDS {
        for command in 0..commands {
            let config =
                lab.config(&format!("noop-{kind}"), &format!("{kind}-{command}"), &json!({}));
            names.extend(
                chaos::create(&config, &["-n", &of_a_command.to_string()])
                    .into_iter()
                    .map(|guest| guest.name),
            );
        }
    }
    eprintln!("{count} guests made in {:.1} s", start.elapsed().as_secs_f64());
    assert_eq!(names.len(), count);

    assert_eq!(
        ["pv", "pvh"].map(|kind| cost(&lab, kind)),
        alone,
        "a create with {count} guests alive does more than one with none"
    );

    let listed = xl::list();
    let ours: Vec<_> = listed.iter().filter(|row| names.contains(&row.name)).collect();
    assert_eq!(ours.len(), count);
    assert!(ours.iter().all(|row| row.state.contains('b') && row.memory_mib == 4), "{ours:?}");
    let rows = chaos::list();
    assert_eq!(rows.iter().filter(|row| row.state == "blocked").count(), count);

    let start = Instant::now();
    let destroy: Vec<&str> =
        ["destroy"].into_iter().chain(names.iter().map(String::as_str)).collect();
    chaos::chaos(&destroy).ok();
    eprintln!("{count} guests destroyed in {:.1} s", start.elapsed().as_secs_f64());
    host.assert_unchanged(&format!("{count} guests lived and were destroyed"));
}

#[test]
fn many_in_a_row() {
    let turns = times(200, 1000);
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
    for turn in BY_COMMAND..turns {
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
        turns - BY_COMMAND,
        start.elapsed().as_secs_f64()
    );
    host.assert_unchanged(&format!("{turns} guests came and went"));
}

/// Many guests with an interface each, as fast as it goes.
#[test]
fn many_with_an_interface_each() {
    let count = times(30, 100);
    let lab = Lab::new("crowd");
    lab.create_with("noop-pv", "warm", &json!({"vifs": [{ "bridge": BRIDGE }]}), &[]);
    chaos::chaos(&["destroy", &lab.name("warm")]).ok();
    let host = Host::now().with_crowd(count);
    let config = lab.config("noop-pv", "a", &json!({"vifs": [{ "bridge": BRIDGE }]}));
    let guests = chaos::create(&config, &["-n", &count.to_string()]);
    assert_eq!(guests.len(), count);
    let ports = fs::read_dir(format!("/sys/class/net/{BRIDGE}/brif")).unwrap().count();
    assert_eq!(ports, count);
    for guest in &guests {
        let status = xenstore::read(&format!(
            "/local/domain/0/backend/vif/{}/0/hotplug-status",
            guest.domid
        ));
        assert_eq!(status.as_deref(), Some("connected"), "{}", guest.name);
    }
    let names = guests.iter().map(|guest| guest.name.as_str());
    chaos::chaos(&["destroy"].into_iter().chain(names).collect::<Vec<_>>()).ok();
    host.assert_unchanged(&format!("{count} guests with an interface each"));
}
