//! Network interfaces and disks of guests, with xl, xenstore-ls, /sys and the guests themselves as
//! witnesses.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use lab_tests::device::{XVDA, disk};
use lab_tests::network::{BRIDGE, ping};
use lab_tests::strace::{self, Fault};
use lab_tests::xendevd::image;
use lab_tests::{Host, Lab, chaos, console, run, wait, xendevd, xenstore, xl};
use serde_json::{Value, json};

const MAC: &str = "00:16:3e:00:00:07";

/// An interface on the bridge, and a disk.
fn both(image: &str) -> Value {
    json!({
        "vifs": [{ "bridge": BRIDGE, "mac": MAC, "rate": "10Mb/s", "ip": "10.77.0.9" }],
        "vbds": [disk(image, "file", "w")],
    })
}

/// The state of the host, behind a guest with devices: the folders of their classes are there, and
/// so are the loop devices' nodes.
fn host(lab: &Lab) -> Host {
    lab.create_with("noop-pv", "warm", &both(&image(lab, "warm.img")), &[]);
    chaos::chaos(&["destroy", &lab.name("warm")]).ok();
    Host::now()
}

/// Fails unless the host becomes again what it was, its loop devices and interfaces, too.
#[track_caller]
fn unchanged(host: &Host, after: &str) {
    host.assert_unchanged(after);
    wait::until(&format!("interfaces or loop devices are left after {after}"), || {
        interfaces().is_empty() && loops().is_empty()
    });
}

fn interfaces() -> Vec<String> {
    let entries = fs::read_dir("/sys/class/net").unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("vif")).collect()
}

/// The files behind loop devices.
fn loops() -> Vec<String> {
    let entries = fs::read_dir("/sys/block").unwrap();
    let files = entries.filter_map(|entry| {
        fs::read_to_string(entry.unwrap().path().join("loop/backing_file")).ok()
    });
    files.map(|file| file.trim().to_owned()).collect()
}

fn devices(guest: &str) -> Vec<Value> {
    chaos::json(&["device", "list", guest]).as_array().unwrap().clone()
}

/// The ids of the guest's devices of a class.
fn ids(guest: &str, class: &str) -> Vec<u64> {
    devices(guest)
        .iter()
        .filter(|device| device["class"] == class)
        .map(|device| device["id"].as_u64().unwrap())
        .collect()
}

#[track_caller]
fn connected(guest: &str, number: usize) {
    wait::until(&format!("the devices of {guest} do not connect"), || {
        let devices = devices(guest);
        devices.len() == number
            && devices.iter().all(|device| device["backend_state"] == "connected")
    });
}

/// The nodes of a guest's devices with their permissions, without what drivers and hotplug agents
/// add.
fn nodes(domid: u16) -> BTreeSet<String> {
    const ADDED: &[&str] = &[
        "hotplug-status",
        "hotplug-error",
        "node",
        "physical-device",
        "physical-device-path",
        "toolstack",
    ];
    let id = domid.to_string();
    let lines = xenstore::tree("/").into_iter().filter_map(|line| {
        let (path, rest) = line.split_once(" = ")?;
        let parts: Vec<&str> = path.split('/').collect();
        let ours = match parts.as_slice() {
            ["", "libxl", of, "device", class, ..]
            | ["", "local", "domain", of, "device", class, ..] => *of == id && is_device(class),
            ["", "local", "domain", "0", "backend", class, of, ..] => *of == id && is_device(class),
            _ => false,
        };
        let last = parts.last()?;
        if !ours
            || ADDED.contains(last)
            || last.starts_with("feature-")
            || last.starts_with("m") && last.contains("-")
        {
            return None;
        }
        let parts: Vec<&str> =
            parts.into_iter().map(|part| if part == id { "ID" } else { part }).collect();
        let rest = rest
            .replace(&format!("/local/domain/{id}/"), "/local/domain/ID/")
            .replace(&format!("/{id}/"), "/ID/")
            .replace(&format!(",r{id})"), ",rID)")
            .replace(&format!("(n{id},"), "(nID,");
        let rest = if *last_of(&parts) == "frontend-id" {
            rest.replace(&format!("\"{id}\""), "\"ID\"")
        } else {
            rest
        };
        Some(format!("{} = {rest}", parts.join("/")))
    });
    lines.collect()
}

fn last_of<'a, 'b>(parts: &'b [&'a str]) -> &'b &'a str {
    parts.last().unwrap()
}

fn is_device(class: &str) -> bool {
    ["vif", "vbd"].contains(&class)
}

/// Creates with xl the guest that chaos makes of `base` with [`both`].
#[track_caller]
fn xl_create(lab: &Lab, base: &str, name: &str, image: &str) -> String {
    // Whoever destroys its guests, their loop devices are xendevd's to release.
    xendevd::switch_host();
    let devices = format!(
        "vif = ['mac={MAC},bridge={BRIDGE},rate=10Mb/s,ip=10.77.0.9']\n\
         disk = ['format=raw,vdev=xvda,access=rw,target={image}']\n"
    );
    xl::xl(&["create", "-q", &lab.xl_config(base, name, &devices)]).ok();
    lab.name(name)
}

#[test]
fn nodes_and_permissions_are_those_of_libxl() {
    let lab = Lab::new("device-nodes");
    let image = image(&lab, "disk.img");
    for kind in ["pv", "pvh"] {
        let base = format!("noop-{kind}");
        let theirs = xl_create(&lab, &base, "a", &image);
        let of_libxl = nodes(xl::find(&theirs).unwrap().id);
        xl::xl(&["destroy", &theirs]).ok();
        wait::until("xl's guest keeps its disk", || loops().is_empty());
        let ours = lab.create_with(&base, "a", &both(&image), &[]);
        let of_chaos = nodes(ours.domid);
        let only_theirs: Vec<_> = of_libxl.difference(&of_chaos).collect();
        let only_ours: Vec<_> = of_chaos.difference(&of_libxl).collect();
        assert!(
            only_theirs.is_empty() && only_ours.is_empty(),
            "{kind}: libxl's: {only_theirs:#?}\nours: {only_ours:#?}"
        );
        assert!(of_chaos.len() > 60, "{of_chaos:#?}");
        chaos::chaos(&["destroy", &ours.name]).ok();
    }
}

#[test]
fn a_guest_with_devices_comes_and_goes() {
    let lab = Lab::new("device-life");
    let image = image(&lab, "disk.img");
    let host = host(&lab);
    for base in ["noop-pv", "noop-pvh"] {
        let guest = lab.create_with(base, "a", &both(&image), &[]);
        let vif = format!("vif{}.0", guest.domid);
        // When the create is over, the host's ends are ready.
        assert_eq!(interfaces(), [vif.as_str()]);
        let bridge = fs::read_link(format!("/sys/class/net/{vif}/master")).unwrap();
        assert!(bridge.ends_with(BRIDGE), "{bridge:?}");
        assert_eq!(loops(), [image.as_str()]);
        let interfaces = xl::xl(&["network-list", &guest.name]).ok();
        assert!(
            interfaces.contains(MAC)
                && interfaces.contains(&format!("/backend/vif/{}/0", guest.domid)),
            "{interfaces}"
        );
        let disks = xl::xl(&["block-list", &guest.name]).ok();
        assert!(disks.contains(&format!("/backend/vbd/{}/{XVDA}", guest.domid)), "{disks}");
        let info = chaos::info(&guest.name);
        assert_eq!(
            (info["devices"].as_array().unwrap().len(), info["devices"][0]["mac"].as_str()),
            (2, Some(MAC))
        );
        chaos::chaos(&["destroy", &guest.name]).ok();
        unchanged(&host, base);
    }
}

/// The guests' own drivers take what chaos makes: a guest answers on its interface, and what
/// another writes is in its image.
#[test]
fn guests_use_their_devices() {
    let lab = Lab::new("device-use");
    let host = host(&lab);
    for kind in ["pv", "pvh"] {
        let guest = lab.create(&format!("daytime-{kind}"), "net");
        console::wait_for(&guest.name, "10.77.0.13");
        ping("10.77.0.13");
        connected(&guest.name, 1);
        chaos::chaos(&["destroy", &guest.name]).ok();

        let image = image(&lab, "disk.img");
        let changes = json!({ "vbds": [disk(&image, "file", "w")] });
        let guest = lab.create_with(&format!("blkcheck-{kind}"), "disk", &changes, &[]);
        console::wait_for(&guest.name, "blkcheck: done");
        chaos::chaos(&["destroy", &guest.name]).ok();
        // All of it has reached the file when the destroy is over.
        assert!(fs::read(&image).unwrap().starts_with(b"0001 0000000000\n"), "the image is empty");
        unchanged(&host, kind);
    }
}

#[test]
fn what_a_guest_cannot_be_made_with() {
    let lab = Lab::new("device-wrong");
    let host = host(&lab);
    let refused = |changes: Value, parts: &[&str]| {
        let config = lab.config("noop-pv", "a", &changes);
        for options in [&["create"][..], &["create", "--dry-run"]] {
            let message = chaos::chaos(&[options, &[&config]].concat()).fails(2);
            assert!(
                parts.iter().all(|part| message.contains(part)),
                "{parts:?} are not in {message}"
            );
            host.assert_unchanged(&message);
        }
    };
    let with_disk = |target: &str, kind: &str| json!({ "vbds": [disk(target, kind, "w")] });
    refused(json!({ "vifs": [{ "bridge": "nobr0" }] }), &["vif 0", "no bridge nobr0"]);
    refused(json!({ "vifs": [{ "bridge": "lo" }] }), &["vif 0", "lo is no bridge"]);
    refused(json!({ "vifs": [{ "backend": 77 }] }), &["vif 0", "no domain 77"]);
    refused(
        with_disk("/nonexistent.img", "file"),
        &["vbd xvda", "/nonexistent.img", "No such file"],
    );
    refused(with_disk("/guests", "file"), &["vbd xvda", "/guests", "folder"]);
    refused(with_disk("/guests/noop", "phy"), &["vbd xvda", "is a file", "\"file\""]);
    let mut format = with_disk("/guests/noop", "file");
    format["vbds"][0]["format"] = "qcow2".into();
    refused(format, &["format", "qcow2", "raw"]);
}

/// Who has the image is for the hotplug agent to say; its words reach the user, and nothing stays.
#[test]
fn an_image_that_another_guest_writes_to() {
    let lab = Lab::new("device-shared");
    let image = image(&lab, "disk.img");
    let host = host(&lab);
    let changes = json!({ "vbds": [disk(&image, "file", "w")] });
    let first = lab.create_with("noop-pv", "first", &changes, &[]);
    let config = lab.config("noop-pv", "second", &changes);
    let message = chaos::chaos(&["create", &config]).fails(1);
    assert!(message.contains("vbd xvda of domain") && message.contains(&image), "{message}");
    assert!(
        message.contains(&format!("domain {}", first.domid)) || message.contains(&first.name),
        "{message}"
    );
    assert_eq!(xl::find(&lab.name("second")), None);
    let message = chaos::chaos(&[
        "device",
        "attach",
        &first.name,
        "vbd",
        "--target",
        &image,
        "--vdev",
        "xvdb",
    ])
    .fails(1);
    assert!(message.contains(&image), "{message}");
    assert_eq!(ids(&first.name, "vbd"), [u64::from(XVDA)]);
    chaos::chaos(&["destroy", &first.name]).ok();
    unchanged(&host, "an image was refused");
}

#[test]
fn attached_to_a_guest_that_runs() {
    let lab = Lab::new("device-attach");
    let image = image(&lab, "disk.img");
    let host = host(&lab);
    for kind in ["pv", "pvh"] {
        let name = lab.create(&format!("daytime-{kind}"), "a").name;
        console::wait_for(&name, "vif 0");
        let row = chaos::json(&[
            "device",
            "attach",
            "--wait=60",
            &name,
            "vif",
            "--bridge",
            BRIDGE,
            "--mac",
            MAC,
        ]);
        assert_eq!(
            (row["id"].as_u64(), row["mac"].as_str(), row["backend_state"].as_str()),
            (Some(1), Some(MAC), Some("connected"))
        );
        assert!(xl::xl(&["network-list", &name]).ok().contains(MAC));
        let taken = chaos::chaos(&["device", "attach", &name, "vif", "--mac", MAC]).fails(2);
        assert!(taken.contains(MAC), "{taken}");
        // The guest has no driver for disks: the host's end is ready all the same.
        chaos::chaos(&["device", "attach", &name, "vbd", "--target", &image, "--vdev", "xvdb"])
            .ok();
        chaos::chaos(&["device", "attach", &name, "vbd", "--target", &image, "--vdev", "xvdb"])
            .fails(4);
        assert_eq!(
            (ids(&name, "vif"), ids(&name, "vbd")),
            (vec![0, 1], vec![u64::from(XVDA) + 16])
        );

        chaos::chaos(&["device", "detach", &name, "vbd", "xvdb"]).ok();
        chaos::chaos(&["device", "detach", &name, "vif", "1"]).ok();
        console::wait_for(&name, "vif 1 is gone");
        chaos::chaos(&["device", "detach", &name, "vif", "1"]).fails(3);
        assert_eq!((ids(&name, "vif"), ids(&name, "vbd")), (vec![0], vec![]));
        assert!(!xl::xl(&["network-list", &name]).ok().contains(MAC));
        chaos::chaos(&["destroy", &name]).ok();
        unchanged(&host, kind);
    }
}

/// A guest that is stopped cannot let go of anything; force takes it away.
#[test]
fn a_guest_that_does_not_let_go() {
    let lab = Lab::new("device-force");
    let host = host(&lab);
    let name = lab.create("daytime-pv", "a").name;
    connected(&name, 1);
    chaos::chaos(&["pause", &name]).ok();
    let message = chaos::chaos(&["device", "detach", "--timeout", "1", &name, "vif", "0"]).fails(6);
    assert!(message.contains("vif 0") && message.contains("force"), "{message}");
    assert_eq!(ids(&name, "vif"), [0]);
    chaos::chaos(&["device", "detach", "--force", &name, "vif", "0"]).ok();
    assert_eq!(devices(&name), [] as [Value; 0]);
    wait::until("the interface stays", || interfaces().is_empty());
    chaos::chaos(&["unpause", &name]).ok();
    // It hears of it, lives on, and does what it is asked for.
    console::wait_for(&name, "vif 0 ");
    let row = xl::find(&name).unwrap();
    assert!(!row.state.contains(['c', 's']), "{row:?}");
    xl::xl(&["shutdown", "-w", &name]).ok();
    wait::until("the guest is not removed", || xl::find(&name).is_none());
    unchanged(&host, "a device was taken away by force");
}

/// What is attached is there after a reboot, and what is detached is not.
#[test]
fn devices_survive_a_reboot() {
    let lab = Lab::new("device-reboot");
    let image = image(&lab, "disk.img");
    let host = host(&lab);
    let name = lab.create_with("hello-pv", "a", &both(&image), &[]).name;
    console::wait_for(&name, "hello from");
    let attached = chaos::json(&["device", "attach", &name, "vif", "--bridge", BRIDGE]);
    chaos::chaos(&["device", "detach", &name, "vif", "0"]).ok();
    chaos::chaos(&["reboot", &name]).ok();
    let devices = devices(&name);
    let [vif, vbd] = devices.as_slice() else { panic!("{devices:?}") };
    assert_eq!((&vif["mac"], vif["id"].as_u64()), (&attached["mac"], Some(0)));
    assert_eq!(vbd["target"].as_str(), Some(image.as_str()));
    chaos::chaos(&["destroy", &name]).ok();
    unchanged(&host, "a guest with devices was rebooted");
}

#[test]
fn xl_and_the_devices_of_a_guest_of_chaos() {
    let lab = Lab::new("device-xl");
    let image = image(&lab, "disk.img");
    let host = host(&lab);
    let name = lab.create("daytime-pv", "a").name;
    connected(&name, 1);
    xl::xl(&["network-detach", &name, "0"]).ok();
    assert_eq!(devices(&name), [] as [Value; 0]);
    assert_eq!(interfaces(), [""; 0]);
    // What xl has taken away leaves its number to the next one.
    chaos::chaos(&[
        "device",
        "attach",
        "--wait=60",
        &name,
        "vif",
        "--bridge",
        BRIDGE,
        "--mac",
        MAC,
    ])
    .ok();
    assert!(xl::xl(&["network-list", &name]).ok().contains(MAC));
    chaos::chaos(&["destroy", &name]).ok();
    unchanged(&host, "xl detached an interface");

    let name = lab.create_with("noop-pv", "b", &both(&image), &[]).name;
    xl::xl(&["destroy", &name]).ok();
    chaos::chaos(&["list"]).ok();
    unchanged(&host, "xl destroyed a guest of chaos with devices");
}

#[test]
fn chaos_and_the_devices_of_a_guest_of_xl() {
    let lab = Lab::new("device-of-xl");
    let image = image(&lab, "disk.img");
    let host = host(&lab);
    let name = xl_create(&lab, "noop-pv", "a", &image);
    let found = devices(&name);
    assert_eq!(
        (found.len(), found[0]["mac"].as_str(), found[1]["target"].as_str()),
        (2, Some(MAC), Some(image.as_str()))
    );
    let row = chaos::json(&["device", "attach", &name, "vif", "--bridge", BRIDGE]);
    assert!(xl::xl(&["network-list", &name]).ok().contains(row["mac"].as_str().unwrap()));
    chaos::chaos(&["device", "detach", &name, "vif", "1"]).ok();
    chaos::chaos(&["destroy", &name]).ok();
    unchanged(&host, "chaos destroyed a guest of xl with devices");
}

/// A create that is killed between the nodes of its devices: the next command removes what is
/// there.
#[test]
fn a_create_with_devices_is_killed() {
    let lab = Lab::new("device-kill");
    let image = image(&lab, "disk.img");
    let host = host(&lab);
    let quick = Host::quick();
    let config = lab.config("noop-pv", "a", &both(&image));
    let trace = strace::trace(&lab, "write", &["chaos", "create", &config]);
    trace.output.ok();
    chaos::chaos(&["destroy", &lab.name("a")]).ok();
    let calls = (1..).zip(&trace.calls).filter(|(_, call)| strace::is_store_request(call));
    let requests: Vec<usize> = calls.map(|(number, _)| number).collect();
    for number in strace::pick(&requests, 2, 5) {
        let output =
            strace::inject("write", Fault::Signal("KILL"), number, &["chaos", "create", &config]);
        let name = lab.name("a");
        // How often a create looks at its backends is up to them, so the last ones may meet a guest
        // that is whole.
        if let Some(row) = chaos::find(&name) {
            assert!(
                number > requests[requests.len() / 2] && row.state != "paused",
                "{}",
                output.report()
            );
            chaos::chaos(&["destroy", &name]).ok();
        } else {
            assert_eq!(output.signal(), Some(9), "{}", output.report());
        }
        quick.assert_unchanged(&format!("SIGKILL at write {number}"));
    }
    unchanged(&host, "all of them");
}

/// Without the hotplug agent a create ends by itself, says whom to look for, and leaves nothing.
#[test]
fn no_hotplug_agent() {
    let lab = Lab::new("device-agent");
    let image = image(&lab, "disk.img");
    let host = host(&lab);
    run(&["systemctl", "stop", "xendevd"]).ok();
    let output = chaos::chaos(&["create", &lab.config("noop-pv", "a", &both(&image))]);
    run(&["systemctl", "start", "xendevd"]).ok();
    let message = output.fails(8);
    assert!(message.contains("vif 0") && message.contains("systemctl status xendevd"), "{message}");
    unchanged(&host, "no hotplug agent");
    assert!(Path::new("/sys/class/net").join(BRIDGE).exists());
    // The agent is back, and serves the next one.
    lab.create_with("noop-pv", "a", &both(&image), &[]);
}
