//! Randomness of a guest's own: what it starts its generator with before it has met any event that
//! others cannot foresee.
//!
//! Each domain gets a new one, so each life of a guest, too. It is kept nowhere but where the guest
//! reads it, and is in no message.

use std::fmt;

use crate::error::CallError;
use crate::noxs_backend::Keys;

/// 32 bytes that only the guest and its host know.
pub(crate) struct RandomSeed([u8; 32]);

impl fmt::Debug for RandomSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RandomSeed(hidden)")
    }
}

impl RandomSeed {
    /// What the guest knows it by, in its home as among the keys of its `sysctl`.
    pub(crate) const NAME: &str = Keys::RANDOM_SEED;

    /// A new one, from the kernel's generator (getrandom(2)).
    pub(crate) fn new() -> Result<Self, CallError> {
        let mut bytes = [0; 32];
        match getrandom::fill(&mut bytes) {
            Ok(()) => Ok(Self(bytes)),
            Err(error) => Err(CallError::new("getrandom", None, error.into())),
        }
    }

    /// 64 lower-case hexadecimal digits.
    pub(crate) fn to_hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn digits() {
        let mut bytes = [0; 32];
        (bytes[0], bytes[1], bytes[31]) = (0x0a, 0xf0, 0xff);
        let hex = RandomSeed(bytes).to_hex();
        assert_eq!(hex.len(), 64);
        assert!(hex.starts_with("0af000") && hex.ends_with("00ff"), "{hex}");
    }

    #[test]
    fn no_two_are_the_same_and_none_is_printed() {
        let [one, other] = [(); 2].map(|()| RandomSeed::new().unwrap());
        assert_ne!(one.to_hex(), other.to_hex());
        assert_eq!(format!("{one:?}"), "RandomSeed(hidden)");
    }
}
