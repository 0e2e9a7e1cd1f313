//! The hotplug daemon itself on real Xen: killed, with clients that misbehave, with disks that
//! hang, with guests that end.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use h2::DomainState;
use lab_tests::command::run_within;
use lab_tests::device::{Device, XVDA, loops_on, ports_of};
use lab_tests::xendevd::{self, RawClient, Xendevd, destroy, guest, image, nothing_left};
use lab_tests::{Lab, chaos, console, domain, run, strace, times, wait};

/// Wherever it dies, the next daemon finishes the device, once, and nothing is left when the guest
/// goes.
#[test]
fn a_daemon_that_is_killed_loses_and_doubles_nothing() {
    let lab = Lab::new("killed");
    let mut daemon = Xendevd::start(lab.path("").as_path(), "{}");
    let domain = guest(&lab, "a", "");
    let file = image(&lab, "a.img");
    let delays = [0, 3, 6, 10, 15, 20, 30, 45, 70, 120];
    for delay in delays.into_iter().step_by(times(2, 1)) {
        let disk = Device::vbd(domain, XVDA, &file, "w");
        let vif = Device::vif(domain, 0, "xenbr0", &[]);
        sleep(Duration::from_millis(delay));
        daemon.kill();
        daemon.restart();
        disk.connected();
        vif.connected();
        xendevd::settle();
        assert_eq!(loops_on(&file).len(), 1, "killed after {delay} ms");
        assert_eq!(disk.node("node").unwrap(), format!("/dev/loop{}", loops_on(&file)[0]));
        assert!(ports_of("xenbr0").contains(&format!("vif{domain}.0")));
        let second = Device::vbd(domain, XVDA + 16, &file, "w");
        assert!(
            second.refused().contains("has it writable"),
            "the next daemon knows who has the file"
        );
        drop((disk, vif, second));
        nothing_left(domain, &[&file]);
    }
    // A guest that goes while there is no daemon.
    let disk = Device::vbd(domain, XVDA, &file, "w");
    disk.connected();
    xendevd::settle();
    daemon.kill();
    drop(disk);
    wait::until("the kernel keeps the loop device", || loops_on(&file).is_empty());
    daemon.restart();
    destroy(domain);
    nothing_left(domain, &[&file]);
}

/// A loop device of a daemon that died before blkback had it, and of a guest that is gone since, is
/// released; others' are not.
#[test]
fn what_a_dead_daemon_left_is_found_by_its_mark() {
    let lab = Lab::new("leftover");
    let mut daemon = Xendevd::start(lab.path("").as_path(), "{}");
    let file = image(&lab, "a.img");
    let other = image(&lab, "b.img");
    let foreign = run(&["losetup", "--find", "--show", &other]).ok().trim().to_owned();
    daemon.kill();
    let domain = guest(&lab, "a", "");
    let disk = Device::vbd(domain, XVDA, &file, "w");
    daemon.restart();
    disk.connected();
    daemon.kill();
    drop(disk);
    daemon.restart();
    wait::until("the loop device is left", || loops_on(&file).is_empty());
    assert_eq!(loops_on(&other).len(), 1);
    run(&["losetup", "--detach", &foreign]).ok();
    destroy(domain);
}

#[test]
fn clients_that_misbehave_hold_up_nobody() {
    let lab = Lab::new("clients");
    let daemon = Xendevd::start(lab.path("").as_path(), "{}");
    let domain = guest(&lab, "a", "");
    let file = image(&lab, "a.img");
    assert_eq!(fs::metadata(xendevd::SOCKET).unwrap().permissions().mode() & 0o777, 0o600);
    let mut clients: Vec<RawClient> = (0..200).map(|_| RawClient::connect()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        match number % 4 {
            0 => _ = client.send(&[0, 0, 1, 0, b'{']),
            1 => _ = client.send(&[0xff; 8]),
            2 => _ = client.ask("{\"version\":1,\"request\":\"settle\"}"),
            _ => {}
        }
    }
    let disk = Device::vbd(domain, XVDA, &file, "w");
    disk.connected();
    let mut client = RawClient::connect();
    assert!(client.ask("{\"version\":1,\"request\":\"dance\"}"));
    let said = client.answer();
    assert_eq!(said["message"], "unknown request \"dance\"; give status, reload, settle or wait");
    // Two at once are answered one after the other.
    let two = b"\0\0\0\x20{\"version\":1,\"request\":\"settle\"}\
        \0\0\0\x20{\"version\":1,\"request\":\"status\"}";
    assert!(client.send(two));
    assert_eq!(
        (&client.answer()["answer"], &client.answer()["answer"]),
        (&"done".into(), &"status".into())
    );
    let mut long = RawClient::connect();
    assert!(long.send(&[0x7f, 0, 0, 0]));
    let said = String::from_utf8(long.until_end().expect("it hangs up")).unwrap();
    assert!(said.contains("a frame of 2130706432 bytes"), "{said}");
    assert!(RawClient::connect().until_end().is_some(), "who says nothing is dropped");
    let open = fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count();
    assert!(open < 100, "{open} open files");
    // Another user does not get in, were the socket's mode ever wrong.
    fs::set_permissions("/run/lightvm", fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(xendevd::SOCKET, fs::Permissions::from_mode(0o666)).unwrap();
    let stranger = run(&["setpriv", "--reuid=65534", "--clear-groups", "xendevd", "status"]);
    fs::set_permissions("/run/lightvm", fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(stranger.code(), Some(8), "{}", stranger.report());
    drop(disk);
    destroy(domain);
    nothing_left(domain, &[&file]);
}

/// A file system that does not answer, of the kernel's own making: an automount whose mount takes
/// for ever.
struct Hanging;

impl Hanging {
    const FOLDER: &str = "/mnt/hanging";
    const HELPER: &str = "/sbin/mount.hanging";

    fn start() -> Self {
        fs::write(Self::HELPER, "#!/bin/sh\nsleep 1000\n").unwrap();
        fs::set_permissions(Self::HELPER, fs::Permissions::from_mode(0o755)).unwrap();
        let unit = "[Mount]\nWhat=none\nWhere=/mnt/hanging\nType=hanging\nTimeoutSec=600\n";
        fs::write("/run/systemd/system/mnt-hanging.mount", unit).unwrap();
        fs::write("/run/systemd/system/mnt-hanging.automount", "[Automount]\nWhere=/mnt/hanging\n")
            .unwrap();
        run(&["systemctl", "daemon-reload"]).ok();
        run(&["systemctl", "start", "mnt-hanging.automount"]).ok();
        Self
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        // Whoever was waiting behind those that hang asks for the file now, and may have it mounted
        // once more before the automount is gone. Under another name first: a program that
        // runs cannot be written to.
        let failing = format!("{}.failing", Self::HELPER);
        if fs::write(&failing, "#!/bin/sh\nexit 1\n").is_ok()
            && fs::set_permissions(&failing, fs::Permissions::from_mode(0o755)).is_ok()
        {
            let _ = fs::rename(&failing, Self::HELPER);
        }
        run(&["systemctl", "stop", "mnt-hanging.automount", "mnt-hanging.mount"]);
    }
}

#[test]
fn a_disk_that_hangs_delays_no_other_guest() {
    let lab = Lab::new("hanging");
    // None of them is given up before the other guest has its disk.
    let _daemon = Xendevd::start(lab.path("").as_path(), "{\"disk_timeout\": 600}");
    let (bad, good) = (guest(&lab, "a", ""), guest(&lab, "b", ""));
    let file = image(&lab, "a.img");
    let hanging = Hanging::start();
    let target = format!("{}/disk.img", Hanging::FOLDER);
    let stuck: Vec<Device> =
        (0..6).map(|disk| Device::vbd(bad, XVDA + 16 * disk, &target, "r")).collect();
    wait::until("nothing hangs", || xendevd::status()["jobs_running"].as_u64() >= Some(4));
    let disk = Device::vbd(good, XVDA, &file, "w");
    disk.connected();
    assert!(stuck.iter().all(|disk| disk.node("hotplug-status").is_none()), "nothing hung");
    assert_eq!(
        xendevd::status()["jobs_queued"],
        2,
        "a guest has its share of workers, and no more"
    );
    drop(hanging);
    for disk in &stuck {
        let said = disk.refused();
        assert!(said.contains(&target), "{said}");
    }
    no_jobs();
    drop((stuck, disk));
    for domain in [bad, good] {
        destroy(domain);
        nothing_left(domain, &[&file]);
    }
}

#[test]
fn a_disk_that_hangs_is_given_up() {
    let lab = Lab::new("given-up");
    let _daemon = Xendevd::start(lab.path("").as_path(), "{\"disk_timeout\": 1}");
    let domain = guest(&lab, "a", "");
    let hanging = Hanging::start();
    let target = format!("{}/disk.img", Hanging::FOLDER);
    let disk = Device::vbd(domain, XVDA, &target, "r");
    let said = disk.refused();
    assert!(said.contains(&format!("{target} has not answered within 1 s")), "{said}");
    // Who waits for the file system waits on.
    assert_eq!(xendevd::status()["jobs_running"], 1);
    drop(hanging);
    no_jobs();
    drop(disk);
    destroy(domain);
    nothing_left(domain, &[]);
}

/// Waits until nothing waits for a disk.
#[track_caller]
fn no_jobs() {
    wait::until("jobs are left", || {
        let status = xendevd::status();
        status["jobs_running"] == 0 && status["jobs_queued"] == 0
    });
}

/// Uevents that do not fit are lost; what they told is found all the same.
#[test]
fn lost_messages_of_the_kernel_lose_no_device() {
    let lab = Lab::new("lost");
    let daemon = Xendevd::start(lab.path("").as_path(), "{}");
    let domain = guest(&lab, "a", "");
    let file = image(&lab, "a.img");
    // The kernel says so once, and what had come before is still there; strace says it, and takes
    // away the first message.
    let lost = "trace=recvmsg inject=recvmsg:error=ENOBUFS:when=1";
    let strace = strace::follow(&lab, daemon.pid(), lost);
    let disk = Device::vbd(domain, XVDA, &file, "w");
    disk.connected();
    xendevd::settle();
    strace.end();
    assert_eq!(xendevd::status()["counters"]["lost_uevents"], 1);
    assert_eq!(loops_on(&file).len(), 1);
    drop(disk);
    destroy(domain);
    nothing_left(domain, &[&file]);
}

/// A guest of chaos that ends is started again, at the pace that keeps a host alive.
#[test]
fn guests_that_end_are_started_again() {
    let lab = Lab::new("again");
    let mut daemon = Xendevd::start(lab.path("").as_path(), "{}");
    let changes = serde_json::json!({ "on_crash": "restart", "on_poweroff": "destroy" });
    let created = lab.create_with("hello-pv", "a", &changes, &[]);
    let (name, mut domid) = (lab.name("a"), created.domid);
    for life in 1..=3 {
        crash(&name, life);
        domid = domain::wait_for(&name, "is not started again", |new, _| new != domid);
    }
    assert!(
        daemon.log().contains("it is started again in 2 s: 3 quick ends in a row"),
        "{}",
        daemon.log()
    );
    // One that dies while there is no daemon is found by the next.
    console::wait_for_nth(&name, "hello from", 4);
    daemon.kill();
    crash(&name, 4);
    daemon.restart();
    domain::wait_for(&name, "is not started again by the next daemon", |new, state| {
        new != domid && state != DomainState::Paused
    });
    console::wait_for_nth(&name, "hello from", 5);
    // On request, and not by itself, it goes.
    chaos::chaos(&["shutdown", &name]).ok();
    domain::wait_until_gone(&name);
}

/// Types the word that makes the guest hello panic, in the life of this number.
#[track_caller]
fn crash(name: &str, life: usize) {
    console::wait_for_nth(name, "hello from", life);
    run_within(Duration::from_secs(60), &["chaos", "console", name], "crash\n");
}

#[test]
fn its_exit_codes_and_messages() {
    let lab = Lab::new("exits");
    let _daemon = Xendevd::start(lab.path("").as_path(), "{}");
    let second = run(&["xendevd"]);
    assert_eq!(second.code(), Some(4), "{}", second.report());
    let wrong = lab.file("wrong.json", "{\n\"disk_timeout\": \"x\"}");
    let output = run(&["xendevd", "--config", &wrong]);
    assert_eq!(output.code(), Some(2), "{}", output.report());
    assert!(output.stderr.contains("wrong.json:2: key `disk_timeout`: "), "{}", output.report());
    assert_eq!(run(&["xendevd", "status", "--socket", "/nowhere"]).code(), Some(8));
    assert!(Path::new(xendevd::SOCKET).exists(), "the second one has not taken it away");
}
