//! A create whose system calls fail, one after the other: whatever fails, the host is as it was.
//!
//! Every hypercall is an ioctl, and every request to xenstored begins with a write of its header,
//! so failing these in turn fails every step. h2's own tests do the same over a fake host and leave
//! no call out; here the libraries, the kernel and the daemons are the real ones.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use lab_tests::strace::{self, Fault};
use lab_tests::{Host, Lab, chaos, times};
use serde_json::json;

#[test]
fn the_figures_of_stats_are_those_that_strace_sees() {
    let lab = Lab::new("stats");
    for kind in ["pv", "pvh"] {
        let config = lab.config(&format!("noop-{kind}"), kind, &json!({}));
        let traced = |count: &str| {
            let words = ["chaos", "--format", "json", "create", "--stats", "-n", count, &config];
            let trace = strace::trace(&lab, "ioctl,write", &words);
            let stats: Vec<chaos::Created> =
                trace.output.ok().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            let destroy: Vec<&str> = ["destroy"]
                .into_iter()
                .chain(stats.iter().map(|guest| guest.name.as_str()))
                .collect();
            chaos::chaos(&destroy).ok();
            let ioctls = trace.calls.iter().filter(|call| call.starts_with("ioctl("));
            let requests: usize = trace.calls.iter().map(|call| strace::store_requests(call)).sum();
            (
                ioctls.clone().count(),
                ioctls.filter(|call| strace::is_hypercall(call)).count(),
                requests,
                stats.last().unwrap().stats.clone().unwrap(),
            )
        };
        // What one guest more costs, without what the program does around it.
        let (two, three) = (traced("2"), traced("3"));
        let more = |part: fn(&(usize, usize, usize, chaos::Stats)) -> usize| {
            u64::try_from(part(&three) - part(&two)).unwrap()
        };
        assert_eq!(Some(more(|seen| seen.0)), three.3.ioctls, "{kind}: ioctls");
        assert_eq!(Some(more(|seen| seen.1)), three.3.hypercalls, "{kind}: hypercalls");
        assert_eq!(more(|seen| seen.2), three.3.xenstore_operations, "{kind}: Xenstore operations");
    }
}

/// Fails these calls of a create in turn.
fn fail_in_turn(lab: &Lab, base: &str, call: &str, errno: &str, numbers: &[usize]) {
    // libxenguest shrugs at some failures, and then the guest may crash: it is to be found, and not
    // removed by xendevd.
    let config = lab.config(base, "a", &json!({"on_crash": "preserve"}));
    let name = lab.name("a");
    let host = Host::quick();
    let whole = Host::now();
    let mut failed = 0;
    for &number in numbers {
        let output =
            strace::inject(call, Fault::Error(errno), number, &["chaos", "create", &config]);
        let what = format!("{call} number {number} failed with {errno}: {}", output.report());
        if output.status.success() {
            // Not every call is needed: the guest is there, and whole.
            let row =
                chaos::find(&name).unwrap_or_else(|| panic!("success without a guest; {what}"));
            assert_ne!(row.state, "paused", "{what}");
            chaos::chaos(&["destroy", &name]).ok();
        } else {
            failed += 1;
            output.fails_with_a_message();
        }
        // Before any other command, which might clean up.
        host.assert_unchanged(&what);
    }
    whole.assert_unchanged("all of them");
    assert!(failed * 2 > numbers.len(), "only {failed} of {} faults had an effect", numbers.len());
    // And nothing is in the way of the real one.
    lab.create(base, "a");
}

/// All of them in a full run, else the first, the last, and every third between.
#[test]
fn ioctls_of_a_pv_create() {
    let lab = Lab::new("ioctl-pv");
    let all = strace::calls_of_create(&lab, "noop-pv", "ioctl", |_| true);
    fail_in_turn(&lab, "noop-pv", "ioctl", "ENOMEM", &strace::pick(&all, 6, times(3, 1)));
}

/// Most of them are those of a PV guest: of the rest, the first, the last, and some between are
/// tried.
#[test]
fn ioctls_of_a_pvh_create() {
    let lab = Lab::new("ioctl-pvh");
    let all = strace::calls_of_create(&lab, "noop-pvh", "ioctl", |_| true);
    fail_in_turn(&lab, "noop-pvh", "ioctl", "EPERM", &strace::pick(&all[10..], 3, times(16, 8)));
}

/// The connection breaks in the middle of a create.
#[test]
fn requests_to_xenstored() {
    let lab = Lab::new("xenstore");
    let all = strace::calls_of_create(&lab, "noop-pv", "write", strace::is_store_request);
    assert!(all.len() > 5, "a create sends more than {} times", all.len());
    fail_in_turn(&lab, "noop-pv", "write", "EPIPE", &all);
}

#[test]
fn files_of_the_mark_and_the_name() {
    let lab = Lab::new("files");
    for (call, errno) in
        [("symlink", "ENOSPC"), ("rename", "ENOSPC"), ("flock", "ENOLCK"), ("unlink", "EIO")]
    {
        // Giving a lock back never fails.
        let all = strace::calls_of_create(&lab, "noop-pv", call, |call| !call.contains("LOCK_UN"));
        assert!(!all.is_empty(), "a create has no {call}");
        for number in all {
            let config = lab.config("noop-pv", "a", &json!({}));
            let host = Host::quick();
            let output =
                strace::inject(call, Fault::Error(errno), number, &["chaos", "create", &config]);
            let what = format!("{call} number {number} failed with {errno}: {}", output.report());
            if output.status.success() {
                chaos::chaos(&["destroy", &lab.name("a")]).ok();
            } else {
                output.fails_with_a_message();
            }
            // A mark that cannot be removed is left to the next command.
            chaos::chaos(&["list"]).ok();
            host.assert_unchanged(&what);
        }
    }
}

/// The witness itself: lines as strace prints them.
#[test]
fn requests_are_told_from_other_writes() {
    for (request, count) in [
        (r#"write(10, "\v\0\0\0\17\0\0\0\0\0\0\0\32\0\0\0/local/domain/4"..., 42) = 42"#, 1),
        (r#"write(10, "\16\0\0\0\0\0\0\0\0\0\0\0004\0\0\0", 16) = 16"#, 1),
        (
            concat!(
                r#"write(3, "\2\0\0\0\1\0\0\0\0\0\0\0\3\0\0\0/a\0\r\0\0\0\2\0\0\0"#,
                r#"\0\0\0\0\2\0\0\0/\0", 37) = 37"#
            ),
            2,
        ),
    ] {
        assert_eq!(strace::store_requests(request), count, "{request}");
    }
    for other in [
        r#"write(10, "/local/domain/6\0", 16) = 16"#,
        r#"write(1, "created noop, domain 1\n", 23) = 23"#,
        "write(1, NULL, 0) = 0",
    ] {
        assert!(!strace::is_store_request(other), "{other}");
    }
}
