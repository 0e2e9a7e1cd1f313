//! A guest that means harm: it breaks every rule of the control pages, and takes no notice of what
//! it is asked for. What it does harm to is its host's; a host that goes on undisturbed has passed.

#![no_std]
#![no_main]

use core::fmt::{Arguments, Write};
use core::time::Duration;

use guest_runtime::hostile::{Victim, VictimMemory};
use guest_runtime::{Class, Console, Devices, Exit, Guest, Noxs, Once, Plane, Watch};
use mode::Mode;
use place::Place;
use random::Random;

mod mode;
mod place;
mod random;

guest_runtime::main!(run);

/// The devices that are harmed at the same time.
const VICTIMS: usize = 8;

/// Steps between two looks at the clock and at the devices.
const BATCH: u64 = 64;

guest_runtime::device_memory!(static MEMORY: VictimMemory<VICTIMS>);
static PLACES: Once<[Place; VICTIMS]> = Once::new([const { Place::Free }; VICTIMS]);

fn run(mut guest: Guest) -> Exit {
    let mut console = guest.console();
    let (Some(Plane::Noxs(mut noxs)), Some(devices), Some(places)) =
        (guest.plane(), guest.devices(), PLACES.take())
    else {
        say(&mut console, format_args!("no NoXS, or no grant table\n"));
        guest.wait_forever()
    };
    let plan = Plan::read(&guest, &mut console);
    // For devices of all classes, as all that come and go make it fire.
    let Ok(watch) = noxs.watch(Class::Network) else { guest.wait_forever() };
    while look_around(&plan, devices, &noxs, &mut console, places) < plan.wait_for {
        let _ = noxs.take_fired(&watch);
        guest.wait(&mut [&mut noxs], None);
    }
    let steps = plan.go(&guest, devices, (&mut noxs, &watch), &mut console, places);
    if let Some(exit) = plan.die {
        for victim in places.iter().filter_map(Place::victim) {
            leave_half_done(victim);
        }
        say(&mut console, format_args!("dying after {steps} steps\n"));
        return exit;
    }
    say(&mut console, format_args!("done after {steps} steps\n"));
    // Whatever it is asked for, it does not answer.
    guest.wait_forever()
}

/// What the command line asks for.
#[derive(Debug)]
struct Plan {
    modes: [Option<Mode>; Mode::ALL.len()],
    class: Option<&'static str>,
    /// The devices that there have to be before it begins.
    wait_for: usize,
    /// Pause between two batches.
    pause: Duration,
    /// It ends when either is over; 0: never.
    steps: u64,
    time: Duration,
    /// It dies then, and does not only stop.
    die: Option<Exit>,
    seed: u64,
}

impl Plan {
    fn read(guest: &Guest, console: &mut Option<Console>) -> Plan {
        let number = |key, default| {
            guest.option(key).and_then(|value| value.parse().ok()).unwrap_or(default)
        };
        let mut plan = Plan {
            modes: [None; Mode::ALL.len()],
            class: guest.option("class"),
            wait_for: usize::try_from(number("devices", 1)).unwrap_or(VICTIMS).min(VICTIMS),
            pause: Duration::from_micros(number("pause", 0)),
            steps: number("steps", 0),
            time: Duration::from_secs(number("seconds", 10)),
            die: None,
            seed: number("seed", guest.now().as_nanos()),
        };
        plan.die = match guest.option("die") {
            Some("crash") => Some(Exit::Crash),
            Some("poweroff") => Some(Exit::PowerOff),
            Some("reboot") => Some(Exit::Reboot),
            _ => None,
        };
        match guest.option("mode") {
            None | Some("all") => plan.modes = Mode::ALL.map(Some),
            Some("deaf") => {}
            Some(names) => {
                for (place, name) in plan.modes.iter_mut().zip(names.split(',')) {
                    *place = Mode::parse(name);
                    if place.is_none() {
                        say(console, format_args!("{name:?} is no mode\n"));
                    }
                }
            }
        }
        plan
    }

    /// Does harm until the end, and tells how many steps it was.
    fn go(
        &self,
        guest: &Guest,
        devices: Devices,
        (noxs, watch): (&mut Noxs, &Watch),
        console: &mut Option<Console>,
        places: &mut [Place; VICTIMS],
    ) -> u64 {
        let mut random = Random::new(self.seed);
        say(console, format_args!("seed={}\n", self.seed));
        let begin = guest.now();
        let end = (!self.time.is_zero()).then_some(begin + self.time);
        let mut steps = 0;
        let mut next_report = begin + Duration::from_secs(1);
        loop {
            for _ in 0..BATCH {
                if self.steps != 0 && steps >= self.steps {
                    return steps;
                }
                if let Some(victim) = places[random.below(VICTIMS)].victim_mut()
                    && let Some(mode) = self.modes[random.below(self.modes.len())]
                {
                    mode.step(victim, &mut random);
                    steps += 1;
                }
            }
            let now = guest.now();
            if end.is_some_and(|end| now >= end) {
                return steps;
            }
            if now >= next_report {
                next_report = now + Duration::from_secs(1);
                say(console, format_args!("{steps} steps\n"));
            }
            // A guest that does no harm sleeps between its looks.
            let idle = self.modes.iter().all(Option::is_none)
                || places.iter().all(|place| place.victim().is_none());
            let pause = if idle { Duration::from_millis(100) } else { self.pause };
            guest.wait(&mut [noxs], Some(now + pause));
            if noxs.take_fired(watch) {
                look_around(self, devices, noxs, console, places);
            }
        }
    }
}

/// Lets go of the devices that went, takes those that came, and tells how many there are.
fn look_around(
    plan: &Plan,
    devices: Devices,
    noxs: &Noxs,
    console: &mut Option<Console>,
    places: &mut [Place; VICTIMS],
) -> usize {
    for place in places.iter_mut() {
        if let Some(victim) = place.victim()
            && !victim.is_there(noxs)
        {
            let device = victim.entry().device;
            say(console, format_args!("{} {} is gone\n", device.class, device.id));
            *place = Place::Free;
        }
    }
    for entry in Victim::entries(noxs) {
        let device = entry.device;
        let known = |place: &Place| place.victim().is_some_and(|victim| *victim.entry() == entry);
        if places.iter().any(known)
            || plan.class.is_some_and(|class| class != device.class.as_str())
        {
            continue;
        }
        let free = |place: &&mut Place| place.victim().is_none();
        let Some(place) = places.iter_mut().find(free) else { break };
        match Victim::open(devices, noxs, &MEMORY, entry) {
            Ok(victim) => {
                say(console, format_args!("takes {} {}\n", device.class, device.id));
                *place = Place::Taken(victim);
            }
            Err(error) => say(console, format_args!("{} {}: {error}\n", device.class, device.id)),
        }
    }
    places.iter().filter_map(Place::victim).count()
}

/// Keys that are being written for ever.
fn leave_half_done(victim: &Victim) {
    victim.poke(mode::SEQUENCE, victim.peek(mode::SEQUENCE) | 1);
    victim.poke(mode::LENGTH, u32::MAX);
    victim.shout();
}

/// A line on the console, if there is one.
fn say(console: &mut Option<Console>, text: Arguments<'_>) {
    if let Some(console) = console {
        // The console's writer never fails: it drops what nobody takes.
        let _ = write!(console, "scribble: {text}");
    }
}
