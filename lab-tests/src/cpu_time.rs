//! The CPU time of domains as Xen counts it, in nanoseconds: by `chaos list`, and by the bindings
//! that Debian's xen-utils bring for Python, a witness that needs no xenstored.

use std::thread::sleep;
use std::time::Duration;

use crate::chaos::{self, Created};
use crate::command::run;

/// How long a guest is looked at.
pub const WHILE: Duration = Duration::from_secs(10);

/// What it may use of that: nothing, but for a packet or two of what a bridge sends to all its
/// ports. A guest that turns round uses all of the ten seconds; one that wakes ten times a second to
/// look around, four times as much as this.
pub const BOUND: Duration = Duration::from_millis(1);

/// How long what was begun before may go on: daytime announces its address a second time after two
/// seconds, dom0 asks a neighbour after five seconds whether it is still there.
const SETTLE: Duration = Duration::from_secs(8);

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

/// Fails unless the guests stay idle.
#[track_caller]
pub fn idle(guests: &[Created], after: &str) {
    sleep(SETTLE);
    let look = |at: fn(u16) -> Duration| -> Vec<Duration> {
        guests.iter().map(|guest| at(guest.domid)).collect()
    };
    let (ours, before) = (look(of), look(witnessed));
    sleep(WHILE);
    let (now, ours_now) = (look(witnessed), look(of));
    for (index, guest) in guests.iter().enumerate() {
        let used = now[index] - before[index];
        println!("{} after {after}: {used:?} of {WHILE:?}", guest.name);
        assert!(used < BOUND, "{} after {after}: {used:?} of {WHILE:?}", guest.name);
        // The two that look are of one mind.
        assert!(ours[index] <= before[index] && now[index] <= ours_now[index], "{ours:?} {now:?}");
        assert!(ours_now[index] - ours[index] < BOUND, "{ours:?} {ours_now:?}");
    }
}
