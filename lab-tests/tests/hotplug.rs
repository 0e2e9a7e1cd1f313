//! Devices of guests, served by the hotplug daemon on real Xen: those of guests that xl made, and
//! devices made by hand, with the kernel, sysfs and Xenstore as witnesses.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use lab_tests::device::{Device, XVDA, loops_on, ports_of};
use lab_tests::xendevd::{self, Xendevd, destroy, guest, image, nothing_left};
use lab_tests::{Lab, console, run, strace, wait, xenstore, xl};

fn interface(name: &str, file: &str) -> String {
    fs::read_to_string(format!("/sys/class/net/{name}/{file}"))
        .unwrap_or_default()
        .trim()
        .to_owned()
}

#[test]
fn a_guest_of_xl_gets_its_bridge_and_its_disks() {
    let lab = Lab::new("served");
    let daemon = Xendevd::start(lab.path("").as_path(), "{}");
    let file = image(&lab, "a.img");
    // That it reads is what shows that strace sees it.
    let calls = "trace=execve,execveat,fork,vfork,clone,clone3,read";
    let strace = strace::follow(&lab, daemon.pid(), calls);
    let domain = guest(
        &lab,
        "a",
        &format!(
            "vif = [\"bridge=xenbr0\"]\ndisk = [\"{file},raw,xvda,w\", \"/dev/vdb,raw,xvdb,r\"]"
        ),
    );
    xendevd::settle();
    // One that another thread's call has interrupted has a line of its own for its end.
    let is_read = |call: &String| call.starts_with("read(") || call.starts_with("<... read ");
    let (reads, others): (Vec<_>, Vec<_>) = strace.end().into_iter().partition(is_read);
    assert!(!reads.is_empty(), "strace has seen nothing");
    let processes = others.iter().filter(|call| !call.contains("CLONE_THREAD"));
    assert_eq!(processes.collect::<Vec<_>>(), Vec::<&str>::new(), "no process for a device");

    let vif = format!("vif{domain}.0");
    assert!(ports_of("xenbr0").contains(&vif));
    assert_eq!(interface(&vif, "mtu"), interface("xenbr0", "mtu"));
    let flags = u32::from_str_radix(interface(&vif, "flags").trim_start_matches("0x"), 16).unwrap();
    assert_eq!(flags & 1, 1, "it is up");
    let [number] = loops_on(&file)[..] else { panic!("one loop device: {:?}", loops_on(&file)) };
    let attribute =
        |name: &str| fs::read_to_string(format!("/sys/block/loop{number}/loop/{name}")).unwrap();
    assert_eq!((attribute("autoclear").trim(), attribute("partscan").trim()), ("1", "0"));
    assert_eq!(fs::read_to_string(format!("/sys/block/loop{number}/ro")).unwrap().trim(), "0");
    let node = |disk: u32, name: &str| {
        xenstore::read(&format!("/local/domain/0/backend/vbd/{domain}/{disk}/{name}"))
    };
    assert_eq!(node(XVDA, "physical-device").unwrap(), format!("7:{number:x}"));
    assert_eq!(node(XVDA, "node").unwrap(), format!("/dev/loop{number}"));
    assert_eq!(node(XVDA + 16, "physical-device").unwrap(), "fe:10");
    assert_eq!(node(XVDA + 16, "hotplug-status").unwrap(), "connected");
    let status = xendevd::status();
    assert_eq!(status["counters"]["scripts"], 0);
    let disk = xendevd::device(&format!("vbd-{domain}-{XVDA}")).unwrap();
    assert_eq!(
        (&disk["guest"], &disk["state"]),
        (&lab.name("a").into(), &"connected".into()),
        "{status}"
    );
    destroy(domain);
    nothing_left(domain, &[&file]);
}

#[test]
fn what_cannot_work_is_refused_with_its_reason() {
    let lab = Lab::new("refused");
    let _daemon = Xendevd::start(lab.path("").as_path(), "{}");
    let domain = guest(&lab, "a", "");
    let qcow2 = lab.file("a.qcow2", [&b"QFI\xfb\0\0\0\x03"[..], &[0; 4096]].concat());
    let empty = lab.file("empty", "");
    let pipe = lab.path("pipe").to_str().unwrap().to_owned();
    run(&["mkfifo", &pipe]).ok();
    for (params, reason) in [
        ("/no/such.img", "there is no file /no/such.img"),
        ("/etc", "/etc is a folder, neither a file nor a block device"),
        (
            qcow2.as_str(),
            "is a qcow2 image, and only raw ones are served: convert it with qemu-img",
        ),
        (empty.as_str(), "is empty"),
        (pipe.as_str(), "is a pipe"),
        ("/dev/null", "is a character device"),
        ("a.img", "its node params is no absolute path: \"a.img\""),
    ] {
        let said = Device::vbd(domain, XVDA, params, "w").refused();
        assert!(
            said.starts_with(&format!("vbd {XVDA} of domain {domain}: ")) && said.contains(reason),
            "{said}"
        );
    }
    let said = Device::vif(domain, 0, "lo", &[]).refused();
    assert_eq!(
        said,
        format!("vif 0 of domain {domain}: the interface lo is no bridge of the kernel's")
    );
    let vif = Device::vif(domain, 0, "xenbr9", &[]);
    assert_eq!(vif.refused(), format!("vif 0 of domain {domain}: there is no bridge xenbr9"));
    // Once the reason is gone, an administrator has it tried again.
    run(&["ip", "link", "add", "xenbr9", "mtu", "1400", "type", "bridge"]).ok();
    xendevd::reload().ok();
    xendevd::settle();
    vif.connected();
    assert_eq!(vif.node("hotplug-error"), None);
    assert_eq!(interface(&format!("vif{domain}.0"), "mtu"), "1400");
    vif.remove();
    run(&["ip", "link", "del", "xenbr9"]).ok();
    destroy(domain);
    nothing_left(domain, &[&qcow2, &empty]);
}

/// xl hears the reason from the hook that stands in for Xen's scripts.
#[test]
fn xl_is_told_what_is_wrong() {
    let lab = Lab::new("told");
    let _daemon = Xendevd::start(lab.path("").as_path(), "{}");
    let config = lab.xl_config("noop-pv", "a", "vif = [\"bridge=xenbr9\"]\n");
    let output = xl::xl(&["create", "-p", &config]);
    assert!(
        !output.status.success() && output.stderr.contains("there is no bridge xenbr9"),
        "{}",
        output.report()
    );
}

#[test]
fn an_image_that_is_written_belongs_to_one_guest() {
    let lab = Lab::new("shared");
    let _daemon = Xendevd::start(lab.path("").as_path(), "{}");
    let (first, second) = (guest(&lab, "a", ""), guest(&lab, "b", ""));
    let file = image(&lab, "a.img");
    let link = lab.path("link.img").to_str().unwrap().to_owned();
    fs::hard_link(&file, &link).unwrap();
    let held = Device::vbd(first, XVDA, &file, "w");
    held.connected();
    for (params, mode) in [(&file, "w"), (&link, "w"), (&link, "r")] {
        let said = Device::vbd(second, XVDA + 16, params, mode).refused();
        let (one, other) = (lab.name("b"), lab.name("a"));
        assert!(
            said.starts_with(&format!(
                "vbd {} of domain {second} ({one}): {params} cannot",
                XVDA + 16
            )),
            "{said}"
        );
        assert!(
            said.ends_with(&format!("vbd {XVDA} of domain {first} ({other}) has it writable")),
            "{said}"
        );
    }
    // On purpose, as for cluster file systems.
    Device::vbd(second, XVDA + 32, &link, "w!").connected();
    // What the guest that had it leaves behind, the next one gets.
    drop(held);
    let held = Device::vbd(second, XVDA, &link, "r");
    held.connected();
    Device::vbd(first, XVDA, &file, "r").connected();
    assert!(Device::vbd(first, XVDA, &file, "w").refused().contains("cannot be attached writable"));
    drop(held);
    for domain in [first, second] {
        destroy(domain);
        nothing_left(domain, &[&file, &link]);
    }
}

#[test]
fn what_this_domain_uses_itself_is_not_given_away() {
    let lab = Lab::new("mounted");
    let _daemon = Xendevd::start(lab.path("").as_path(), "{}");
    let domain = guest(&lab, "a", "");
    let file = lab.file("fs.img", vec![0; 4 << 20]);
    run(&["mke2fs", "-q", "-F", &file]).ok();
    let device = run(&["losetup", "--find", "--show", &file]).ok().trim().to_owned();
    let folder = lab.path("mnt").to_str().unwrap().to_owned();
    fs::create_dir(&folder).unwrap();
    run(&["mount", &device, &folder]).ok();
    let said = Device::vbd(domain, XVDA, &device, "w").refused();
    assert!(
        said.contains(&format!("{device} is in use in this domain: it is mounted at {folder}")),
        "{said}"
    );
    let said = Device::vbd(domain, XVDA, &device, "r").refused();
    assert!(said.contains("it is mounted for writing at"), "{said}");
    let said = Device::vbd(domain, XVDA, &file, "w").refused();
    assert!(said.contains(&format!("the loop device {device} has it")), "{said}");
    run(&["umount", &folder]).ok();
    let block = Device::vbd(domain, XVDA, &device, "w");
    block.connected();
    assert_eq!(block.node("node"), None, "a block device needs no loop device");
    block.remove();
    xendevd::settle();
    assert_eq!(loops_on(&file).len(), 1, "what is not the daemon's stays");
    run(&["losetup", "--detach", &device]).ok();
    destroy(domain);
    nothing_left(domain, &[&file]);
}

#[test]
fn a_read_only_disk_cannot_be_written() {
    let lab = Lab::new("readonly");
    let _daemon = Xendevd::start(lab.path("").as_path(), "{}");
    let file = image(&lab, "a.img");
    let name = lab.name("a");
    let lines = format!(
        "kernel = \"/guests/blkcheck\"\nextra = \"disk=xvda ops=read:0:8,write:1:0:8\"\n\
         disk = [\"{file},raw,xvda,r\"]"
    );
    let domain = guest(&lab, "a", &lines);
    let number = loops_on(&file)[0];
    assert_eq!(fs::read_to_string(format!("/sys/block/loop{number}/ro")).unwrap().trim(), "1");
    xl::xl(&["unpause", &name]).ok();
    console::wait_for(&name, "blkcheck: read ok 8 sectors");
    console::wait_for(&name, "blkcheck: write failed: read-only");
    assert!(fs::read(&file).unwrap().iter().all(|byte| *byte == 0), "the image has been written");
    destroy(domain);
    nothing_left(domain, &[&file]);
}

#[test]
fn scripts_of_ones_own_are_run_and_bounded() {
    let lab = Lab::new("scripts");
    let _daemon = Xendevd::start(lab.path("").as_path(), "{\"script_timeout\": 3}");
    let domain = guest(&lab, "a", "");
    let said = lab.path("said").to_str().unwrap().to_owned();
    let write = |name: &str, text: &str| {
        let path = format!("/etc/xen/scripts/{name}");
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    write("vif-lab", &format!("echo \"$1 $vif $XENBUS_PATH\" >> {said}"));
    let vif = Device::vif(domain, 0, "xenbr0", &[("script", "vif-lab")]);
    vif.connected();
    assert!(
        !ports_of("xenbr0").contains(&format!("vif{domain}.0")),
        "what becomes of it is the script's business"
    );
    vif.remove();
    let path = format!("backend/vif/{domain}/0");
    let expected = format!("online vif{domain}.0 {path}\noffline vif{domain}.0 {path}\n");
    wait::until("the script was not run at the end", || {
        fs::read_to_string(&said).is_ok_and(|text| text == expected)
    });
    write("vif-lab", "exit 3");
    let fails = Device::vif(domain, 1, "xenbr0", &[("script", "vif-lab")]).refused();
    assert!(fails.ends_with("the script /etc/xen/scripts/vif-lab ended with status 3"), "{fails}");
    write("vif-lab", "sleep 1000");
    let slow = Device::vif(domain, 2, "xenbr0", &[("script", "vif-lab")]).refused();
    assert!(slow.ends_with("took longer than 3 s and was killed"), "{slow}");
    let outside = Device::vif(domain, 3, "xenbr0", &[("script", "/tmp/vif-lab")]).refused();
    assert!(outside.contains("none of the folders that script_dirs names"), "{outside}");
    fs::remove_file("/etc/xen/scripts/vif-lab").unwrap();
    destroy(domain);
}
