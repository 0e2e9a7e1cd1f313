//! What can be done to a backend.

use guest_runtime::State;
use guest_runtime::hostile::{RINGS, Victim, WORDS};

use crate::random::Random;

/// Words of the control page, docs/noxs-abi.md part 2.
const STATE: usize = 6;
const GENERATION: usize = 7;
pub(crate) const SEQUENCE: usize = 384;
pub(crate) const LENGTH: usize = 385;
const KEYS: usize = 386;

/// One way to do harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Any word of the page, the backend's own too.
    Page,
    /// A sequence that looks right, over lengths and entries that lie.
    Keys,
    /// A sequence that stays odd.
    Odd,
    /// States in any order, and numbers that are none.
    States,
    /// Events, and nothing new.
    Storm,
    /// Keys in the right form with values of nonsense; rings of nonsense.
    Rings,
}

impl Mode {
    pub(crate) const ALL: [Mode; 6] =
        [Mode::Page, Mode::Keys, Mode::Odd, Mode::States, Mode::Storm, Mode::Rings];

    pub(crate) fn parse(name: &str) -> Option<Mode> {
        Mode::ALL.into_iter().find(|mode| mode.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Mode::Page => "page",
            Mode::Keys => "keys",
            Mode::Odd => "odd",
            Mode::States => "states",
            Mode::Storm => "storm",
            Mode::Rings => "rings",
        }
    }

    /// Does it once.
    pub(crate) fn step(self, victim: &mut Victim, random: &mut Random) {
        match self {
            Mode::Page => victim.poke(random.below(WORDS), random.nasty()),
            Mode::Keys => keys(victim, random),
            Mode::Odd => {
                victim.poke(SEQUENCE, random.word() | 1);
                victim.poke(GENERATION, random.word());
            }
            Mode::States => {
                let state = if random.below(4) == 0 { random.nasty() } else { random.word() % 10 };
                victim.poke(STATE, state);
                victim.poke(GENERATION, random.word());
            }
            Mode::Storm => (0..64).for_each(|_| victim.shout()),
            Mode::Rings => rings(victim, random),
        }
        if random.below(4) != 0 {
            victim.shout();
        }
    }
}

/// Entries that are right, nearly right, or nothing at all, below a length that need not be theirs.
fn keys(victim: &Victim, random: &mut Random) {
    let sequence = victim.peek(SEQUENCE);
    victim.poke(SEQUENCE, sequence | 1);
    for word in 0..random.below(WORDS - KEYS) {
        // Now and then something like the head of an entry: a short key, a value that is short or
        // not.
        let head = random.word() & 0x0f | (random.nasty() & 0xffff) << 16;
        let text = random.word() & 0x1f1f_1f1f | 0x6060_6060;
        victim.poke(KEYS + word, random.pick(&[head, text, text, text]));
    }
    victim.poke(LENGTH, random.nasty());
    victim.poke(SEQUENCE, (sequence | 1).wrapping_add(1));
    victim.poke(GENERATION, random.word());
}

/// What xenbus drivers read.
const NAMES: [&str; 22] = [
    "ring-ref",
    "ring-ref0",
    "ring-page-order",
    "tx-ring-ref",
    "rx-ring-ref",
    "ctrl-ring-ref",
    "event-channel",
    "event-channel-tx",
    "event-channel-rx",
    "event-channel-ctrl",
    "protocol",
    "request-rx-copy",
    "feature-rx-notify",
    "feature-sg",
    "feature-persistent",
    "multi-queue-num-queues",
    "queue-0/tx-ring-ref",
    "queue-0/rx-ring-ref",
    "queue-0/event-channel",
    "queue-1/ring-ref",
    "shutdown-ack",
    "shutdown-refused",
];

fn rings(victim: &mut Victim, random: &mut Random) {
    for ring in 0..RINGS {
        for _ in 0..16 {
            victim.poke_ring(ring, random.below(20), random.nasty());
            victim.poke_ring(ring, random.below(WORDS), random.word());
        }
    }
    for _ in 0..6 {
        let name = random.pick(&NAMES);
        let real = if name.contains("event") {
            victim.port().number()
        } else {
            victim.ring(random.below(RINGS))
        };
        match random.below(6) {
            0 => victim.set(name, b"x86_64-abi"),
            1 => victim.set(name, &[b'9'; 40]),
            2 => victim.set(name, b"-1"),
            3 => number(victim, name, random.nasty()),
            _ => number(victim, name, real),
        }
    }
    victim.publish(random.pick(&State::ALL));
    victim.shout_ring();
}

fn number(victim: &mut Victim, name: &str, mut number: u32) {
    let mut digits = [0; 10];
    let mut start = digits.len();
    for place in digits.iter_mut().rev() {
        *place = b"0123456789"[number as usize % 10];
        start -= 1;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    victim.set(name, digits.get(start..).unwrap_or_default());
}
