//! The CPU time of domains as Xen counts it, in nanoseconds: by `chaos list`, and by the bindings
//! that Debian's xen-utils bring for Python, a witness that needs no xenstored.

use std::thread::sleep;
use std::time::Duration;

use crate::chaos::{self, Created};
use crate::command::run;

/// How long a guest is looked at.
const WHILE: Duration = Duration::from_secs(10);

/// What it may use of that: nothing, but for a packet or so of what a bridge sends to all its
/// ports. A guest that turns round uses all of the ten seconds; one that looks around ten times a
/// second, on an emulated processor, ten times as much as this.
const BOUND: Duration = Duration::from_millis(1);

/// How often it is looked at until it has used no more. It may have to answer something once, and
/// what its processor's emulator loses to others is counted as its own; a guest that does not sleep
/// does not sleep at any of them.
const LOOKS: usize = 6;

/// How long what was begun before may go on: daytime announces its address a second time after two
/// seconds, dom0 asks a neighbour after five seconds whether it is still there.
const SETTLE: Duration = Duration::from_secs(6);

/// Prints the CPU time of one domain.
const WITNESS: &str = "import sys; sys.path.insert(0, '/usr/lib/xen-4.17/lib/python'); \
     from xen.lowlevel.xc import xc; \
     print(xc().domain_getinfo(int(sys.argv[1]), 1)[0]['cpu_time'])";

/// The CPU time that a domain has used, as others than our software see it.
#[track_caller]
pub fn witnessed(domain: u16) -> Duration {
    let text = run(&["python3", "-c", WITNESS, &domain.to_string()]).ok();
    let nanos = text.trim().parse().unwrap_or_else(|error| panic!("{error}: {text}"));
    Duration::from_nanos(nanos)
}

/// The CPU time that a domain has used, by `chaos list`.
#[track_caller]
pub fn of(domain: u16) -> Duration {
    let row = chaos::list().into_iter().find(|row| row.domid == domain);
    Duration::from_nanos(row.expect("chaos lists it").cpu_time_ns)
}

/// Fails unless the guests are idle.
#[track_caller]
pub fn idle(guests: &[Created], after: &str) {
    let ours = sum(guests, of);
    asleep(guests, after);
    // The two that look are of one mind.
    let looks = [ours, sum(guests, witnessed), sum(guests, of)];
    assert!(looks.is_sorted(), "{looks:?}");
}

/// As [`idle`], for when `chaos list` cannot be asked: xenstored does not answer.
#[track_caller]
pub fn asleep(guests: &[Created], after: &str) {
    sleep(SETTLE);
    let mut used = Vec::new();
    for _ in 0..LOOKS {
        let look = || guests.iter().map(|guest| witnessed(guest.domid));
        let before: Vec<_> = look().collect();
        sleep(WHILE);
        used = look().zip(before).map(|(now, before)| now - before).collect();
        println!("after {after}: {used:?} of {WHILE:?}");
        if used.iter().all(|used| *used < BOUND) {
            return;
        }
    }
    panic!("after {after}: {used:?} of {WHILE:?}");
}

#[track_caller]
fn sum(guests: &[Created], look: fn(u16) -> Duration) -> Duration {
    guests.iter().map(|guest| look(guest.domid)).sum()
}
