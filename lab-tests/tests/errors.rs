//! Each wrong input has its own message, its exit code, and touches nothing.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use lab_tests::command::run_within;
use lab_tests::{Host, Lab, chaos, daemon, run, xl};
use serde_json::{Value, json};

/// `chaos create` of a configuration that is wrong: the code, and all of `parts` in the message.
/// The host is not touched.
#[track_caller]
fn refused(host: &Host, config: &str, code: i32, parts: &[&str]) {
    let message = chaos::chaos(&["create", config]).fails(code);
    for part in parts {
        assert!(message.contains(part), "no {part:?} in: {message}");
    }
    host.assert_unchanged(&message);
}

/// A change to /guests/noop-pv.json that makes it wrong. The message names the file too, and the
/// line where there is one.
#[track_caller]
fn wrong(lab: &Lab, host: &Host, changes: &Value, parts: &[&str]) {
    let config = lab.config("noop-pv", "a", changes);
    refused(host, &config, 2, &[parts, &[&config]].concat());
}

#[test]
fn wrong_keys_and_values() {
    let lab = Lab::new("wrong");
    let host = Host::quick();
    let check = |changes, parts: &[&str]| wrong(&lab, &host, &changes, parts);
    check(json!({"ramdsk": "/x"}), &["ramdsk", "ramdisk"]);
    check(json!({"memory": "4"}), &["memory", "\"4\""]);
    check(json!({"memory": 4.5}), &["memory", "4.5"]);
    check(json!({"memory": 0}), &["memory", "0"]);
    check(json!({"memory": -4}), &["memory", "-4"]);
    check(json!({"memory": 99_999_999_999_u64}), &["memory", "99999999999"]);
    check(json!({"memory": null}), &["memory", "missing"]);
    check(json!({"kernel": null}), &["kernel", "missing"]);
    check(json!({"kernel": 5}), &["kernel", "5"]);
    check(json!({"vcpus": 0}), &["vcpus", "0"]);
    check(json!({"vcpus": 129}), &["vcpus", "129"]);
    check(json!({"type": "hvm"}), &["type", "hvm", "pvh"]);
    check(json!({"name": "a/b"}), &["name", "a/b"]);
    check(json!({"name": "17"}), &["name", "17"]);
    check(json!({"name": ""}), &["name"]);
    check(json!({"maxmem": 2}), &["maxmem", "2"]);
    check(json!({"uuid": "no"}), &["uuid", "no"]);
    check(json!({"on_crash": "explode"}), &["on_crash", "explode", "preserve"]);
    check(json!({"paused": "yes"}), &["paused", "yes"]);
    check(json!({"cmdline": "x".repeat(1024)}), &["cmdline", "1024"]);
    check(json!({"xen": {"dev_method": "magic"}}), &["dev_method", "magic"]);
}

#[test]
fn what_is_no_configuration() {
    let lab = Lab::new("syntax");
    let host = Host::quick();
    let missing = lab.path("missing.json").to_str().unwrap().to_owned();
    refused(&host, &missing, 2, &[&missing]);
    refused(&host, "/guests", 2, &["/guests"]);
    let text = lab.file("text.json", "{\n  \"name\": \"a\",\n  kernel\n}");
    refused(&host, &text, 2, &[&format!("{text}:3")]);
    let bytes = lab.file("bytes.json", b"{ \"name\": \"\xff\" }");
    refused(&host, &bytes, 2, &[&bytes, "UTF-8"]);
    let twice = lab.file("twice.json", "{\"name\": \"a\",\n\"memory\": 4,\n\"memory\": 5}");
    refused(&host, &twice, 2, &[&format!("{twice}:3"), "memory"]);
}

#[test]
fn more_than_this_host_has() {
    let lab = Lab::new("host");
    let host = Host::quick();
    let pinned = json!({"vcpus": {"count": 1, "cpumap": [[77]]}});
    let config = lab.config("noop-pv", "a", &pinned);
    refused(&host, &config, 2, &["cpumap", "77"]);
    let config = lab.config("noop-pv", "a", &json!({"xen": {"dev_method": "noxs"}}));
    refused(&host, &config, 7, &["NoXS", "/dev/xen/noxs_backend", "dev_method"]);
}

#[test]
fn too_little_free_memory() {
    let lab = Lab::new("memory");
    let host = Host::now();
    for kind in ["pv", "pvh"] {
        let more = xl::free_memory() + 100;
        let config = lab.config(&format!("noop-{kind}"), "a", &json!({"memory": more}));
        let message = chaos::chaos(&["create", &config]).fails(5);
        assert!(message.contains(&lab.name("a")) && message.contains("memory"), "{message}");
        host.assert_unchanged(&message);
        let message = chaos::chaos(&["create", "--dry-run", &config]).fails(5);
        assert!(message.contains("memory"), "{message}");
    }
}

/// What looks as if it fitted until the memory is handed out: the first guest of two takes what the
/// second would need.
#[test]
fn memory_that_runs_out_on_the_way() {
    let lab = Lab::new("runs-out");
    let host = Host::now();
    let most = xl::free_memory() * 2 / 3;
    let config = lab.config("noop-pv", "a", &json!({"memory": most}));
    let output = chaos::chaos(&["create", "-n", "2", &config]);
    let message = output.fails(5);
    assert!(message.contains("made 1 of 2") && message.contains(&lab.name("a-2")), "{message}");
    let names: Vec<String> = xl::list().into_iter().map(|row| row.name).collect();
    assert!(names.contains(&lab.name("a-1")) && !names.contains(&lab.name("a-2")), "{names:?}");
    chaos::chaos(&["destroy", &lab.name("a-1")]).ok();
    host.assert_unchanged("a guest of most of the host's memory");
}

#[test]
fn kernels_that_are_none() {
    let lab = Lab::new("kernel");
    let host = Host::quick();
    let noop = fs::read("/guests/noop").unwrap();
    let check = |kernel: &str, part: &str| {
        let config = lab.config("noop-pv", "a", &json!({"kernel": kernel}));
        refused(&host, &config, 2, &["kernel", kernel, part]);
    };
    check("/guests/there-is-none", "no such file");
    check("/guests", "folder");
    check("/dev/zero", "no ordinary file");
    check(&lab.file("empty", ""), "empty");
    check(&lab.file("text", "This is a text and not a kernel.\n".repeat(40)), "no ELF");
    check(&lab.file("cut", &noop[..noop.len() / 2]), "cut off");
    check(&lab.file("header", &noop[..40]), "");
    check("/bin/true", "Xen");
    let vmlinuz = fs::read("/guests/linux-vmlinuz").unwrap();
    check(&lab.file("cut-vmlinuz", &vmlinuz[..vmlinuz.len() / 2]), "");
    let mut damaged = vmlinuz;
    let middle = damaged.len() / 2;
    damaged[middle..middle + 4096].fill(0x5a);
    check(&lab.file("damaged-vmlinuz", &damaged), "damaged");
}

/// Root may read what a mode forbids, so this is a file whose beginning nobody can read: the memory
/// of the reader, where nothing is at 0.
#[test]
fn a_kernel_that_cannot_be_read() {
    let lab = Lab::new("unreadable");
    let host = Host::quick();
    let config = lab.config("noop-pv", "a", &json!({"kernel": "/proc/self/mem"}));
    refused(&host, &config, 2, &["kernel", "/proc/self/mem"]);
}

#[test]
fn a_pvh_guest_on_a_kernel_without_the_entry_note() {
    let lab = Lab::new("note");
    let host = Host::quick();
    // The note's type, 18 (XEN_ELFNOTE_PHYS32_ENTRY), becomes one that means nothing.
    let mut noop = fs::read("/guests/noop").unwrap();
    let note: &[u8] = &[18, 0, 0, 0, b'X', b'e', b'n', 0];
    let at =
        noop.windows(note.len()).position(|window| window == note).expect("noop has a PVH entry");
    noop[at] = 99;
    let kernel = lab.file("pv-only", &noop);
    let config = lab.config("noop-pvh", "a", &json!({"kernel": kernel}));
    refused(&host, &config, 2, &[&kernel, "PHYS32_ENTRY"]);
    // As a PV guest's it is good.
    lab.create_with("noop-pv", "b", &json!({"kernel": kernel}), &[]);
}

#[test]
fn a_ramdisk_that_is_not_there() {
    let lab = Lab::new("ramdisk");
    let host = Host::quick();
    let config = lab.config("linux-pv", "a", &json!({"ramdisk": "/guests/no-initramfs"}));
    refused(&host, &config, 2, &["ramdisk", "/guests/no-initramfs"]);
}

#[test]
fn a_kernel_that_does_not_fit_into_the_guest() {
    let lab = Lab::new("fit");
    let host = Host::quick();
    for kind in ["pv", "pvh"] {
        let config = lab.config(&format!("linux-{kind}"), "a", &json!({"memory": 8}));
        refused(&host, &config, 2, &["linux", "8 MiB"]);
    }
}

#[test]
fn a_name_that_is_in_use() {
    let lab = Lab::new("name");
    let domid = lab.create("noop-pv", "ours").domid.to_string();
    let xls = lab.xl_create("noop-pv", "xls");
    let xls_domid = xl::find(&xls).unwrap().id.to_string();
    let host = Host::now();
    let again = lab.config("noop-pvh", "ours", &json!({}));
    refused(&host, &again, 4, &[&lab.name("ours"), &domid]);
    let again = lab.config("noop-pvh", "xls", &json!({}));
    refused(&host, &again, 4, &[&xls, &xls_domid]);
    let message = chaos::chaos(&["rename", &lab.name("ours"), &xls]).fails(4);
    assert!(message.contains(&xls), "{message}");
    host.assert_unchanged(&message);
}

#[test]
fn a_uuid_that_is_in_use() {
    let lab = Lab::new("uuid");
    let first = lab.create("noop-pv", "a");
    let host = Host::quick();
    let config = lab.config("noop-pv", "b", &json!({"uuid": first.uuid}));
    refused(&host, &config, 4, &[first.uuid.as_deref().unwrap(), &lab.name("a")]);
}

#[test]
fn guests_that_do_not_exist() {
    let lab = Lab::new("none");
    let host = Host::quick();
    let nobody = lab.name("nobody");
    let commands: &[&[&str]] = &[
        &["destroy"],
        &["shutdown"],
        &["reboot"],
        &["pause"],
        &["unpause"],
        &["console"],
        &["info"],
        &["sched"],
    ];
    for command in commands {
        let message = chaos::chaos(&[command, &[nobody.as_str()][..]].concat()).fails(3);
        assert!(message.contains(&nobody), "{message}");
    }
    chaos::chaos(&["info", "31999"]).fails(3);
    host.assert_unchanged("commands on no guest");
}

#[test]
fn the_control_domain_is_spared() {
    let _lab = Lab::new("dom0");
    let host = Host::quick();
    for command in ["destroy", "shutdown", "reboot", "pause"] {
        let message = chaos::chaos(&[command, "0"]).fails(2);
        assert!(message.contains("Domain-0"), "{message}");
    }
    host.assert_unchanged("commands on dom0");
}

/// What chaos says when a daemon does not answer comes within a bound of seconds.
const DAEMON_LIMIT: Duration = Duration::from_secs(60);

#[test]
fn a_xenstored_that_does_not_answer() {
    let lab = Lab::new("xenstored");
    let config = lab.config("noop-pv", "a", &json!({}));
    let host = Host::now();
    let start = Instant::now();
    {
        let _stopped = daemon::xenstored().stop();
        let message = run_within(DAEMON_LIMIT, &["chaos", "create", &config], "").fails(8);
        assert!(message.contains("xenstored"), "{message}");
        let message = run_within(DAEMON_LIMIT, &["chaos", "list"], "").fails(8);
        assert!(message.contains("xenstored"), "{message}");
    }
    assert!(start.elapsed() >= Duration::from_secs(1), "nobody waited for the daemon");
    host.assert_unchanged("xenstored did not answer");
}

#[test]
fn a_xenconsoled_that_does_not_answer() {
    let lab = Lab::new("xenconsoled");
    {
        let _stopped = daemon::xenconsoled().stop();
        // A create needs nothing of it.
        let created = lab.create("hello-pv", "a");
        let message = run_within(DAEMON_LIMIT, &["chaos", "console", &created.name], "").fails(8);
        assert!(message.contains("xenconsoled"), "{message}");
    }
    lab_tests::console::wait_for(&lab.name("a"), "hello from");
}

#[test]
fn who_is_not_root() {
    let lab = Lab::new("nobody");
    let config = lab.config("noop-pv", "a", &json!({}));
    fs::set_permissions(lab.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    let host = Host::quick();
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "chaos"];
    for command in [&["list"][..], &["create", &config], &["info"]] {
        let message = run(&[&nobody, command].concat()).fails(7);
        assert!(message.contains("permission") && message.contains("root"), "{message}");
    }
    host.assert_unchanged("commands of nobody");
}

#[test]
fn wrong_command_lines() {
    let _lab = Lab::new("usage");
    for line in [
        "frobnicate",
        "create",
        "destroy",
        "create -n 0 x.json",
        "shutdown --timeout -1 x",
        "mem-max x 0",
        "list --format xml",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let output = chaos::chaos(&words);
        assert_eq!(output.code(), Some(2), "{}", output.report());
        assert!(!output.stderr.is_empty());
    }
}
