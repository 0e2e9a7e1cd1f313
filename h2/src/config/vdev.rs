//! The name of a disk in the guest and the device number that it stands for.
//!
//! The numbers are those of docs/man/xen-vbd-interface.7 in Xen 4.17: the number is a disk's id on
//! both control planes.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use super::error::ValueError;

const EXTENDED: u32 = 1 << 28;

/// A disk's name in the guest: `xvda`, `xvdb3`, `d20p0`, `hda1`, `sda`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Vdev {
    name: String,
    number: u32,
}

impl Vdev {
    pub(super) const NOUN: &'static str = "a disk name";
    pub(super) const RIGHT: &'static str = "xvdLETTERS[PARTITION] or dNUMBERpPARTITION, as in \
                                            xvda or xvdb1 (hda to hdd and sda to sdp work too)";

    /// The disk with this number, under the name that most guests give it. `None` if no name stands
    /// for the number.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        let (minor, major) = (number & 0xff, number >> 8);
        let (prefix, disk, partition) = match major {
            _ if number & EXTENDED != 0 => ("xvd", (number & !EXTENDED) >> 8, minor),
            202 => ("xvd", minor >> 4, minor & 15),
            8 => ("sd", minor >> 4, minor & 15),
            3 => ("hd", minor >> 6, minor & 63),
            22 => ("hd", 2 + (minor >> 6), minor & 63),
            _ => return None,
        };
        let mut name = format!("{prefix}{}", to_letters(disk));
        if partition > 0 {
            name.push_str(&partition.to_string());
        }
        // Not all minors of a major are disks.
        name.parse().ok().filter(|vdev: &Self| vdev.number == number)
    }

    /// The name as it was given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The device number, which is the id of the disk on the control plane.
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.number
    }
}

impl fmt::Display for Vdev {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name)
    }
}

impl FromStr for Vdev {
    type Err = ValueError;

    fn from_str(name: &str) -> Result<Self, ValueError> {
        number(name)
            .map(|number| Self { name: name.to_owned(), number })
            .ok_or_else(|| ValueError::not(format_args!("{name:?}"), Self::NOUN, Self::RIGHT))
    }
}

impl Serialize for Vdev {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name)
    }
}

fn number(name: &str) -> Option<u32> {
    if let Some(rest) = name.strip_prefix("xvd") {
        let (disk, partition) = letters(rest)?;
        return xen_disk(disk, partition);
    }
    if let Some(rest) = name.strip_prefix("hd") {
        let (disk, partition) = letters(rest)?;
        let major = match disk {
            0 | 1 => 3,
            2 | 3 => 22,
            _ => return None,
        };
        return (partition < 64).then_some(major << 8 | (disk & 1) << 6 | partition);
    }
    if let Some(rest) = name.strip_prefix("sd") {
        let (disk, partition) = letters(rest)?;
        return (disk < 16 && partition < 16).then_some(8 << 8 | disk << 4 | partition);
    }
    let (disk, partition) = name.strip_prefix('d')?.split_once('p')?;
    xen_disk(decimal(disk)?, decimal(partition)?)
}

fn xen_disk(disk: u32, partition: u32) -> Option<u32> {
    match (disk, partition) {
        (0..=15, 0..=15) => Some(202 << 8 | disk << 4 | partition),
        (0..=0xf_ffff, 0..=255) => Some(EXTENDED | disk << 8 | partition),
        _ => None,
    }
}

/// Letters that count disks (`a` is 0, `z` 25, `aa` 26) and, behind them, a partition from 1 on;
/// none is the whole disk.
fn letters(text: &str) -> Option<(u32, u32)> {
    let end = text.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(text.len());
    let (letters, digits) = text.split_at_checked(end)?;
    let counted = letters.bytes().try_fold(0_u32, |disk, letter| {
        disk.checked_mul(26)?.checked_add(u32::from(letter.checked_sub(b'a')?) + 1)
    })?;
    let partition =
        if digits.is_empty() { 0 } else { decimal(digits).filter(|&partition| partition > 0)? };
    Some((counted.checked_sub(1)?, partition))
}

/// The letters that count a disk.
fn to_letters(disk: u32) -> String {
    let mut letters = Vec::new();
    let mut left = Some(disk);
    while let Some(disk) = left {
        letters.extend(u8::try_from(disk % 26).map(|letter| char::from(b'a' + letter)));
        left = (disk / 26).checked_sub(1);
    }
    letters.iter().rev().collect()
}

/// A decimal number in its shortest form.
fn decimal(digits: &str) -> Option<u32> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit())
        && (digits == "0" || !digits.starts_with('0'));
    if plain { digits.parse().ok() } else { None }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (name, number) in [
            ("xvda", 202 << 8),
            ("xvda1", 202 << 8 | 1),
            ("xvdb", 202 << 8 | 1 << 4),
            ("xvdp15", 202 << 8 | 15 << 4 | 15),
            ("xvdq", 1 << 28 | 16 << 8),
            ("xvda16", 1 << 28 | 16),
            ("xvdaa", 1 << 28 | 26 << 8),
            ("xvdba", 1 << 28 | 52 << 8),
            ("d0p0", 202 << 8),
            ("d536p37", 1 << 28 | 536 << 8 | 37),
            ("d1048575p255", 1 << 28 | 0xf_ffff << 8 | 255),
            ("hda", 3 << 8),
            ("hdb63", 3 << 8 | 1 << 6 | 63),
            ("hdc", 22 << 8),
            ("hdd2", 22 << 8 | 1 << 6 | 2),
            ("sda", 8 << 8),
            ("sdp15", 8 << 8 | 15 << 4 | 15),
        ] {
            assert_eq!(name.parse::<Vdev>().unwrap().number(), number, "{name}");
        }
    }

    #[test]
    fn names_of_numbers() {
        for name in [
            "xvda",
            "xvda1",
            "xvdp15",
            "xvdq",
            "xvdaa",
            "xvdzz3",
            "xvdaaa255",
            "hda",
            "hdb63",
            "hdd2",
            "sda",
            "sdp15",
        ] {
            let vdev: Vdev = name.parse().unwrap();
            assert_eq!(Vdev::from_number(vdev.number()).unwrap(), vdev, "{name}");
        }
        assert_eq!(
            Vdev::from_number("d20p1".parse::<Vdev>().unwrap().number()).unwrap().name(),
            "xvdu1"
        );
        // 22, 128 would be the fifth IDE disk; an extended number of a small disk is written
        // otherwise.
        for number in [0, 7, 22 << 8 | 2 << 6, 3 << 8 | 3 << 6, 1 << 28 | 1 << 8, u32::MAX] {
            assert_eq!(Vdev::from_number(number), None, "{number:#x}");
        }
    }

    // The original took garbage behind the partition and used -1 as the id of what it did not
    // understand.
    #[test]
    fn what_is_no_disk() {
        for bad in [
            "",
            "xvd",
            "xvd1",
            "xvda0",
            "xvda01",
            "xvda1x",
            "xvdA",
            "xvda256",
            "xvdzzzzzzzzz",
            "hde",
            "hda64",
            "sdq",
            "sda16",
            "d1",
            "d1p",
            "dp1",
            "d1048576p0",
            "d1p256",
            "d1p1x",
            "d01p1",
            "d+1p1",
            "vda",
            "51712",
            "/dev/xvda",
            "xvdä",
        ] {
            assert!(bad.parse::<Vdev>().is_err(), "{bad}");
        }
    }
}
