//! Text in Xenstore and in control pages: paths and numbers that we put together, numbers that
//! others wrote.

use core::fmt::{self, Write};
use core::str;

use crate::plane::DeviceId;

/// A short text in place: what does not fit is an error, never cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Text<N> {
    /// None if it is longer than `N` bytes.
    pub(crate) fn new(arguments: fmt::Arguments<'_>) -> Option<Self> {
        let mut text = Text { bytes: [0; N], length: 0 };
        text.write_fmt(arguments).ok()?;
        Some(text)
    }

    pub(crate) fn as_str(&self) -> &str {
        // Written by `write_str` only, so it is text.
        str::from_utf8(self.bytes.get(..self.length).unwrap_or_default()).unwrap_or_default()
    }
}

impl<const N: usize> Write for Text<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

/// A number as decimal digits. `Text` could do it, too; this is for guests that are too small for
/// `fmt`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decimal {
    bytes: [u8; 10],
    start: usize,
}

impl Decimal {
    pub(crate) fn new(number: u32) -> Decimal {
        let (mut bytes, mut rest, mut start) = ([b'0'; 10], number, 10);
        for (at, place) in bytes.iter_mut().enumerate().rev() {
            if rest == 0 && start < 10 {
                break;
            }
            *place = b'0' + u8::try_from(rest % 10).unwrap_or(0);
            rest /= 10;
            start = at;
        }
        Decimal { bytes, start }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }
}

/// A number in decimal digits and nothing else.
pub(crate) fn number(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() {
        return None;
    }
    bytes.iter().try_fold(0u64, |number, byte| match byte {
        b'0'..=b'9' => number.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })
}

/// A hardware address: six pairs of hexadecimal digits with colons between them.
pub(crate) fn mac(bytes: &[u8]) -> Option<[u8; 6]> {
    let mut address = [0; 6];
    let mut pairs = bytes.split(|&byte| byte == b':');
    for place in &mut address {
        let &[high, low] = pairs.next()? else { return None };
        let digit =
            |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        *place = digit(high)? << 4 | digit(low)?;
    }
    pairs.next().is_none().then_some(address)
}

/// The ids among `names`, each of which has a zero byte after it.
pub(crate) fn ids(names: &[u8]) -> impl Iterator<Item = DeviceId> {
    let id = |name| number(name).and_then(|number| u32::try_from(number).ok()).map(DeviceId::new);
    names.split(|&byte| byte == 0).filter_map(id)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_have_an_end() {
        let text = |number: u32| {
            Text::<6>::new(format_args!("abc{number}")).map(|text| text.as_str().to_owned())
        };
        assert_eq!(text(123).as_deref(), Some("abc123"));
        assert_eq!(text(1234), None);
    }

    #[test]
    fn numbers() {
        assert_eq!(Decimal::new(0).as_bytes(), b"0");
        assert_eq!(Decimal::new(u32::MAX).as_bytes(), b"4294967295");
        assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
        for wrong in ["", "18446744073709551616", "-1", "+1", " 1", "1\0", "0x1"] {
            assert_eq!(number(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn addresses() {
        assert_eq!(mac(b"00:16:3e:0A:ff:13"), Some([0, 0x16, 0x3e, 10, 255, 0x13]));
        for wrong in [
            "",
            "00:16:3e:0a:ff",
            "00:16:3e:0a:ff:13:14",
            "0:16:3e:0a:ff:13",
            "00:16:3e:0a:ff:1g",
            "+0:16:3e:0a:ff:13",
        ] {
            assert_eq!(mac(wrong.as_bytes()), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn numbers_as_digits(value: u32) {
            let (digits, expected) = (Decimal::new(value), value.to_string());
            prop_assert_eq!(digits.as_bytes(), expected.as_bytes());
        }

        #[test]
        fn any_number(value: u64) {
            prop_assert_eq!(number(value.to_string().as_bytes()), Some(value));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let read = number(&bytes);
            let text = str::from_utf8(&bytes).ok().filter(|text| !text.starts_with('+'));
            let expected = text.and_then(|text| text.parse().ok());
            prop_assert_eq!(read, expected);
            let _ = mac(&bytes);
        }

        #[test]
        fn ids_are_the_numbers_among_names(numbers in prop::collection::vec(any::<u32>(), 0..20)) {
            let names: String =
                numbers.iter().map(|number| format!("{number}\0x{number}\0")).collect();
            let expected: Vec<_> = numbers.iter().map(|number| DeviceId::new(*number)).collect();
            prop_assert_eq!(ids(names.as_bytes()).collect::<Vec<_>>(), expected);
        }
    }
}
