//! The key/value strings of one end of a device: the keys that xenbus drivers put into Xenstore.
//!
//! An entry is four bytes, then the key, then the value, without padding:
//!
//! ```text
//!   0          1          2          4           4 + k       4 + k + v
//!   | k: u8    | 0        | v: u16   | key       | value     |
//! ```
//!
//! Keys come in ascending order of their bytes, each once. So there is one encoding for each set of
//! keys, two sets are equal if their bytes are, and a reader finds a duplicate without a table.
//! [`KeyList`] is bytes that were checked; [`Keys`] owns its bytes, and is the authoritative copy
//! from which an end publishes.

use core::fmt;

use crate::error::{KeyError, ParseError};
use crate::state::Side;

/// Bytes of an entry before its key.
pub const ENTRY_HEADER: usize = 4;
/// The longest key, in bytes.
pub const KEY_MAX: usize = 63;
/// The longest value, in bytes.
pub const VALUE_MAX: usize = 512;
/// The most bytes that any set of keys has: the frontend's region, the larger one.
pub const KEYS_MAX: usize = Side::Frontend.capacity();
/// The most bytes of the keys of the host alone, which its kernel keeps.
pub const PRIVATE_MAX: usize = 4096;

/// Whether the bytes may be a key: `A-Z a-z 0-9 - _ @`, and single slashes between them.
pub fn is_key(key: &[u8]) -> bool {
    let allowed =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'@' | b'/');
    let slashes = key.first() == Some(&b'/')
        || key.last() == Some(&b'/')
        || key.windows(2).any(|pair| pair == b"//");
    (1..=KEY_MAX).contains(&key.len()) && key.iter().all(allowed) && !slashes
}

/// Whether the bytes may be a value: any but zero.
pub fn is_value(value: &[u8]) -> bool {
    // Not `contains`, which is a search for long texts: 200 bytes of code in the smallest guest.
    value.len() <= VALUE_MAX && value.iter().all(|&byte| byte != 0)
}

/// Takes the first entry off `bytes`: key, value and the rest. Only its lengths are checked.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (&[key, _, low, high], rest) = bytes.split_first_chunk()?;
    let (key, rest) = rest.split_at_checked(usize::from(key))?;
    let (value, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes([low, high])))?;
    Some((key, value, rest))
}

/// Keys and values that were checked, in borrowed bytes.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct KeyList<'a> {
    bytes: &'a [u8],
}

impl<'a> KeyList<'a> {
    /// Checks all of `bytes`.
    ///
    /// # Errors
    /// They are no sequence of entries in the form above, or more than [`KEYS_MAX`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        Self::parse_within(bytes, KEYS_MAX)
    }

    /// Checks all of `bytes`, which may be up to [`PRIVATE_MAX`]: keys of the host alone, which are
    /// in no page.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_private(bytes: &'a [u8]) -> Result<Self, ParseError> {
        Self::parse_within(bytes, PRIVATE_MAX)
    }

    fn parse_within(bytes: &'a [u8], most: usize) -> Result<Self, ParseError> {
        if bytes.len() > most {
            return Err(ParseError::TooLong(bytes.len()));
        }
        let mut rest = bytes;
        let mut before: &[u8] = &[];
        while !rest.is_empty() {
            let offset = bytes.len() - rest.len();
            let (key, value, next) = split(rest).ok_or(ParseError::Truncated(offset))?;
            if rest.get(1) != Some(&0) {
                return Err(ParseError::Reserved(offset));
            }
            if !is_key(key) {
                return Err(ParseError::Key(offset));
            }
            if !is_value(value) {
                return Err(ParseError::Value(offset));
            }
            if key <= before {
                return Err(ParseError::Order(offset));
            }
            (before, rest) = (key, next);
        }
        Ok(KeyList { bytes })
    }

    /// The value of a key.
    pub fn get(self, key: &[u8]) -> Option<&'a [u8]> {
        self.iter().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// All keys with their values, in ascending order.
    pub fn iter(self) -> Iter<'a> {
        Iter { rest: self.bytes }
    }

    /// The encoding.
    pub const fn as_bytes(self) -> &'a [u8] {
        self.bytes
    }
}

impl<'a> From<&'a Keys> for KeyList<'a> {
    fn from(keys: &'a Keys) -> Self {
        keys.list()
    }
}

impl fmt::Debug for KeyList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(key, value)| (Text(key), Text(value)))).finish()
    }
}

/// Bytes to be shown as text.
struct Text<'a>(&'a [u8]);

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// The keys of a [`KeyList`] with their values.
#[derive(Debug, Clone)]
pub struct Iter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (key, value, rest) = split(self.rest)?;
        self.rest = rest;
        Some((key, value))
    }
}

/// Keys and values that can be changed, in a buffer of fixed size.
#[derive(Clone)]
pub struct Keys {
    bytes: [u8; KEYS_MAX],
    used: usize,
    capacity: usize,
}

impl Keys {
    /// No keys, with room for what fits into the region of that side.
    pub const fn for_side(side: Side) -> Self {
        Keys { bytes: [0; KEYS_MAX], used: 0, capacity: side.capacity() }
    }

    /// A copy of `bytes`, checked, with room for what fits into the region of that side.
    ///
    /// # Errors
    /// As [`KeyList::parse`]; or the bytes do not fit into that region.
    pub fn parse(side: Side, bytes: &[u8]) -> Result<Self, ParseError> {
        let mut keys = Keys::for_side(side);
        if bytes.len() > keys.capacity {
            return Err(ParseError::TooLong(bytes.len()));
        }
        let list = KeyList::parse(bytes)?;
        keys.bytes[..bytes.len()].copy_from_slice(list.as_bytes());
        keys.used = bytes.len();
        Ok(keys)
    }

    /// Sets a key, new or not. Nothing is changed on an error.
    ///
    /// # Errors
    /// The key or the value has a wrong length or byte, or the region has no room.
    pub fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), KeyError> {
        let (Ok(key_length), true) = (u8::try_from(key.len()), is_key(key)) else {
            return Err(KeyError::Key);
        };
        let (Ok(value_length), true) = (u16::try_from(value.len()), is_value(value)) else {
            return Err(KeyError::Value);
        };
        let (start, old) = self.find(key);
        let new = ENTRY_HEADER + key.len() + value.len();
        let used = self.used - old + new;
        if used > self.capacity {
            return Err(KeyError::Full(used - self.capacity));
        }
        self.bytes.copy_within(start + old..self.used, start + new);
        self.used = used;
        let [low, high] = value_length.to_le_bytes();
        let (header, rest) = self.bytes[start..start + new].split_at_mut(ENTRY_HEADER);
        header.copy_from_slice(&[key_length, 0, low, high]);
        rest[..key.len()].copy_from_slice(key);
        rest[key.len()..].copy_from_slice(value);
        Ok(())
    }

    /// Removes a key; whether it was there.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        let (start, old) = self.find(key);
        self.bytes.copy_within(start + old..self.used, start);
        self.used -= old;
        old != 0
    }

    /// The value of a key.
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.list().get(key)
    }

    /// All keys with their values, in ascending order.
    pub fn iter(&self) -> Iter<'_> {
        self.list().iter()
    }

    /// The keys, borrowed.
    pub fn list(&self) -> KeyList<'_> {
        KeyList { bytes: self.as_bytes() }
    }

    /// The encoding.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.used]
    }

    /// Where the entry of that key begins, or would, and how long it is: 0 if it is not there.
    fn find(&self, key: &[u8]) -> (usize, usize) {
        let mut start = 0;
        for (name, value) in self.iter() {
            let length = ENTRY_HEADER + name.len() + value.len();
            match name.cmp(key) {
                core::cmp::Ordering::Less => start += length,
                core::cmp::Ordering::Equal => return (start, length),
                core::cmp::Ordering::Greater => break,
            }
        }
        (start, 0)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.list().fmt(f)
    }
}

impl PartialEq for Keys {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Keys {}
