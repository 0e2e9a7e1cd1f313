//! Guests of chaos are ordinary guests for xl, and guests of xl for chaos.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;

use h2::DomainState;
use lab_tests::terminal::{ESCAPE, Terminal};
use lab_tests::{Host, Lab, chaos, console, domain, wait, xenstore, xl};

#[test]
fn xl_console_on_a_guest_of_chaos() {
    let lab = Lab::new("xl-console");
    let host = Host::now();
    for kind in ["pv", "pvh"] {
        let name = lab.create(&format!("hello-{kind}"), kind).name;
        let mut terminal = Terminal::start(&["xl", "console", &name]);
        terminal.expect(&format!("hello from {name}"));
        terminal.send(b"over xl\r");
        terminal.expect("you said: over xl");
        terminal.send(ESCAPE);
        assert!(terminal.wait().success());
        chaos::chaos(&["destroy", &name]).ok();
    }
    host.assert_unchanged("consoles were attached and detached");
}

#[test]
fn xl_shutdown_on_a_guest_of_chaos() {
    let lab = Lab::new("xl-shutdown");
    let host = Host::now();
    for (base, reason) in [("hello-pv", "poweroff"), ("noop-pvh", "poweroff")] {
        // By default xendevd would remove the domain at once.
        let name =
            lab.create_with(base, base, &serde_json::json!({"on_poweroff": "preserve"}), &[]).name;
        xl::xl(&["shutdown", "-w", &name]).ok();
        let row = xl::find(&name).unwrap();
        assert!(row.state.contains('s'), "{row:?}");
        assert_eq!(chaos::info(&name)["shutdown_reason"], reason);
        chaos::chaos(&["destroy", &name]).ok();
    }
    host.assert_unchanged("xl shut guests of chaos down");
}

#[test]
fn xl_reboot_request_reaches_a_guest_of_chaos() {
    let lab = Lab::new("xl-reboot");
    let guest = lab.create("hello-pv", "a");
    xl::xl(&["reboot", &guest.name]).ok();
    // The guest goes down for it, and xendevd starts it again.
    let is_next = |id, state| id != guest.domid && state == DomainState::Blocked;
    let id = domain::wait_for(&guest.name, "does not come back", is_next);
    assert_eq!(xl::find(&guest.name).map(|row| row.id), Some(id));
    assert_eq!(chaos::find(&guest.name).map(|row| row.uuid), guest.uuid);
}

#[test]
fn xl_destroy_on_a_guest_of_chaos() {
    let lab = Lab::new("xl-destroy");
    let host = Host::now();
    for kind in ["pv", "pvh"] {
        let name = lab.create(&format!("noop-{kind}"), "a").name;
        xl::xl(&["destroy", &name]).ok();
        assert_eq!(chaos::find(&name), None);
        host.assert_unchanged("xl destroyed a guest of chaos");
        // The name is free again, though chaos was not told.
        let name = lab.create(&format!("noop-{kind}"), "a").name;
        xl::xl(&["destroy", &name]).ok();
        let name = lab.create(&format!("noop-{kind}"), "a").name;
        chaos::chaos(&["destroy", &name]).ok();
        // The record of the guest that xl destroyed goes with the next look at all guests.
        chaos::chaos(&["list"]).ok();
    }
    host.assert_unchanged("a name was used again");
}

#[test]
fn xl_pauses_and_unpauses_a_guest_of_chaos() {
    let lab = Lab::new("xl-pause");
    let name = lab.create("noop-pv", "a").name;
    xl::xl(&["pause", &name]).ok();
    assert_eq!(chaos::find(&name).unwrap().state, "paused");
    xl::xl(&["unpause", &name]).ok();
    domain::wait_for(&name, "stays paused", |_, state| state == DomainState::Blocked);
}

#[test]
fn chaos_destroys_a_guest_of_xl() {
    let lab = Lab::new("destroy");
    let host = Host::now();
    for kind in ["pv", "pvh"] {
        let name = lab.xl_create(&format!("hello-{kind}"), kind);
        console::wait_for(&name, "hello from");
        let row = chaos::find(&name).unwrap();
        assert_eq!((row.kind.as_str(), row.memory_kib / 1024), (kind, 4));
        chaos::chaos(&["destroy", &name]).ok();
        assert_eq!(xl::find(&name), None);
    }
    host.assert_unchanged("chaos destroyed guests of xl");
}

#[test]
fn chaos_shuts_a_guest_of_xl_down() {
    let lab = Lab::new("shutdown");
    let host = Host::now();
    for base in ["hello-pv", "noop-pvh"] {
        let name = lab.xl_create(base, base);
        let ended = chaos::json(&["shutdown", &name]);
        // xl removes the domain as soon as it has ended, which may be before chaos has seen why.
        let reason = ended["reason"].as_str().unwrap();
        assert!(["poweroff", "destroyed"].contains(&reason), "{ended}");
        domain::wait_until_gone(&name);
    }
    host.assert_unchanged("chaos shut guests of xl down");
}

#[test]
fn chaos_console_on_a_guest_of_xl() {
    let lab = Lab::new("console");
    let name = lab.xl_create("hello-pv", "a");
    let mut terminal = Terminal::start(&["chaos", "console", &name]);
    terminal.expect(&format!("hello from {name}"));
    terminal.send(b"over chaos\r");
    terminal.expect("you said: over chaos");
    terminal.send(ESCAPE);
    assert!(terminal.wait().success());
    assert!(xl::find(&name).is_some());
}

#[test]
fn chaos_reboots_a_guest_of_xl() {
    let lab = Lab::new("reboot");
    let name = lab.xl_create("hello-pv", "a");
    console::wait_for(&name, "hello from");
    let old = xl::find(&name).unwrap().id;
    let rebooted = chaos::json(&["reboot", &name]);
    let new = xl::find(&name).unwrap().id;
    assert_eq!(
        (rebooted["old_domid"].clone(), rebooted["domid"].clone()),
        (old.into(), new.into())
    );
    assert_ne!(new, old);
    console::wait_for_nth(&name, "hello from", 2);
    xl::xl(&["destroy", &name]).ok();
}

#[test]
fn chaos_renames_a_guest_of_xl() {
    let lab = Lab::new("rename");
    let name = lab.xl_create("noop-pv", "a");
    let id = xl::find(&name).unwrap().id;
    let new = lab.name("b");
    chaos::chaos(&["rename", &name, &new]).ok();
    assert_eq!(xl::find(&new).map(|row| row.id), Some(id));
    assert_eq!(xl::find(&name), None);
    assert_eq!(chaos::info(&new)["made_by"], "other");
}

#[test]
fn xl_sees_a_new_name() {
    let lab = Lab::new("named");
    let host = Host::now();
    let created = lab.create("noop-pv", "a");
    let (old, new) = (created.name, lab.name("b"));
    chaos::chaos(&["rename", &old, &new]).ok();
    let names: Vec<String> = xl::list().into_iter().map(|row| row.name).collect();
    assert!(names.contains(&new) && !names.contains(&old), "{names:?}");
    // The old name is free.
    lab.create("noop-pv", "a");
    chaos::chaos(&["destroy", &old, &new]).ok();
    host.assert_unchanged("a guest was renamed");
}

#[test]
fn chaos_sees_a_name_that_xl_gave() {
    let lab = Lab::new("xl-named");
    let host = Host::now();
    let created = lab.create("hello-pv", "a");
    let (old, new) = (created.name, lab.name("b"));
    xl::xl(&["rename", &old, &new]).ok();
    assert_eq!(chaos::info(&new)["domid"], created.domid);
    assert_eq!(chaos::info(&new)["made_by"], "chaos");
    chaos::chaos(&["info", &old]).fails(3);
    // With a look at all guests the index has it, too.
    assert_eq!(chaos::find(&new).map(|row| row.domid), Some(created.domid));
    let taken = lab.config("noop-pv", "b", &serde_json::json!({}));
    chaos::chaos(&["create", &taken]).fails(4);
    // The old name is free.
    lab.create("noop-pv", "a");
    // A reboot keeps the name that it has now.
    chaos::chaos(&["reboot", &new]).ok();
    assert!(xl::find(&new).is_some());
    chaos::chaos(&["destroy", &old, &new]).ok();
    host.assert_unchanged("xl renamed a guest of chaos");
}

/// The nodes of a guest, with what is its own replaced by a word: ids, UUID, name, and values that
/// differ from start to start.
fn nodes(domid: u16, name: &str) -> BTreeSet<String> {
    let uuid = xenstore::read(&format!("/local/domain/{domid}/vm")).unwrap().replace("/vm/", "");
    let ours = [
        format!("/local/domain/{domid}"),
        format!("/local/domain/0/backend/console/{domid}"),
        format!("/libxl/{domid}"),
        format!("/vm/{uuid}"),
    ];
    let lines = xenstore::tree("/").into_iter();
    let lines = lines.filter(|line| {
        ours.iter().any(|root| {
            line.starts_with(&format!("{root}/")) || line.starts_with(&format!("{root} "))
        })
    });
    lines
        .map(|line| {
            let line = line
                .replace(&uuid, "UUID")
                .replace(name, "NAME")
                .replace(&format!("/local/domain/{domid}"), "/local/domain/ID")
                .replace(&format!("/backend/console/{domid}"), "/backend/console/ID")
                .replace(&format!("/libxl/{domid}"), "/libxl/ID")
                .replace(&format!("= \"{domid}\""), "= \"ID\"")
                .replace(&format!(",r{domid})"), ",rID)")
                .replace(&format!("(n{domid}"), "(nID");
            let (path, rest) = line.split_once(" = ").unwrap();
            let volatile = [
                "start_time",
                "console/ring-ref",
                "console/tty",
                "store/ring-ref",
                "console/port",
                "store/port",
                "random-seed",
            ];
            match rest.rsplit_once("   ") {
                Some((_, permissions)) if volatile.iter().any(|node| path.ends_with(node)) => {
                    format!("{path} = \"...\"   {permissions}")
                }
                _ => format!("{path} = {rest}"),
            }
        })
        .collect()
}

/// What libxl 4.17 writes and chaos does not: which device model it would have used, the kernel's
/// path for xend's tools, and the number of the console's backend owned by the guest, which nobody
/// needs to write.
const ONLY_LIBXL: &[&str] = &[
    "/libxl/ID/dm-version = \"qemu_xen\"   (n0)",
    "/local/domain/ID/console/backend-id = \"0\"   (nID,r0)",
    "/vm/UUID/image = \"\"   (n0,rID)",
    "/vm/UUID/image/kernel = \"/guests/hello\"   (n0,rID)",
    "/vm/UUID/image/ostype = \"linux\"   (n0,rID)",
];

/// What chaos writes in its place, and the guest's randomness, which it reads and others do not.
const ONLY_CHAOS: &[&str] = &[
    "/local/domain/ID/console/backend-id = \"0\"   (n0,rID)",
    "/local/domain/ID/random-seed = \"...\"   (n0,rID)",
];

#[test]
fn nodes_and_permissions_are_those_of_libxl() {
    let lab = Lab::new("nodes");
    for kind in ["pv", "pvh"] {
        let base = format!("hello-{kind}");
        let ours = lab.create(&base, &format!("chaos-{kind}"));
        console::wait_for(&ours.name, "hello from");
        let theirs = lab.xl_create(&base, &format!("libxl-{kind}"));
        console::wait_for(&theirs, "hello from");
        wait::until("xenconsoled offers no terminal", || {
            xenstore::read(&format!("/local/domain/{}/console/tty", ours.domid))
                .is_some_and(|tty| !tty.is_empty())
        });

        let theirs = nodes(xl::find(&theirs).unwrap().id, &theirs);
        let ours = nodes(ours.domid, &ours.name);
        let only_theirs: Vec<_> =
            theirs.difference(&ours).filter(|line| !ONLY_LIBXL.contains(&line.as_str())).collect();
        let only_ours: Vec<_> =
            ours.difference(&theirs).filter(|line| !ONLY_CHAOS.contains(&line.as_str())).collect();
        assert!(
            only_theirs.is_empty() && only_ours.is_empty(),
            "{kind}: libxl's: {only_theirs:#?}\nours: {only_ours:#?}"
        );
        assert!(ours.len() > 50, "{ours:#?}");
    }
}

#[test]
fn xentop_shows_a_guest_of_chaos() {
    let lab = Lab::new("xentop");
    let name = lab.create("noop-pv", "a").name;
    let shown = lab_tests::run(&["xentop", "-b", "-f", "-i", "1"]).ok();
    assert!(shown.lines().any(|line| line.trim_start().starts_with(&name)), "{shown}");
}
