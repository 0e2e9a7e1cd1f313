//! Xenstore's messages (io/xs_wire.h): a header of four words, then `length` bytes.

/// The longest body that the protocol allows.
pub(crate) const MAX_BODY: usize = 4096;

/// Bytes of a header.
pub(crate) const HEADER: usize = 16;

/// Message types, `XS_*`.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Directory = 1,
    Read = 2,
    Watch = 4,
    Unwatch = 5,
    Write = 11,
    Remove = 13,
}

/// The type of an answer that says no.
pub(crate) const ERROR: u32 = 16;

/// The type of a message that nobody asked for: a watch fired.
pub(crate) const WATCH_EVENT: u32 = 15;

/// A message's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: u32,
    pub(crate) request: u32,
    pub(crate) length: u32,
}

impl Header {
    /// As bytes, outside of any transaction.
    pub(crate) fn encode(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        let words = [self.kind, self.request, 0, self.length];
        for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// None if no body may be that long.
    pub(crate) fn decode(bytes: [u8; HEADER]) -> Option<Header> {
        let (words, _) = bytes.as_chunks::<4>();
        let word = |index: usize| words.get(index).map_or(0, |&word| u32::from_le_bytes(word));
        let header = Header { kind: word(0), request: word(1), length: word(3) };
        (header.length as usize <= MAX_BODY).then_some(header)
    }
}

/// Names one of this guest's watches. Xenstore hands it back with each event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token(u8);

impl Token {
    /// The watches that a guest can tell apart.
    pub(crate) const COUNT: u8 = 32;

    /// # Panics
    /// From `COUNT` on; in a constant that is a compile error.
    pub(crate) const fn new(number: u8) -> Token {
        assert!(number < Token::COUNT);
        Token(number)
    }

    /// What Xenstore is given: two letters.
    pub(crate) fn encode(self) -> [u8; 2] {
        [b'A' + self.0 / 16, b'a' + self.0 % 16]
    }

    /// The path and the token of a watch event's body, `path 0 token 0`. None if the token is none
    /// of ours.
    pub(crate) fn decode(body: &[u8]) -> Option<(&[u8], Token)> {
        match body {
            [path @ .., 0, high @ b'A'..=b'B', low @ b'a'..=b'p', 0] => {
                Some((path, Token((high - b'A') * 16 + (low - b'a'))))
            }
            _ => None,
        }
    }

    pub(crate) fn number(self) -> u8 {
        self.0
    }

    /// As an index below `COUNT`.
    pub(crate) fn index(self) -> usize {
        self.0.into()
    }

    /// As one bit of a set.
    pub(crate) fn bit(self) -> u32 {
        1 << self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tokens_survive() {
        for number in 0..Token::COUNT {
            let token = Token::new(number);
            let [high, low] = token.encode();
            assert_eq!(Token::decode(&[0, high, low, 0]), Some((&b""[..], token)));
            assert_eq!(Token::decode(&[b'/', 0, high, low, 0]), Some((&b"/"[..], token)));
        }
        for wrong in [&b"/Aa\0"[..], b"\0Ca\0", b"/\0Aa", b"\0", b""] {
            assert_eq!(Token::decode(wrong), None);
        }
    }

    proptest! {
        #[test]
        fn headers_survive(kind: u32, request: u32, length in 0u32..=4096) {
            let header = Header { kind, request, length };
            prop_assert_eq!(Header::decode(header.encode()), Some(header));
        }

        #[test]
        fn any_bytes_decode_within_bounds(bytes: [u8; 16], body: Vec<u8>) {
            if let Some(header) = Header::decode(bytes) {
                prop_assert!(header.length as usize <= MAX_BODY);
            }
            if let Some((path, token)) = Token::decode(&body) {
                prop_assert!(token.bit().is_power_of_two() && path.len() == body.len() - 4);
            }
        }
    }
}
