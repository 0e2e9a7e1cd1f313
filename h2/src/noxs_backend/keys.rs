//! The key/value strings of one end of a device, or of the host alone.

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use noxs::keys::{ENTRY_HEADER, KeyList, PRIVATE_MAX, is_key, is_value};
use serde::Serialize;

/// Keys with their values, in the order of the keys. What is not UTF-8 in a value is replaced,
/// since a guest may have written it. [`RANDOM_SEED`](Self::RANDOM_SEED)'s value is not in the
/// `Debug` form.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Keys(BTreeMap<String, String>);

/// Stands for a value that is nobody's to see.
const HIDDEN: &str = "(hidden)";

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.clone().without_secrets().iter()).finish()
    }
}

impl Keys {
    /// The key of `sysctl` whose value only the guest and its host know (docs/noxs-abi.md, part 4).
    pub const RANDOM_SEED: &str = "random-seed";

    /// The same for people: values that are secrets are left out, their keys stay.
    #[must_use]
    pub fn without_secrets(mut self) -> Self {
        if let Some(value) = self.0.get_mut(Self::RANDOM_SEED) {
            HIDDEN.clone_into(value);
        }
        self
    }

    /// No keys.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a key, new or not.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<String>) -> &mut Self {
        self.0.insert(key.into(), value.into());
        self
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// All keys with their values, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Checks keys in the kernel's encoding (docs/noxs-abi.md, part 2).
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] for what is none.
    pub fn decode(bytes: &[u8]) -> io::Result<Self> {
        let list = KeyList::parse_private(bytes)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Ok(Self(list.iter().map(|(key, value)| (text(key), text(value))).collect()))
    }

    /// The encoding.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for a key or value that cannot be, or more than the host
    /// keeps of a device.
    pub fn encode(&self) -> io::Result<Vec<u8>> {
        let wrong = |what: String| io::Error::new(io::ErrorKind::InvalidInput, what);
        let mut bytes = Vec::new();
        for (key, value) in &self.0 {
            let (Ok(key_length), true) = (u8::try_from(key.len()), is_key(key.as_bytes())) else {
                return Err(wrong(format!("{key:?} is no key of a device")));
            };
            let (Ok(value_length), true) = (u16::try_from(value.len()), is_value(value.as_bytes()))
            else {
                return Err(wrong(format!(
                    "the value of key {key} is longer than 512 bytes or has a NUL"
                )));
            };
            let [low, high] = value_length.to_le_bytes();
            bytes.extend([key_length, 0, low, high]);
            bytes.extend(key.bytes().chain(value.bytes()));
        }
        if bytes.len() > PRIVATE_MAX {
            return Err(wrong(format!(
                "the keys of a device take {} bytes, {PRIVATE_MAX} at most",
                bytes.len()
            )));
        }
        debug_assert!(bytes.is_empty() || bytes.len() > ENTRY_HEADER);
        Ok(bytes)
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Keys {
    fn from_iter<T: IntoIterator<Item = (K, V)>>(keys: T) -> Self {
        Self(keys.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use noxs::state::Side;

    use super::*;

    #[test]
    fn the_encoding_is_the_protocols() {
        let keys: Keys =
            [("script", "xendevd"), ("bridge", "xenbr0"), ("empty", "")].into_iter().collect();
        let mut reference = noxs::keys::Keys::for_side(Side::Backend);
        for (key, value) in keys.iter() {
            reference.set(key.as_bytes(), value.as_bytes()).unwrap();
        }
        assert_eq!(keys.encode().unwrap(), reference.as_bytes());
        assert_eq!(Keys::decode(reference.as_bytes()).unwrap(), keys);
        assert_eq!(keys.get("bridge"), Some("xenbr0"));
        assert!(Keys::new().encode().unwrap().is_empty());
    }

    #[test]
    fn secrets_are_not_shown() {
        let keys = Keys::from_iter([("name", "web"), ("random-seed", "00ff")]);
        assert_eq!(keys.get("random-seed"), Some("00ff"));
        assert_eq!(format!("{keys:?}"), r#"{"name": "web", "random-seed": "(hidden)"}"#);
        assert_eq!(keys.without_secrets().get("random-seed"), Some("(hidden)"));
    }

    #[test]
    fn what_guests_write_is_made_text() {
        let keys = Keys::decode(b"\x01\0\x02\0k\xff!").unwrap();
        assert_eq!(keys.get("k"), Some("\u{fffd}!"));
        assert_eq!(Keys::decode(b"\x01\0\x02\0k!").unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let encode = |key: &str, value: &str| Keys::from_iter([(key, value)]).encode();
        for (key, value) in
            [("", ""), ("/a", ""), ("a b", ""), ("a", "\0"), ("a", "x".repeat(513).as_str())]
        {
            assert_eq!(
                encode(key, value).unwrap_err().kind(),
                io::ErrorKind::InvalidInput,
                "{key:?}"
            );
        }
        let many: Keys = (0..9).map(|number| (format!("k{number}"), "x".repeat(512))).collect();
        assert!(many.encode().is_err());
    }
}
