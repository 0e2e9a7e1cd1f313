//! What it costs to bring up an interface: xendevd, and beside it the scripts that Debian brings.
//! Processes are counted; times are printed, for a run on a host with `--icount`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::time::{Duration, Instant};

use lab_tests::uevents::Uevents;
use lab_tests::{Lab, chaos, console, daemon, strace, wait, xl};

/// Has a command attach the first interface of a domain. How long it takes from the kernel's event
/// to the answer in Xenstore.
#[track_caller]
fn attach(domain: u16, command: &[&str]) -> Duration {
    let uevents = Uevents::listen();
    let store = h2::store::Store::open().unwrap();
    let node = format!("/local/domain/0/backend/vif/{domain}/0/hotplug-status");
    store.add_watch(&node, "status").unwrap();
    let mut child = std::process::Command::new(command[0]).args(&command[1..]).spawn().unwrap();
    let (mut event, end) = (None, Instant::now() + wait::BOUND);
    let answered = loop {
        assert!(
            Instant::now() < end,
            "{command:?}: no answer at {node}; the event came: {}",
            event.is_some()
        );
        event = event.or_else(|| uevents.seen("online", &format!("/vif-{domain}-0")));
        // The watch fires once at the start, too.
        if store.next_event(Duration::from_millis(1)).unwrap().is_some()
            && store.read(&node).unwrap().as_deref() == Some("connected")
        {
            break Instant::now();
        }
    };
    assert!(child.wait().unwrap().success(), "{command:?}");
    let event = event
        .or_else(|| uevents.seen("online", &format!("/vif-{domain}-0")))
        .expect("the kernel said nothing");
    answered.saturating_duration_since(event)
}

/// Processes among traced calls: those that were started, and programs that they became.
fn processes(calls: &[String]) -> usize {
    let forks = |call: &&String| {
        let starts = ["clone", "fork", "vfork"].iter().any(|name| call.starts_with(name));
        starts && !call.contains("CLONE_THREAD")
            || call.starts_with("execve(") && call.ends_with(" = 0")
    };
    calls.iter().filter(forks).count()
}

const PROCESSES: &str = "execve,clone,clone3,fork,vfork";

#[test]
fn an_interface_without_a_process() {
    let lab = Lab::new("cost");
    let ours = lab.create("hello-pv", "chaos");
    console::wait_for(&ours.name, "hello from");
    let plug = ["chaos", "device", "attach", &ours.name, "vif", "--bridge", "xenbr0"];
    let pull = || chaos::chaos(&["device", "detach", "--force", &ours.name, "vif", "0"]).ok();
    // The first time, commands and daemons do what they do once.
    for round in 0..3 {
        let took = attach(ours.domid, &plug);
        eprintln!("round {round}: xendevd answered after {:.3} ms", took.as_secs_f64() * 1000.0);
        pull();
    }
    let daemon = strace::follow(&lab, daemon::xendevd().pid, &format!("trace={PROCESSES}"));
    let command = strace::trace(&lab, PROCESSES, &plug);
    command.output.ok();
    pull();
    assert_eq!(processes(&daemon.end()), 0, "xendevd started a process for a device");
    assert_eq!(
        processes(&command.calls),
        1,
        "chaos started a process for a device: {:?}",
        command.calls
    );

    let name = lab.xl_create("hello-pv", "xl");
    let domain = xl::find(&name).unwrap().id;
    // Another suite may have put our hook in the script's place.
    let aside = "/etc/xen/scripts/vif-bridge.xen";
    let script = if Path::new(aside).exists() { aside } else { "/etc/xen/scripts/vif-bridge" };
    let plug = ["xl", "network-attach", &name, "bridge=xenbr0", &format!("script={script}")];
    // libxl waits ten seconds for a guest without a driver to let go of an interface, so this is
    // done once.
    let took = attach(domain, &plug);
    eprintln!("Debian's scripts answered after {:.3} ms", took.as_secs_f64() * 1000.0);
    let command = strace::trace(&lab, PROCESSES, &plug);
    command.output.ok();
    eprintln!("Debian's scripts: {} processes and programs", processes(&command.calls));
    assert!(processes(&command.calls) > 10);
}
