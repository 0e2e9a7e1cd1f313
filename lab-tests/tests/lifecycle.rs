//! What is done to guests while they live: shutdown, reboot, pause, rename, consoles, shares of the
//! host.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use h2::DomainState::{self, Blocked, Shutdown};
use h2::{DomId, Hypervisor};
use lab_tests::command::{LIMIT, run_within};
use lab_tests::terminal::{ESCAPE, Terminal};
use lab_tests::{Host, Lab, chaos, console, daemon, domain, run, wait, xl};
use serde_json::{Value, json};

#[test]
fn shutdown_waits_and_removes_the_domain() {
    let lab = Lab::new("shutdown");
    let host = Host::now();
    for base in ["noop-pv", "noop-pvh", "hello-pv", "hello-pvh"] {
        let created = lab.create(base, base);
        let ended = chaos::json(&["shutdown", &created.name]);
        let expected = json!({
            "domid": created.domid, "name": created.name,
            "reason": "poweroff", "destroyed": true,
        });
        assert_eq!(ended, expected);
        assert_eq!(xl::find(&created.name), None);
    }
    host.assert_unchanged("guests shut down");
}

#[test]
fn linux_shuts_down_and_reboots_politely() {
    let lab = Lab::new("linux");
    let created = lab.create("linux-pv", "a");
    console::wait_for(&created.name, "GUEST-UP");
    let rebooted = chaos::json(&["reboot", &created.name]);
    assert_eq!(rebooted["old_domid"], created.domid);
    console::wait_for_nth(&created.name, "GUEST-UP", 2);
    let ended = chaos::json(&["shutdown", &created.name]);
    assert_eq!(ended["reason"], "poweroff");
}

#[test]
fn shutdown_of_several_guests() {
    let lab = Lab::new("several");
    let names: Vec<String> =
        ["a", "b"].iter().map(|name| lab.create("hello-pv", name).name).collect();
    // One that does not exist does not keep the others from being served.
    let nobody = lab.name("nobody");
    let output = chaos::chaos(&["--format", "json", "shutdown", &names[0], &nobody, &names[1]]);
    assert_eq!(
        output.stdout.lines().filter(|line| line.contains("\"poweroff\"")).count(),
        2,
        "{}",
        output.report()
    );
    assert!(output.fails(3).contains(&nobody));
    assert!(names.iter().all(|name| xl::find(name).is_none()));
}

#[test]
fn no_wait_only_asks() {
    let lab = Lab::new("no-wait");
    let created = lab.create("hello-pv", "a");
    let asked = chaos::json(&["shutdown", "--no-wait", &created.name]);
    assert_eq!((asked["reason"].clone(), asked["destroyed"].clone()), (Value::Null, json!(false)));
    // Nobody waits for its end but xendevd, which removes it.
    domain::wait_until_gone(&created.name);
    assert_eq!(xl::find(&created.name), None);
}

#[test]
fn keep_keeps_the_domain() {
    let lab = Lab::new("keep");
    let by_option = lab.create("hello-pv", "option").name;
    assert_eq!(chaos::json(&["shutdown", "--keep", &by_option])["destroyed"], false);
    assert!(xl::find(&by_option).unwrap().state.contains('s'));
    let by_key = lab.create_with("hello-pv", "key", &json!({"on_poweroff": "preserve"}), &[]).name;
    assert_eq!(chaos::json(&["shutdown", &by_key])["destroyed"], false);
    assert!(xl::find(&by_key).unwrap().state.contains('s'));
}

#[test]
fn a_guest_that_does_not_react() {
    let lab = Lab::new("deaf");
    let host = Host::now();
    // One that is paused cannot react, and chaos says that without waiting.
    let created = lab.create_with("linux-pv", "a", &json!({}), &["--paused"]);
    let message = chaos::chaos(&["shutdown", "--timeout", "1", &created.name]);
    assert!(message.fails(1).contains("paused"));

    let started = lab.create_with("hello-pv", "b", &json!({"kernel": deaf_kernel(&lab)}), &[]);
    let message = chaos::chaos(&["shutdown", "--timeout", "1", &started.name]).fails(6);
    assert!(message.contains(&started.name) && message.contains("did not react"), "{message}");
    assert!(xl::find(&started.name).is_some(), "it is left alone");
    let message = chaos::chaos(&["reboot", "--timeout", "1", &started.name]).fails(6);
    assert!(message.contains("did not react"), "{message}");

    let forced = chaos::json(&["shutdown", "--timeout", "1", "--force", &started.name]);
    assert_eq!(
        (forced["reason"].clone(), forced["destroyed"].clone()),
        (json!("forced"), json!(true))
    );
    assert_eq!(xl::find(&started.name), None);
    chaos::chaos(&["destroy", &created.name]).ok();
    host.assert_unchanged("a guest that did not react was destroyed");
}

/// hello with another word in the place of "control/shutdown": it watches a node that nobody
/// writes.
fn deaf_kernel(lab: &Lab) -> String {
    let mut image = std::fs::read("/guests/hello").unwrap();
    let word = b"control/shutdown";
    let places: Vec<usize> =
        (0..image.len() - word.len()).filter(|at| image[*at..].starts_with(word)).collect();
    assert!(!places.is_empty(), "hello does not name control/shutdown");
    for at in places {
        image[at..at + word.len()].copy_from_slice(b"control/shutdowm");
    }
    lab.file("deaf", image)
}

/// xenstored says nothing while a guest waits for its answer: five seconds, and in a full run for
/// longer than a guest waits for anything else.
#[test]
fn guests_outlast_a_silent_xenstored() {
    let lab = Lab::new("outlast");
    let silence = Duration::from_secs(if lab_tests::full() { 130 } else { 5 });
    let hypervisor = Hypervisor::open().unwrap();
    let guests = ["hello-pv", "hello-pvh"].map(|base| {
        let guest = lab.create(base, base);
        console::wait_for(&guest.name, "hello from");
        wait::until("the guest never blocks", || {
            chaos::find(&guest.name).unwrap().state == "blocked"
        });
        // What it watches changes, and it will ask what is there now.
        let domain = hypervisor.domain(DomId::new(guest.domid).unwrap()).unwrap();
        domain.pause().unwrap();
        let node = format!("/local/domain/{}/control/shutdown", guest.domid);
        run(&["xenstore-write", &node, ""]).ok();
        (guest, domain)
    });
    {
        let _stopped = daemon::xenstored().stop();
        for (guest, domain) in &guests {
            let before = domain.info().unwrap().cpu_time;
            domain.unpause().unwrap();
            wait::until(&format!("{} does not ask", guest.name), || {
                let now = domain.info().unwrap();
                now.state == DomainState::Blocked && now.cpu_time > before
            });
        }
        std::thread::sleep(silence);
    }
    for (guest, _) in guests {
        assert_eq!(chaos::json(&["shutdown", &guest.name])["reason"], "poweroff");
    }
}

#[test]
fn a_crash_is_told_from_a_shutdown() {
    let lab = Lab::new("crash");
    for kind in ["pv", "pvh"] {
        let name = lab
            .create_with(&format!("hello-{kind}"), kind, &json!({"on_crash": "preserve"}), &[])
            .name;
        console::wait_for(&name, "hello from");
        run_within(LIMIT, &["chaos", "console", &name], "crash\n").ok();
        domain::wait_for(&name, "does not crash", |_, state| matches!(state, Shutdown(_)));
        assert!(xl::find(&name).unwrap().state.contains('c'));
        assert_eq!(chaos::find(&name).unwrap().state, "crashed");
        assert_eq!(chaos::info(&name)["shutdown_reason"], "crash");
        let ended = chaos::json(&["shutdown", &name]);
        assert_eq!(ended["reason"], "crash");
    }
}

#[test]
fn reboot_keeps_name_uuid_and_configuration() {
    let lab = Lab::new("reboot");
    let host = Host::now();
    for kind in ["pv", "pvh"] {
        let changes = json!({"cpu_weight": 300, "cmdline": "some words"});
        let created = lab.create_with(&format!("hello-{kind}"), kind, &changes, &[]);
        let name = created.name.as_str();
        console::wait_for(name, "hello from");
        let before = chaos::info(name);
        let rebooted = chaos::json(&["reboot", name]);
        assert_eq!(
            (rebooted["old_domid"].clone(), rebooted["name"].clone()),
            (json!(created.domid), json!(name))
        );
        let after = chaos::info(name);
        assert_ne!(after["domid"], before["domid"]);
        for key in [
            "name",
            "uuid",
            "type",
            "max_memory_kib",
            "max_vcpus",
            "made_by",
            "scheduler",
            "config",
        ] {
            assert_eq!(after[key], before[key], "{key}");
        }
        let line = console::wait_for_nth(name, "hello from", 2);
        assert!(line.contains(&after["domid"].to_string()), "{line}");
        assert_eq!(xl::find(name).map(|row| json!(row.id)), Some(after["domid"].clone()));
        chaos::chaos(&["destroy", name]).ok();
    }
    host.assert_unchanged("guests were rebooted and destroyed");
}

#[test]
fn a_reboot_without_a_kernel_leaves_the_guest_alone() {
    let lab = Lab::new("no-kernel");
    let kernel = lab.file("kernel", std::fs::read("/guests/hello").unwrap());
    let created = lab.create_with("hello-pv", "a", &json!({"kernel": kernel}), &[]);
    std::fs::remove_file(&kernel).unwrap();
    let message = chaos::chaos(&["reboot", &created.name]).fails(2);
    assert!(message.contains(&kernel), "{message}");
    assert_eq!(xl::find(&created.name).map(|row| row.id), Some(created.domid));
}

#[test]
fn pause_and_unpause_as_often_as_one_likes() {
    let lab = Lab::new("pause");
    let name = lab.create("noop-pv", "a").name;
    for _ in 0..3 {
        chaos::chaos(&["pause", &name]).ok();
        assert!(xl::find(&name).unwrap().state.contains('p'));
    }
    // xl counts, too.
    xl::xl(&["pause", &name]).ok();
    for _ in 0..2 {
        chaos::chaos(&["unpause", &name]).ok();
        domain::wait_for(&name, "stays paused", |_, state| state == Blocked);
        assert!(xl::find(&name).unwrap().state.contains('b'));
    }
}

#[test]
fn info_tells_what_was_configured() {
    let lab = Lab::new("info");
    let changes = json!({
        "vcpus": {"count": 2, "cpumap": [[0], []]},
        "cpu_weight": 300, "cpu_cap": 50, "cmdline": "some words",
    });
    let created = lab.create_with("noop-pv", "a", &changes, &[]);
    let info = chaos::info(&created.name);
    assert_eq!(info["max_vcpus"], 2);
    assert_eq!(info["scheduler"], json!({"weight": 300, "cap_percent": 50}));
    assert_eq!(info["vcpu_affinity"][0], json!({"vcpu": 0, "cpus": [0]}));
    assert_eq!(info["made_by"], "chaos");
    assert_eq!(info["config"]["cmdline"], "some words");
    assert!(info["console_tty"].as_str().unwrap().starts_with("/dev/"), "{info}");
    let by_id = chaos::info(&created.domid.to_string());
    assert_eq!(by_id["uuid"], info["uuid"]);

    let host = chaos::json(&["info"]);
    let line = xl::xl(&["info", "xen_version"]).ok();
    assert_eq!(host["hypervisor_version"], line.trim());
    assert_eq!(host["free_memory_kib"].as_u64().unwrap() / 1024, xl::free_memory());
}

#[test]
fn shares_of_the_host() {
    let lab = Lab::new("shares");
    let name = lab.create("noop-pv", "a").name;
    let guest = name.as_str();

    // On a host of one CPU, which the lab may be, the first CPU is all of them.
    let first = if chaos::json(&["info"])["cpus"] == 1 { "all / " } else { " 0 / " };
    chaos::chaos(&["vcpu-pin", guest, "0", "0"]).ok();
    assert_eq!(chaos::info(guest)["vcpu_affinity"], json!([{"vcpu": 0, "cpus": [0]}]));
    let shown = xl::xl(&["vcpu-list", guest]).ok();
    assert!(shown.lines().nth(1).unwrap().contains(first), "{shown}");
    chaos::chaos(&["vcpu-pin", guest, "all", "all"]).ok();
    let shown = xl::xl(&["vcpu-list", guest]).ok();
    assert!(shown.lines().nth(1).unwrap().contains("all / "), "{shown}");
    chaos::chaos(&["vcpu-pin", guest, "1", "0"]).fails(2);
    chaos::chaos(&["vcpu-pin", guest, "0", "99"]).fails(2);

    chaos::chaos(&["sched", guest, "--weight", "512", "--cap", "25"]).ok();
    let shown = xl::xl(&["sched-credit2", "-d", guest]).ok();
    let words: Vec<&str> = shown.lines().last().unwrap().split_whitespace().collect();
    assert_eq!(words[words.len() - 2..], ["512", "25"], "{shown}");
    let shown = chaos::json(&["sched", guest]);
    assert_eq!((shown["weight"].clone(), shown["cap_percent"].clone()), (json!(512), json!(25)));

    let before = chaos::find(guest).unwrap().max_memory_kib;
    chaos::chaos(&["mem-max", guest, "8"]).ok();
    let after = chaos::find(guest).unwrap();
    assert_eq!(after.max_memory_kib, 8 * 1024, "it was {before}");
    assert_eq!(after.memory_kib, 4096);
}

#[test]
fn a_console_shows_what_came_before_and_is_left_by_ctrl_bracket() {
    let lab = Lab::new("console");
    for kind in ["pv", "pvh"] {
        let name = lab.create(&format!("hello-{kind}"), kind).name;
        console::wait_for(&name, "hello from");
        for round in ["first", "second"] {
            let mut terminal = Terminal::start(&["chaos", "console", &name]);
            terminal.expect(&format!("hello from {name}"));
            terminal.send(format!("{round}\r").as_bytes());
            terminal.expect(&format!("you said: {round}"));
            terminal.send(ESCAPE);
            assert!(terminal.wait().success());
        }
        assert!(xl::find(&name).is_some(), "the guest runs on");
    }
}

#[test]
fn create_with_a_console() {
    let lab = Lab::new("attached");
    let config = lab.config("hello-pv", "a", &json!({}));
    let name = lab.name("a");
    let mut terminal = Terminal::start(&["chaos", "create", "-c", &config]);
    terminal.expect(&format!("hello from {name}"));
    terminal.send(b"exit\r");
    // The guest's end is the console's.
    assert!(terminal.wait().success());
    domain::wait_until_gone(&name);
}

#[test]
fn a_console_without_a_terminal() {
    let lab = Lab::new("pipe");
    let name = lab.create("hello-pv", "a").name;
    console::wait_for(&name, "hello from");
    let shown = run_within(LIMIT, &["chaos", "console", &name], "one\ntwo\n").ok();
    assert!(
        shown.contains("hello from")
            && shown.contains("you said: one")
            && shown.contains("you said: two"),
        "{shown:?}"
    );
    let shown = run_within(LIMIT, &["chaos", "console", "--no-history", &name], "three\n").ok();
    assert!(!shown.contains("hello from") && shown.contains("you said: three"), "{shown:?}");
}

/// h2's example, which the lab installs beside chaos for this test.
#[test]
fn a_program_with_the_library() {
    let lab = Lab::new("example");
    let host = Host::now();
    let config = lab.config("hello-pv", "a", &json!({"cmdline": "exit"}));
    let said = run(&["run-guest", &config]).ok();
    assert!(said.contains(&format!("{} ended: poweroff", lab.name("a"))), "{said}");
    host.assert_unchanged("the example");
}

#[test]
fn tables_for_people() {
    let lab = Lab::new("table");
    let config = lab.config("noop-pv", "a", &json!({}));
    let name = lab.name("a");
    let said = chaos::chaos(&["create", &config]).ok();
    let domid = xl::find(&name).unwrap().id;
    assert_eq!(said, format!("created {name}, domain {domid}\n"));
    let listed = chaos::chaos(&["list"]).ok();
    let line = listed.lines().find(|line| line.starts_with(&name)).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[..4], [name.as_str(), &domid.to_string(), "4", "1"], "{listed}");
    for quiet in ["pause", "unpause", "destroy"] {
        assert_eq!(chaos::chaos(&[quiet, &name]).ok(), "");
    }
}
