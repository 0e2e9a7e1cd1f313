//! A guest that breaks every rule of NoXS (guests/scribble): dom0, the daemons and the other guests
//! go on, and it can be removed.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::Path;
use std::thread;

use lab_tests::device::{self, CONNECTED, XVDA, states};
use lab_tests::network::{daytime, ping};
use lab_tests::{Host, Lab, chaos, console, kernel_log, noxs, run, times, wait};
use serde_json::{Value, json};

const NEIGHBOUR: &str = "10.77.0.61";

/// A scribbler with an interface and a disk.
fn scribbler(disk: &Path, cmdline: &str) -> Value {
    json!({
        "kernel": "/guests/scribble",
        "cmdline": cmdline,
        "vifs": [{"bridge": "xenbr0"}],
        "vbds": [device::disk(disk, "file", "w")],
        "on_crash": "destroy",
    })
}

/// A guest that keeps the rules, on the same bridge. Returns its name.
#[track_caller]
fn neighbour(lab: &Lab) -> String {
    let guest = lab.create_with(
        "daytime-pv",
        "neighbour",
        &json!({"cmdline": format!("ip={NEIGHBOUR}/24")}),
        &[],
    );
    console::wait_for(&guest.name, "vif 0 ");
    guest.name
}

/// The neighbour answers, and so do the host's daemon and kernel.
#[track_caller]
fn host_is_well() {
    daytime(NEIGHBOUR);
    run(&["xendevd", "status"]).ok();
    noxs::nx(&["list"]).ok();
    kernel_log::assert_clean();
}

/// The modes that leave a backend what it needs: with these a guest can be created. Any other may
/// have said that its end is closed before the backend has answered.
const CREATED: &[&str] = &["keys", "odd", "storm"];

/// Fails unless the scribbler of this name had its interface and its disk, and did something to
/// them.
#[track_caller]
fn did_harm(name: &str) {
    let text = console::text(name);
    for device in ["vif 0", "vbd 51712"] {
        assert!(text.contains(&format!("scribble: takes {device}")), "{name}: {text}");
    }
    let words = text.lines().filter_map(|line| line.split_once(" steps"));
    let steps = words.filter_map(|(before, _)| before.rsplit(' ').next()?.parse().ok()).max();
    assert!(steps > Some(0_u64), "{name} did no harm: {text}");
}

#[test]
fn every_mode_is_survived() {
    let lab = Lab::new("noxs-scribble");
    let disk = lab.image("disk", 16);
    let neighbour = neighbour(&lab);
    host_is_well();
    // Behind a first one, since Xen keeps the frames in which it tracks what dom0 maps of guests'
    // memory.
    let warm = lab.create_with("hello-pv", "warm", &scribbler(&disk, "mode=deaf seconds=1"), &[]);
    chaos::chaos(&["destroy", &warm.name]).ok();
    let host = Host::now().with_crowd(14);
    for base in ["hello-pv", "hello-pvh"] {
        for mode in ["page", "keys", "odd", "states", "storm", "rings", "all"] {
            let name = format!("{base}-{mode}");
            let seconds = times(1, 3);
            let cmdline = format!("mode={mode} devices=3 seconds={seconds} seed=1");
            let config = lab.config(base, &name, &scribbler(&disk, &cmdline));
            let output = chaos::chaos(&["create", &config]);
            if output.status.success() {
                console::wait_for(&lab.name(&name), "done after");
                host_is_well();
                chaos::chaos(&["destroy", &lab.name(&name)]).ok();
            } else {
                output.fails_with_a_message();
                assert!(!CREATED.contains(&mode), "{}", output.report());
            }
            did_harm(&lab.name(&name));
            host_is_well();
            wait::until("devices are left", || noxs::list().len() == 2);
        }
    }
    host.assert_unchanged("guests that scribbled");
    chaos::chaos(&["destroy", &neighbour]).ok();
}

#[test]
fn one_that_dies_with_half_a_change() {
    let lab = Lab::new("noxs-half");
    let disk = lab.image("disk", 16);
    let neighbour = neighbour(&lab);
    for base in ["hello-pv", "hello-pvh"] {
        for die in ["crash", "poweroff"] {
            let cmdline = format!("mode=all devices=3 seconds=1 seed=2 die={die}");
            let config = lab.config(base, die, &scribbler(&disk, &cmdline));
            let output = chaos::chaos(&["create", &config]);
            if !output.status.success() {
                output.fails_with_a_message();
            }
            // Nobody waits for its end but xendevd, which removes it.
            wait::until("the guest is not removed", || chaos::find(&lab.name(die)).is_none());
            wait::until("devices are left", || noxs::list().len() == 2);
            host_is_well();
            did_harm(&lab.name(die));
        }
    }
    chaos::chaos(&["destroy", &neighbour]).ok();
}

/// It takes no notice of a request: whoever asks waits no longer than he said, and may then force
/// it.
#[test]
fn one_that_does_not_answer() {
    let lab = Lab::new("noxs-deaf");
    let disk = lab.image("disk", 16);
    for base in ["hello-pv", "hello-pvh"] {
        let guest = lab.create_with(base, base, &scribbler(&disk, "mode=deaf seconds=0"), &[]);
        let message = chaos::chaos(&["shutdown", "--timeout", "2", &guest.name]).fails(6);
        assert!(message.contains("did not react"), "{message}");
        let forced = chaos::json(&["shutdown", "--timeout", "2", "--force", &guest.name]);
        assert_eq!(
            (forced["reason"].clone(), forced["destroyed"].clone()),
            (json!("forced"), json!(true))
        );
        wait::until("devices are left", || noxs::list().is_empty());
    }
    assert!(fs::read_dir("/sys/bus/xen-backend/devices").unwrap().next().is_none());
}

/// A backend may say what it likes: the guests' parsers take none of it, and what they have goes
/// on.
#[test]
fn guests_outlive_what_a_backend_says() {
    let lab = Lab::new("noxs-nonsense");
    let long = format!("mac={}", "x".repeat(900));
    let many: Vec<String> =
        (0..40).map(|number| format!("key-{number}/{number}={number}")).collect();
    let nonsense: [&[&str]; 5] = [
        &["mac=nonsense", "handle=-1"],
        &[&long],
        &["mac=", "handle=99999999999999999999"],
        &["mac=00:16:3e:00:00:01:02:03", "multi-queue-max-queues=4294967295"],
        &many.iter().map(String::as_str).collect::<Vec<_>>(),
    ];
    for (base, address) in
        [("daytime-pv", "10.77.0.62"), ("daytime-pvh", "10.77.0.63"), ("linux-pv", "10.77.0.64")]
    {
        let cmdline = format!("console=hvc0 ip={address}/24 net={address}/24");
        let guest = lab.create_with(base, base, &json!({"cmdline": cmdline}), &[]);
        ping(address);
        let domain = guest.domid.to_string();
        for (id, keys) in (1..).zip(nonsense) {
            let id = format!("{id}");
            for class in ["vif", "vbd"] {
                // The kernel may refuse it, too.
                let _ = noxs::nx(&[&["add", &domain, class, &id], keys].concat());
                let _ = noxs::nx(&[&["set", &domain, class, "0"], keys].concat());
            }
            ping(address);
        }
        assert!(noxs::devices_of(guest.domid).len() > 5, "{:?}", noxs::list());
        assert_eq!(chaos::json(&["shutdown", &guest.name])["reason"], "poweroff");
        wait::until("devices are left", || noxs::list().is_empty());
    }
    kernel_log::assert_clean();
}

/// The same with the page itself: a backend that writes anything, anywhere, while the guest reads
/// it. A guest may lose that device; it lives, and its other devices work.
#[test]
fn guests_outlive_what_a_backend_writes() {
    let lab = Lab::new("noxs-noise");
    let disk = lab.image("disk", 16);
    // daytime has no use for a disk. Linux's has a BUG_ON(), on either plane: its backend must not
    // be Connected again after Closed.
    let (net, both) = (&[("vif", 1, "")][..], &[("vif", 1, ""), ("vbd", XVDA, "steady")][..]);
    for (base, address, devices) in [
        ("daytime-pv", "10.77.0.65", net),
        ("daytime-pvh", "10.77.0.66", net),
        ("linux-pv", "10.77.0.67", both),
        ("linux-pvh", "10.77.0.68", both),
    ] {
        let changes = json!({
            "cmdline": format!("console=hvc0 ip={address}/24 net={address}/24"),
            "vifs": [{"bridge": "xenbr0"}, {"bridge": "xenbr0"}],
            "vbds": [device::disk(&disk, "file", "w")],
        });
        let guest = lab.create_with(base, base, &changes, &[]);
        ping(address);
        for &(class, id, _) in devices {
            wait::until(&format!("{class} {id} is not connected"), || {
                states(guest.domid, class, id) == CONNECTED
            });
        }
        let domain = guest.domid.to_string();
        for &(class, id, mode) in devices {
            let frame = noxs::control_page(guest.domid, class, id);
            let noise = thread::spawn(move || noxs::nx(&["noise", &frame, "3", "1", mode]).ok());
            // Each of these has the kernel send an event, and the guest look.
            for number in 0.. {
                noxs::nx(&["set", &domain, class, &id.to_string(), &format!("round={number}")])
                    .ok();
                if noise.is_finished() {
                    break;
                }
            }
            let wrote = noise.join().unwrap();
            assert!(wrote.starts_with("wrote "), "{wrote}");
            ping(address);
        }
        assert_eq!(chaos::json(&["shutdown", &guest.name])["reason"], "poweroff");
        wait::until("devices are left", || noxs::list().is_empty());
    }
    kernel_log::assert_clean();
}
