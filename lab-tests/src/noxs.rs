//! A host for NoXS: what there is of NoXS devices, as others than our software see it, and
//! xenstored, which such a host need not have.
//!
//! The witnesses are `nx`, the program in C that goes with the kernel's series, Xen's own
//! `lsevtchn`, and sysfs.

use std::fs;
use std::path::Path;

use crate::command::{Output, run};
use crate::{grants, wait};

const NX: &str = "/usr/lib/lightvm-lab/nx";
const LSEVTCHN: &str = "/usr/lib/xen-4.17/bin/lsevtchn";
const UNIT: &str = "/etc/systemd/system/xen.service";

/// Whether this host's kernel and hypervisor have NoXS.
pub fn host() -> bool {
    Path::new("/dev/xen/noxs_backend").exists()
}

/// Whether there is a Xenstore, too.
pub fn xenstored_runs() -> bool {
    Path::new("/run/xenstored/socket").exists()
}

/// Starts xenstored and xenconsoled on a host that was booted without.
#[track_caller]
pub fn start_xenstored() {
    if xenstored_runs() {
        return;
    }
    // The lab has the unit masked.
    fs::remove_file(UNIT).unwrap();
    run(&["systemctl", "daemon-reload"]).ok();
    run(&["systemctl", "start", "xen"]).ok();
    wait::until("xenstored does not answer", || {
        run(&["xenstore-read", "/local/domain/0/name"]).status.success()
    });
}

/// Runs `nx` with these arguments.
#[track_caller]
pub fn nx(words: &[&str]) -> Output {
    run(&[&[NX], words].concat())
}

/// All devices that the kernel has, each with its guest, class, id and the states of its two ends.
#[track_caller]
pub fn list() -> Vec<String> {
    let text = nx(&["list"]).ok();
    let device =
        |line: &str| line.split(", grant").next().unwrap_or_default().trim().replace('\0', "");
    let mut devices: Vec<String> = text.lines().skip(1).map(device).collect();
    devices.sort();
    devices
}

/// The devices of one guest.
#[track_caller]
pub fn devices_of(domain: u16) -> Vec<String> {
    list().into_iter().filter(|line| line.starts_with(&format!("{domain} "))).collect()
}

/// Whether a guest is on the NoXS plane.
#[track_caller]
pub fn serves(domain: u16) -> bool {
    host() && !devices_of(domain).is_empty()
}

/// What `nx` reads of a device: one line a key, `backend`, `frontend` or `private` before it.
#[track_caller]
pub fn keys(domain: u16, class: &str, id: u32) -> Vec<String> {
    let text = nx(&["read", &domain.to_string(), class, &id.to_string()]).ok();
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// The value of one key, as `frontend KEY`.
#[track_caller]
pub fn key(domain: u16, class: &str, id: u32, key: &str) -> Option<String> {
    keys(domain, class, id)
        .iter()
        .find_map(|line| Some(line.strip_prefix(key)?.strip_prefix(" = ")?.to_owned()))
}

/// The frame of a device's control page, which the kernel has granted: as [`grants::frame`].
#[track_caller]
pub fn control_page(domain: u16, class: &str, id: u32) -> String {
    let text = nx(&["read", &domain.to_string(), class, &id.to_string()]).ok();
    let grant = text.split(", grant ").nth(1).and_then(|rest| rest.split(',').next()?.parse().ok());
    let frame = grants::frame(grant.unwrap_or_else(|| panic!("no grant: {text}")));
    frame.unwrap_or_else(|| panic!("guest {domain} has not mapped the page of {class} {id}"))
}

/// How many event channels dom0 has of each kind.
#[track_caller]
pub fn event_channels() -> Vec<String> {
    let text = run(&[LSEVTCHN, "0"]).ok();
    let mut kinds = std::collections::BTreeMap::<String, usize>::new();
    for line in text.lines().filter(|line| line.contains("VCPU")) {
        // "  12: VCPU 0: Interdomain (Connected) - Remote Domain 3, Port 7"
        let kind = line
            .rsplit("VCPU ")
            .next()
            .unwrap_or_default()
            .split_once(": ")
            .map_or("", |(_, kind)| kind);
        *kinds.entry(kind.split(" - ").next().unwrap_or_default().to_owned()).or_default() += 1;
    }
    assert!(!kinds.is_empty(), "lsevtchn shows nothing: {text}");
    kinds.into_iter().map(|(kind, count)| format!("{count} x {kind}")).collect()
}

/// What dom0 has of its own memory: less, if pages are missing that guests were given or that
/// foreign ones were mapped over.
#[track_caller]
pub fn own_memory() -> String {
    let path = "/sys/devices/system/xen_memory/xen_memory0/info/current_kb";
    let text = fs::read_to_string(path);
    text.unwrap_or_else(|error| panic!("{path}: {error}")).trim().to_owned()
}
