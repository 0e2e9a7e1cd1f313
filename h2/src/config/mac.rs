//! MAC addresses.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::error::ValueError;

/// A MAC address that a network interface can have: of one station, and not all zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac([u8; 6]);

impl Mac {
    /// The first three octets of every generated address: the vendor prefix of Xen.
    pub const XEN_PREFIX: [u8; 3] = [0x00, 0x16, 0x3e];

    pub(super) const NOUN: &'static str = "a MAC address";
    pub(super) const RIGHT: &'static str =
        "six pairs of hexadecimal digits of one station, as in 00:16:3e:12:34:56";

    /// The address with these octets.
    ///
    /// # Errors
    /// [`ValueError`] for a group address (lowest bit of the first octet) and for the address of
    /// zeros.
    pub fn new(octets: [u8; 6]) -> Result<Self, ValueError> {
        if octets[0] & 1 != 0 || octets == [0; 6] {
            return Err(ValueError::not(Self(octets), Self::NOUN, Self::RIGHT));
        }
        Ok(Self(octets))
    }

    /// The octets, first to last.
    #[must_use]
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }

    /// A random address with Xen's prefix.
    ///
    /// It has 24 random bits, so two of a thousand such addresses are the same with a probability
    /// of 3 per cent. Within one call of
    /// [`GuestConfig::instances`](super::GuestConfig::instances) they are all different.
    #[must_use]
    pub fn random() -> Self {
        let [a, b, c, ..] = *Uuid::new_v4().as_bytes();
        Self::from_suffix(u32::from_be_bytes([0, a, b, c]))
    }

    /// The address that follows on this one, within Xen's prefix.
    pub(super) fn next(self) -> Self {
        let [_, _, _, a, b, c] = self.0;
        Self::from_suffix(u32::from_be_bytes([0, a, b, c]).wrapping_add(1))
    }

    fn from_suffix(suffix: u32) -> Self {
        let [_, a, b, c] = suffix.to_be_bytes();
        let [x, y, z] = Self::XEN_PREFIX;
        Self([x, y, z, a, b, c])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for Mac {
    type Err = ValueError;

    /// Reads six numbers of one or two hexadecimal digits with colons between them.
    fn from_str(text: &str) -> Result<Self, ValueError> {
        let wrong = || ValueError::not(format_args!("{text:?}"), Self::NOUN, Self::RIGHT);
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next().ok_or_else(wrong)?;
            let digits =
                matches!(part.len(), 1 | 2) && part.bytes().all(|byte| byte.is_ascii_hexdigit());
            *octet =
                digits.then(|| u8::from_str_radix(part, 16).ok()).flatten().ok_or_else(wrong)?;
        }
        if parts.next().is_some() {
            return Err(wrong());
        }
        Self::new(octets)
    }
}

impl Serialize for Mac {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_pads() {
        assert_eq!("0:16:3E:0:0:1".parse::<Mac>().unwrap().to_string(), "00:16:3e:00:00:01");
    }

    // The original ignored whatever followed the last pair.
    #[test]
    fn refuses_what_is_no_address() {
        for bad in [
            "",
            "00:16:3e:00:00",
            "00:16:3e:00:00:01:02",
            "00:16:3e:00:00:01x",
            "00:16:3e:00:00:+1",
            "0016:3e:00:00:01:1",
            "00-16-3e-00-00-01",
        ] {
            assert!(bad.parse::<Mac>().is_err(), "{bad}");
        }
        assert!("00:00:00:00:00:00".parse::<Mac>().is_err());
        assert!("01:16:3e:00:00:01".parse::<Mac>().is_err());
        assert!("ff:ff:ff:ff:ff:ff".parse::<Mac>().is_err());
    }

    #[test]
    fn generated_ones_keep_the_prefix() {
        let last = Mac::new([0x00, 0x16, 0x3e, 0xff, 0xff, 0xff]).unwrap();
        assert_eq!(last.next().to_string(), "00:16:3e:00:00:00");
        assert_eq!(Mac::random().octets()[..3], Mac::XEN_PREFIX);
        assert_ne!(Mac::random(), Mac::random());
    }
}
