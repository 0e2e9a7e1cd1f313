//! Many guests on the NoXS plane, one after the other and at once: nothing is left of them in the kernel, in the hypervisor or on the host.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs::File;

use lab_tests::{Host, Lab, chaos, console, noxs, run, wait};
use serde_json::json;

#[test]
fn thirty_lives_leave_nothing() {
    let lab = Lab::new("noxs-lives");
    let image = lab.path("image");
    File::create(&image).unwrap().set_len(16 << 20).unwrap();
    let devices = json!({
        "cmdline": "disk=xvda ops=info,write:1:0:64,flush",
        "vifs": [{"bridge": "xenbr0"}],
        "vbds": [{"target": image, "type": "file", "vdev": "xvda", "access": "w"}],
    });
    let live = |base: &str| {
        let guest = lab.create_with(base, "a", &devices, &[]);
        console::wait_for(&guest.name, "blkcheck: done");
        chaos::chaos(&["destroy", &guest.name]).ok();
    };
    // Xen keeps the frames in which it tracks what dom0 maps of guests' memory.
    live("blkcheck-pv");
    let host = Host::now();
    for _ in 0..15 {
        live("blkcheck-pv");
        live("blkcheck-pvh");
    }
    host.assert_unchanged("thirty guests with devices");
}

#[test]
fn fifty_at_once() {
    let lab = Lab::new("noxs-crowd");
    // Where many guests live at once, Xen's heap has holes afterwards.
    let host = Host::now().with_slack(1024);
    let config = lab.config("daytime-pv", "a", &json!({"cmdline": "ip=10.77.0.200/24"}));
    let created = chaos::create(&config, &["-n", "50"]);
    assert_eq!(created.len(), 50);
    for guest in &created {
        console::wait_for(&guest.name, "vif 0 ");
    }
    // An interface and the device that each is shut down by.
    assert_eq!(noxs::list().len(), 100);
    let names: Vec<&str> = created.iter().map(|guest| guest.name.as_str()).collect();
    run(&[&["chaos", "destroy"], &names[..]].concat()).ok();
    wait::until("devices are left", || noxs::list().is_empty());
    host.assert_unchanged("fifty guests");
}
