//! Names of disks (xen-vbd-interface(7)).

use crate::plane::DeviceId;
use crate::text;

/// The number of a whole disk: `xvda` and the following, or the number itself in digits.
pub fn device_id(name: &str) -> Option<DeviceId> {
    const MAJOR: u32 = 202;
    const EXTENDED: u32 = 1 << 28;
    let number = match name.strip_prefix("xvd") {
        Some(letters) => match letter(letters)? {
            disk @ 0..16 => MAJOR << 8 | disk << 4,
            disk => EXTENDED | disk << 8,
        },
        None => u32::try_from(text::number(name.as_bytes())?).ok()?,
    };
    Some(DeviceId::new(number))
}

/// `a` is 0, `z` 25, `aa` 26, `zz` 701.
fn letter(letters: &str) -> Option<u32> {
    let value = |letter: u8| letter.is_ascii_lowercase().then(|| u32::from(letter - b'a'));
    match *letters.as_bytes() {
        [only] => value(only),
        [first, second] => Some((value(first)? + 1) * 26 + value(second)?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let number = |name| device_id(name).map(DeviceId::number);
        assert_eq!(number("xvda"), Some(51712));
        assert_eq!(number("xvdb"), Some(51728));
        assert_eq!(number("xvdp"), Some(51952));
        assert_eq!(number("xvdq"), Some(268_439_552));
        assert_eq!(number("xvdaa"), Some(268_442_112));
        assert_eq!(number("51712"), Some(51712));
        for wrong in ["", "xvd", "xvdA", "xvda1", "xvdaaa", "sda", "4294967296", "-1"] {
            assert_eq!(number(wrong), None, "{wrong}");
        }
    }
}
