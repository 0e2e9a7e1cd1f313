//! Guests of every kind are made, seen by both toolstacks and by their own consoles, and leave
//! nothing behind.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flate2::{Compression, write::GzEncoder};
use lab_tests::shell::Shell;
use lab_tests::{Host, Lab, chaos, console, wait, xl};
use serde_json::json;

/// The longest command line that a Linux guest can read, in bytes: as PV, Xen's
/// `MAX_GUEST_CMDLINE`, as PVH Linux's own `COMMAND_LINE_SIZE`, each without the final zero.
fn longest(kind: &str) -> usize {
    if kind == "pv" { 1023 } else { 2047 }
}

/// A command line of this length that ends with a word.
fn cmdline(start: &str, end: &str, length: usize) -> String {
    let filler = "x".repeat(length - start.len() - end.len() - 2);
    format!("{start} {filler} {end}")
}

/// What of the wall clocks of dom0 and a guest may differ, in seconds: both are Xen's, and each is
/// cut to whole seconds once.
const CLOCKS: i64 = 2;

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().try_into().unwrap()
}

/// What a Linux guest knows is what it was given, and what dom0 knows.
fn linux_knows(name: &str, cmdline: &str) {
    let mut shell = Shell::open(name);
    assert_eq!(shell.run("cat /proc/cmdline"), cmdline);
    let before = now();
    let theirs: i64 = shell.run("date -u +%s").parse().unwrap();
    let possible = before - CLOCKS..=now() + CLOCKS;
    assert!(possible.contains(&theirs), "the guest's clock says {theirs}, not {possible:?}");
    shell.close();
}

/// What a guest that has nothing to do is watched for.
const IDLE: Duration = Duration::from_secs(1);

/// Fails if something goes on waking a guest that has nothing to do. It may be looked at too early,
/// so not the first look decides.
#[track_caller]
fn uses_no_cpu_time(name: &str) {
    let time = || chaos::find(name).unwrap().cpu_time_ns;
    let used: Vec<u64> = (0..5)
        .map(|_| {
            let before = time();
            sleep(IDLE);
            time() - before
        })
        .take_while(|used| *used > 0)
        .collect();
    assert!(used.len() < 5, "the guest has nothing to do, and uses in {IDLE:?}: {used:?} ns");
}

/// A guest's whole life, looked at from outside.
fn lives(app: &str, kind: &str) {
    let lab = Lab::new(&format!("life-{app}-{kind}"));
    let host = Host::now();
    let given = cmdline("console=hvc0", "the-end", longest(kind));
    let changes = if app == "linux" { json!({"cmdline": given}) } else { json!({}) };
    let created = lab.create_with(&format!("{app}-{kind}"), "a", &changes, &[]);
    let name = lab.name("a");
    assert_eq!(created.name, name);
    let memory = if app == "linux" { 256 } else { 4 };

    let row = xl::find(&name).expect("xl lists it");
    assert_eq!((row.id, row.vcpus), (created.domid, 1), "{row:?}");
    // A Linux that has started may have given a few pages away, for the frames of its grant table;
    // both tools round down.
    let memory = memory - u64::from(app == "linux")..=memory;
    assert!(memory.contains(&row.memory_mib), "{row:?}");
    let row = chaos::find(&name).expect("chaos lists it");
    assert_eq!((row.domid, row.kind.as_str()), (created.domid, kind), "{row:?}");
    // A PVH guest has a few pages beyond its RAM.
    assert!(memory.contains(&(row.memory_kib / 1024)), "{row:?}");
    assert_eq!(Some(row.uuid), created.uuid);

    match app {
        "hello" => {
            let line = console::wait_for(&name, "hello from");
            let upper = kind.to_uppercase();
            assert!(
                line.contains(&name)
                    && line.contains(&upper)
                    && line.contains(&created.domid.to_string()),
                "{line}"
            );
        }
        "linux" => linux_knows(&name, &given),
        _ => {}
    }
    wait::until("the guest never blocks", || {
        xl::find(&name).is_some_and(|row| row.state.contains('b'))
    });
    if app != "linux" {
        uses_no_cpu_time(&name);
    }

    chaos::chaos(&["destroy", &name]).ok();
    assert_eq!(xl::find(&name), None);
    assert_eq!(chaos::find(&name), None);
    host.assert_unchanged("a guest's life");
}

#[test]
fn noop_pv() {
    lives("noop", "pv");
}

#[test]
fn noop_pvh() {
    lives("noop", "pvh");
}

#[test]
fn hello_pv() {
    lives("hello", "pv");
}

#[test]
fn hello_pvh() {
    lives("hello", "pvh");
}

#[test]
fn linux_pv() {
    lives("linux", "pv");
}

#[test]
fn linux_pvh() {
    lives("linux", "pvh");
}

#[test]
fn several_copies() {
    let lab = Lab::new("copies");
    let host = Host::now();
    let config = lab.config("noop-pv", "web", &json!({}));
    let created = chaos::create(&config, &["-n", "3"]);
    let names: Vec<String> = (1..=3).map(|number| lab.name(&format!("web-{number}"))).collect();
    assert_eq!(created.iter().map(|guest| guest.name.clone()).collect::<Vec<_>>(), names);
    let uuids: BTreeSet<_> = created.iter().map(|guest| guest.uuid.clone().unwrap()).collect();
    assert_eq!(uuids.len(), 3, "each has its own UUID");
    let listed: Vec<String> = xl::list().into_iter().map(|row| row.name).collect();
    assert!(names.iter().all(|name| listed.contains(name)), "{listed:?}");

    let destroy: Vec<&str> =
        ["destroy"].into_iter().chain(names.iter().map(String::as_str)).collect();
    chaos::chaos(&destroy).ok();
    host.assert_unchanged("three guests were destroyed by one command");
}

#[test]
fn paused_by_the_option() {
    let lab = Lab::new("option");
    let created = lab.create_with("hello-pv", "a", &json!({}), &["--paused"]);
    stays_paused_until_unpaused(&created.name);
}

#[test]
fn paused_by_the_configuration() {
    let lab = Lab::new("key");
    let created = lab.create_with("hello-pvh", "a", &json!({"paused": true}), &[]);
    stays_paused_until_unpaused(&created.name);
}

fn stays_paused_until_unpaused(name: &str) {
    let row = xl::find(name).unwrap();
    assert!(row.state.contains('p'), "{row:?}");
    let row = chaos::find(name).unwrap();
    assert_eq!((row.state.as_str(), row.cpu_time_ns), ("paused", 0));
    assert_eq!(console::text(name), "", "it has not run");
    chaos::chaos(&["unpause", name]).ok();
    console::wait_for(name, "hello from");
}

#[test]
fn a_dry_run_touches_nothing() {
    let lab = Lab::new("dry");
    let config = lab.config("noop-pv", "a", &json!({}));
    let host = Host::now();
    let checked = chaos::json(&["create", "--dry-run", &config]);
    assert_eq!(checked["name"], lab.name("a"));
    assert_eq!(
        (checked["dry_run"].clone(), checked["memory_kib"].clone()),
        (json!(true), json!(4096))
    );
    host.assert_unchanged("a dry run");

    let before = lab.create("noop-pv", "b").domid;
    chaos::chaos(&["create", "--dry-run", &config]).ok();
    assert_eq!(lab.create("noop-pv", "c").domid, before + 1, "a dry run takes no domain id");

    let taken = lab.config("noop-pv", "b", &json!({}));
    let message = chaos::chaos(&["create", "--dry-run", &taken]).fails(4);
    assert!(message.contains(&lab.name("b")), "{message}");
}

#[test]
fn a_compressed_kernel() {
    let lab = Lab::new("gzip");
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(&fs::read("/guests/hello").unwrap()).unwrap();
    let kernel = lab.file("hello.gz", packed.finish().unwrap());
    for kind in ["pv", "pvh"] {
        let created =
            lab.create_with(&format!("hello-{kind}"), kind, &json!({"kernel": kernel}), &[]);
        console::wait_for(&created.name, "hello from");
    }
}

#[test]
fn a_relative_path_is_taken_from_the_configurations_folder() {
    let lab = Lab::new("relative");
    fs::copy("/guests/hello", lab.path("kernel")).unwrap();
    let created = lab.create_with("hello-pv", "a", &json!({"kernel": "kernel"}), &[]);
    console::wait_for(&created.name, "hello from");
}

/// Debian's own kernel, as it comes: what the other Linux guests of a test's host boot is smaller.
#[test]
fn a_bzimage() {
    let lab = Lab::new("bzimage");
    let changes = json!({"kernel": "/guests/linux-vmlinuz"});
    for kind in ["pv", "pvh"] {
        let created = lab.create_with(&format!("linux-{kind}"), kind, &changes, &[]);
        let line = console::wait_for(&created.name, "GUEST-UP");
        assert!(line.contains("-amd64 ") && line.ends_with(&kind.to_uppercase()), "{line}");
        chaos::chaos(&["destroy", &created.name]).ok();
    }
}

#[test]
fn a_command_line_reaches_the_guest() {
    let lab = Lab::new("cmdline");
    for kind in ["pv", "pvh"] {
        // hello powers itself off when its command line says so.
        ends_by_its_command_line(&lab, kind, "exit");
    }
    // The last word that a guest of ours reads; beyond it PVH guests may be given more.
    for kind in ["pv", "pvh"] {
        ends_by_its_command_line(&lab, kind, &cmdline("", "exit", 1023));
    }
    ends_by_its_command_line(&lab, "pvh", &cmdline("exit", "the-end", 4095));
}

#[track_caller]
fn ends_by_its_command_line(lab: &Lab, kind: &str, cmdline: &str) {
    let changes = json!({"cmdline": cmdline, "on_poweroff": "preserve"});
    let created = lab.create_with(&format!("hello-{kind}"), "a", &changes, &[]);
    wait::until("the guest does not end", || {
        chaos::find(&created.name).is_some_and(|row| row.state == "shutdown")
    });
    assert_eq!(chaos::info(&created.name)["shutdown_reason"], "poweroff");
    chaos::chaos(&["destroy", &created.name]).ok();
}
