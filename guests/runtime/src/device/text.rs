//! Text in Xenstore: paths that we put together, numbers that others wrote.

use core::fmt::{self, Write};
use core::str;

use super::DeviceId;

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
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        *place = digit(high)? << 4 | digit(low)?;
    }
    pairs.next().is_none().then_some(address)
}

/// The ids among `names`, each of which has a zero byte after it: the lowest ones, in order. Returns how many.
pub(crate) fn ids(names: &[u8], ids: &mut [DeviceId]) -> usize {
    let mut count = 0;
    for id in names.split(|&byte| byte == 0).filter_map(DeviceId::parse) {
        let at = ids.iter().take(count).take_while(|other| **other < id).count();
        let kept = (count + 1).min(ids.len());
        if let Some(tail) = ids.get_mut(at..kept)
            && !tail.is_empty()
        {
            tail.rotate_right(1);
            tail[0] = id;
        }
        count = kept;
    }
    count
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_have_an_end() {
        let text = |number: u32| Text::<6>::new(format_args!("abc{number}")).map(|text| text.as_str().to_owned());
        assert_eq!(text(123).as_deref(), Some("abc123"));
        assert_eq!(text(1234), None);
    }

    #[test]
    fn numbers() {
        assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
        for wrong in ["", "18446744073709551616", "-1", "+1", " 1", "1\0", "0x1"] {
            assert_eq!(number(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn addresses() {
        assert_eq!(mac(b"00:16:3e:0A:ff:13"), Some([0, 0x16, 0x3e, 10, 255, 0x13]));
        for wrong in
            ["", "00:16:3e:0a:ff", "00:16:3e:0a:ff:13:14", "0:16:3e:0a:ff:13", "00:16:3e:0a:ff:1g", "+0:16:3e:0a:ff:13"]
        {
            assert_eq!(mac(wrong.as_bytes()), None, "{wrong}");
        }
    }

    proptest! {
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
        fn the_lowest_ids_in_order(numbers in prop::collection::vec(0u32..100, 0..20), place in 0usize..8) {
            let names: String = numbers.iter().map(|number| format!("{number}\0")).collect();
            let mut found = vec![DeviceId::default(); place];
            let count = ids(names.as_bytes(), &mut found);
            let mut expected: Vec<_> = numbers.iter().map(|number| DeviceId::new(*number)).collect();
            expected.sort();
            expected.truncate(place);
            prop_assert_eq!(&found[..count], expected);
        }
    }
}
