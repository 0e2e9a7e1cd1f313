//! Random numbers that nobody else can tell: the stream of ChaCha20 (RFC 8439) under a key of all
//! that this guest has of its own.
//!
//! | source | is good against |
//! |---|---|
//! | RDRAND, where CPUID has it | everybody |
//! | `random-seed` of the toolstack: 64 hexadecimal digits | other guests; CPUs without RDRAND |
//! | the clock and the time stamp counter | a seed that two guests have, such as copies of one |
//!
//! The sources are independent, so their sum is no worse than the best of them.

use core::arch::asm;
use core::arch::x86_64::__cpuid;
use core::fmt;

use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng};

const KEY: usize = 32;

/// A source of random numbers.
pub struct Random(ChaCha20Rng);

impl Random {
    /// From the toolstack's seed, which need not be one, the clock, and the CPU.
    pub(crate) fn new(seed: Option<&str>, clock: [u64; 2]) -> Random {
        Random::with(seed, clock, hardware())
    }

    fn with(seed: Option<&str>, clock: [u64; 2], hardware: [u64; KEY / 8]) -> Random {
        let mut key = seed.and_then(digits).unwrap_or_default();
        let clock = [clock[0], clock[1], 0, 0];
        for ((part, clock), hardware) in key.chunks_exact_mut(8).zip(clock).zip(hardware) {
            for (byte, other) in part.iter_mut().zip((clock ^ hardware).to_le_bytes()) {
                *byte ^= other;
            }
        }
        Random(ChaCha20Rng::from_seed(key))
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }
}

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not its state.
        f.debug_struct("Random").finish_non_exhaustive()
    }
}

/// The bytes that 64 hexadecimal digits are.
fn digits(text: &str) -> Option<[u8; KEY]> {
    let mut bytes = [0; KEY];
    if text.len() != 2 * KEY {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok()?;
    }
    Some(bytes)
}

/// What RDRAND gives; zeroes without it.
fn hardware() -> [u64; KEY / 8] {
    const RDRAND: u32 = 1 << 30;
    let mut words = [0; KEY / 8];
    if __cpuid(1).ecx & RDRAND != 0 {
        for word in &mut words {
            // Intel's manual: ten attempts, then the generator is broken.
            *word = (0..10).find_map(|_| rdrand()).unwrap_or(0);
        }
    }
    words
}

fn rdrand() -> Option<u64> {
    let (value, done): (u64, u8);
    // SAFETY: the caller has asked CPUID for it; it changes nothing but these two registers and the
    // flags.
    unsafe {
        asm!("rdrand {}", "setc {}", out(reg) value, out(reg_byte) done, options(nomem, nostack));
    }
    (done != 0).then_some(value)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const SEED: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    #[test]
    fn a_seed_has_64_digits() {
        let bytes = digits(SEED).unwrap_or_default();
        assert!(bytes.iter().zip(0..).all(|(byte, index)| *byte == index));
        assert_eq!(digits(&SEED[1..]), None);
        assert_eq!(digits(&SEED.replace('a', "g")), None);
        assert_eq!(digits(&format!("{}é", &SEED[2..])), None);
    }

    /// As `openssl enc -chacha20` has it for that key and an initialisation vector of zeroes.
    #[test]
    fn it_is_the_stream_of_chacha20() {
        let mut bytes = [0; 16];
        Random::with(Some(SEED), [0, 0], [0; 4]).fill(&mut bytes);
        assert_eq!(
            bytes,
            [
                0x39, 0xfd, 0x2b, 0x7d, 0xd9, 0xc5, 0x19, 0x6a, 0x8d, 0xbd, 0x03, 0x77, 0xb8, 0xdc,
                0x4a, 0x49
            ]
        );
    }

    /// Guests of one image that begin at the same time, with one source alone to tell them apart.
    #[test]
    fn each_source_alone_makes_a_difference() {
        let of = |seed, clock, hardware| Random::with(seed, clock, hardware).next_u64();
        let numbers = BTreeSet::from([
            of(None, [0, 0], [0; 4]),
            of(Some(SEED), [0, 0], [0; 4]),
            of(Some(&SEED.replace("1f", "1e")), [0, 0], [0; 4]),
            of(None, [1, 0], [0; 4]),
            of(None, [0, 1], [0; 4]),
            of(None, [0, 0], [0, 0, 0, 1]),
        ]);
        assert_eq!(numbers.len(), 6);
    }

    #[test]
    fn the_cpu_does_not_repeat_itself() {
        if __cpuid(1).ecx & 1 << 30 != 0 {
            assert_ne!(hardware(), hardware());
        }
        let mut random = Random::new(None, [0, 0]);
        assert_ne!(random.next_u64(), random.next_u64());
    }
}
