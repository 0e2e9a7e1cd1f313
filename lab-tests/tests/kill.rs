//! A create that is killed, at many points: after the next command the host is as it was, or the
//! guest is whole. In a full run at twice as many.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use lab_tests::strace::{self, Fault};
use lab_tests::{Host, Lab, chaos, times, wait, xl};
use serde_json::json;

const SIGKILL: i32 = 9;

/// Kills a create at these calls in turn. How many of the guests were whole.
fn kill_in_turn(lab: &Lab, base: &str, call: &str, numbers: &[usize]) -> usize {
    assert!(!numbers.is_empty(), "{base}: no such {call}");
    let config = lab.config(base, "a", &json!({}));
    let name = lab.name("a");
    let host = Host::quick();
    let mut whole = 0;
    for &number in numbers {
        let output =
            strace::inject(call, Fault::Signal("KILL"), number, &["chaos", "create", &config]);
        let what = format!("SIGKILL at {call} number {number}: {}", output.report());
        assert_eq!(output.signal(), Some(SIGKILL), "{what}");
        // The next command cleans up; which one it is does not matter.
        let listed = chaos::chaos(&["--format", "json", "list"]).ok();
        if listed.contains(&format!("\"{name}\"")) {
            whole += 1;
            let row = chaos::find(&name).unwrap();
            assert_ne!(row.state, "paused", "{what}");
            chaos::chaos(&["destroy", &name]).ok();
        }
        host.assert_unchanged(&what);
    }
    whole
}

#[test]
fn at_the_hypercalls() {
    let lab = Lab::new("hypercalls");
    let host = Host::now();
    let pv = strace::calls_of_create(&lab, "noop-pv", "ioctl", |_| true);
    kill_in_turn(&lab, "noop-pv", "ioctl", &strace::pick(&pv[8..], 3, times(10, 5)));
    let pvh = strace::calls_of_create(&lab, "noop-pvh", "ioctl", |_| true);
    kill_in_turn(&lab, "noop-pvh", "ioctl", &strace::pick(&pvh[8..], 2, times(24, 12)));
    host.assert_unchanged("all of them");
}

#[test]
fn at_the_requests_to_xenstored() {
    let lab = Lab::new("requests");
    let host = Host::now();
    let all = strace::calls_of_create(&lab, "noop-pv", "write", strace::is_store_request);
    let whole = kill_in_turn(&lab, "noop-pv", "write", &all);
    assert_eq!(whole, 0, "no guest is whole before its last request");
    host.assert_unchanged("all of them");
}

#[test]
fn at_the_files_of_the_mark_and_the_name() {
    let lab = Lab::new("files");
    let host = Host::now();
    for call in ["symlink", "rename", "flock", "unlink"] {
        let all = strace::calls_of_create(&lab, "noop-pv", call, |_| true);
        kill_in_turn(&lab, "noop-pv", call, &all);
    }
    // The mark's own lines, and what is printed last.
    let all = strace::calls_of_create(&lab, "noop-pv", "write", |call| {
        !strace::is_store_request(call) && call.contains("{\\\"name")
    });
    kill_in_turn(&lab, "noop-pv", "write", &all);
    let printed =
        strace::calls_of_create(&lab, "noop-pv", "write", |call| call.starts_with("write(1, "));
    assert_eq!(
        kill_in_turn(&lab, "noop-pv", "write", &printed),
        1,
        "a guest of which one is told is whole"
    );
    host.assert_unchanged("all of them");
}

/// The cleaner may be killed, too: the one after it finishes.
#[test]
fn the_cleaner_is_killed_as_well() {
    let lab = Lab::new("cleaner");
    let config = lab.config("noop-pv", "a", &json!({}));
    let host = Host::now();
    let requests = strace::calls_of_create(&lab, "noop-pv", "write", strace::is_store_request);
    let late = requests[requests.len() - 2];
    for number in [9, 12] {
        let output =
            strace::inject("write", Fault::Signal("KILL"), late, &["chaos", "create", &config]);
        assert_eq!(output.signal(), Some(SIGKILL), "{}", output.report());
        let cleaner = strace::inject("ioctl", Fault::Signal("KILL"), number, &["chaos", "list"]);
        let what = format!("the cleaner's ioctl {number}: {}", cleaner.report());
        assert_eq!(cleaner.signal(), Some(SIGKILL), "{what}");
        chaos::chaos(&["list"]).ok();
        host.assert_unchanged(&what);
    }
}

/// The name of a guest whose builder was killed is free for the next one at once.
#[test]
fn the_same_create_again() {
    let lab = Lab::new("again");
    let config = lab.config("noop-pv", "a", &json!({}));
    let requests = strace::calls_of_create(&lab, "noop-pv", "write", strace::is_store_request);
    let host = Host::now();
    // Late enough that there is something to remove.
    let late = requests[requests.len() - 2];
    let output =
        strace::inject("write", Fault::Signal("KILL"), late, &["chaos", "create", &config]);
    assert_eq!(output.signal(), Some(SIGKILL), "{}", output.report());
    let output = chaos::chaos(&["create", &config]);
    // Whoever came first has removed it, and says so: this command, or xendevd.
    let journal = lab_tests::run(&["journalctl", "--no-pager", "--unit", "xendevd"]).ok();
    let told = format!("removed the unfinished guest {}", lab.name("a"));
    assert!(
        [&output.stderr, &journal].iter().any(|text| text.contains(&told)),
        "nobody says it: {}",
        output.report()
    );
    output.ok();
    let rows = xl::list().into_iter().filter(|row| row.name == lab.name("a"));
    assert_eq!(rows.count(), 1);
    chaos::chaos(&["destroy", &lab.name("a")]).ok();
    host.assert_unchanged("a create was killed and repeated");
}

/// A builder that lives is never taken for a dead one.
#[test]
fn a_create_that_is_only_slow() {
    let lab = Lab::new("slow");
    let config = lab.config("noop-pv", "a", &json!({}));
    let requests = strace::calls_of_create(&lab, "noop-pv", "write", strace::is_store_request);
    // It sleeps at each of its last requests, while others look and clean.
    let inject = format!("inject=write:delay_enter=300000:when={}+1", requests[requests.len() / 2]);
    let slow = [
        "strace",
        "-f",
        "-qq",
        "--seccomp-bpf",
        "-o",
        "/dev/null",
        "-e",
        "trace=write",
        "-e",
        &inject,
        "chaos",
        "create",
        &config,
    ];
    let slow: Vec<String> = slow.iter().map(ToString::to_string).collect();
    let builder = std::thread::spawn(move || {
        lab_tests::run(&slow.iter().map(String::as_str).collect::<Vec<_>>())
    });
    wait::until("the slow create does not begin", || {
        std::fs::read_dir("/run/lightvm/building").unwrap().count() > 0 || builder.is_finished()
    });
    let mut looked = 0;
    while !builder.is_finished() {
        chaos::chaos(&["list"]).ok();
        looked += 1;
    }
    builder.join().unwrap().ok();
    assert!(looked > 0);
    assert_ne!(chaos::find(&lab.name("a")).expect("the slow guest is there").state, "paused");
}

/// SIGTERM and SIGINT undo the guest that is being made, or come too late for it; nothing stands
/// between.
#[test]
fn at_a_polite_signal() {
    let lab = Lab::new("polite");
    let config = lab.config("noop-pv", "a", &json!({}));
    let name = lab.name("a");
    let all = strace::calls_of_create(&lab, "noop-pv", "ioctl", |_| true);
    let host = Host::now();
    let mut undone = 0;
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        // From the first hypercall of the create itself on: before that, a signal simply ends the
        // program.
        for number in strace::pick(&all[14..], 1, times(24, 12)) {
            // Whoever runs this may ignore SIGINT, as shells let their background jobs do, and
            // chaos would, too.
            let default = format!("--default-signal={signal}");
            let words = ["env", &default, "chaos", "create", &config];
            let output = strace::inject("ioctl", Fault::Signal(signal), number, &words);
            let what = format!("SIG{signal} at ioctl {number}: {}", output.report());
            if output.code() == Some(code) {
                undone += 1;
            } else {
                // It came while the guest was being started: chaos finished that, said so, and let
                // the signal end it.
                assert_eq!(output.signal(), Some(code - 128), "{what}");
                assert!(output.stdout.contains(&format!("created {name}")), "{what}");
                assert_ne!(
                    chaos::find(&name).expect("the guest is there").state,
                    "paused",
                    "{what}"
                );
                chaos::chaos(&["destroy", &name]).ok();
            }
            // Without another command: chaos itself undoes it.
            host.assert_unchanged(&what);
        }
    }
    assert!(undone > 0, "no signal had an effect");
}
