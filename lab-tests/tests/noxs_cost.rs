//! What one guest with an interface costs to make: by chaos on either plane, and by xl. All are
//! counted by the same witness, strace, from the command's start to its end, with all that it
//! starts. For a host with both planes.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use lab_tests::chaos::Created;
use lab_tests::strace::{self, Trace};
use lab_tests::{Lab, chaos, noxs, xl};
use serde_json::json;

/// What is looked at. More would make libxl's scripts so slow that it kills them.
const CALLS: &str = "execve,ioctl,write";

/// What strace has seen.
#[derive(Debug)]
struct Cost {
    programs: usize,
    ioctls: usize,
    hypercalls: usize,
    /// To xenstored.
    requests: usize,
}

impl Cost {
    fn of(calls: &[String]) -> Self {
        let count = |wanted: fn(&str) -> bool| calls.iter().filter(|call| wanted(call)).count();
        // h2 sends many requests in one write; libxenstore sends the header of each by itself.
        let requests = count(|call| call.starts_with("write(") && call.ends_with(", 16) = 16"));
        Self {
            programs: count(|call| call.starts_with("execve(") && !call.contains("ENOENT")),
            ioctls: count(|call| call.starts_with("ioctl(")),
            hypercalls: count(strace::is_hypercall),
            requests: requests.max(calls.iter().map(|call| strace::store_requests(call)).sum()),
        }
    }

    fn show(&self, title: &str) {
        let Self { programs, ioctls, hypercalls, requests } = self;
        eprintln!("{title:16} {programs:8} {ioctls:6} {hypercalls:10} {requests:8}");
    }
}

/// By chaos on a plane.
#[track_caller]
fn by_chaos(lab: &Lab, kind: &str, plane: &str) -> Cost {
    let config = lab.config(&format!("daytime-{kind}"), plane, &json!({}));
    let words = ["chaos", "--format", "json", "create", "--stats", "--plane", plane, &config];
    let Trace { output, calls } = strace::trace(lab, CALLS, &words);
    let created: Created = serde_json::from_str(&output.ok()).unwrap();
    chaos::chaos(&["destroy", &created.name]).ok();
    let cost = Cost::of(&calls);
    cost.show(&format!("chaos, {plane}"));
    eprintln!("    of which for the guest itself: {:?}", created.stats.unwrap());
    cost
}

/// By xl, with Debian's scripts or with the hook in their place, whichever the host has.
#[track_caller]
fn by_xl(lab: &Lab, kind: &str) -> Cost {
    let name = lab.name("xl");
    let path = lab.xl_config(&format!("daytime-{kind}"), "xl", "vif = ['bridge=xenbr0']\n");
    // It does not stay to wait for the guest's end.
    let Trace { output, calls } = strace::trace(lab, CALLS, &["xl", "create", "-q", "-e", &path]);
    output.ok();
    // By xl, too, so that its records go: chaos asks for the names of all guests that xl has
    // records of.
    xl::xl(&["destroy", &name]).ok();
    let cost = Cost::of(&calls);
    cost.show("xl");
    cost
}

#[test]
fn the_same_guest_three_times() {
    let lab = Lab::new("noxs-cost");
    noxs::start_xenstored();
    for kind in ["pv", "pvh"] {
        eprintln!("{kind:16} programs ioctls hypercalls requests");
        let ours = ["noxs", "xenstore"].map(|plane| by_chaos(&lab, kind, plane));
        let theirs = by_xl(&lab, kind);
        let [noxs, xenstore] = &ours;
        // What it asks xenstored at all is whether the name is free there: two requests, and two
        // for each guest that libxl has records of.
        assert!(noxs.requests * 5 < xenstore.requests, "{kind}: {ours:?}");
        for cost in &ours {
            assert_eq!(cost.programs, 1, "{kind}: {ours:?}");
            assert!(
                cost.hypercalls < theirs.hypercalls && cost.ioctls < theirs.ioctls,
                "{kind}: {ours:?}, {theirs:?}"
            );
            assert!(cost.requests < theirs.requests, "{kind}: {ours:?}, {theirs:?}");
        }
    }
}
