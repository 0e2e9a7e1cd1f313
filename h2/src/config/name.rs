//! A guest's name.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use super::error::ValueError;

/// A name that a guest can have: 1 to 64 bytes of UTF-8 that no command and no path takes for
/// something else.
///
/// It holds no `/` and no control character, does not start with `-` or start or end in a space, is
/// not a decimal number (which would read as a domain id), and is not `Domain-0`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct GuestName(String);

impl GuestName {
    /// The longest name, in bytes.
    pub const MAX_BYTES: usize = 64;

    pub(super) const NOUN: &'static str = "a guest's name";
    pub(super) const RIGHT: &'static str =
        "1 to 64 bytes that are not a number and hold no / and no control character";

    /// Takes a text as a name.
    ///
    /// # Errors
    /// [`ValueError`] for a text that breaks one of the rules above; it says which.
    pub fn new(name: impl Into<String>) -> Result<Self, ValueError> {
        let name = name.into();
        let problem = if name.is_empty() {
            "it is empty"
        } else if name.len() > Self::MAX_BYTES {
            "it is longer than 64 bytes"
        } else if name.contains('/') {
            "it holds a /"
        } else if name.chars().any(char::is_control) {
            "it holds a control character"
        } else if name.bytes().all(|byte| byte.is_ascii_digit()) {
            "it reads as a domain id"
        } else if name.starts_with('-') {
            "it reads as an option"
        } else if name.starts_with(' ') || name.ends_with(' ') {
            "it starts or ends in a space"
        } else if name == "Domain-0" {
            "it is the control domain's"
        } else {
            return Ok(Self(name));
        };
        let found = ValueError::short(format_args!("{name:?}"));
        Err(ValueError::new(format!(
            "{found} is not {}: {problem}; give {}",
            Self::NOUN,
            Self::RIGHT
        )))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// This name with a number behind it, for one of several copies.
    ///
    /// # Errors
    /// [`ValueError`] when that is longer than a name can be.
    pub(super) fn numbered(&self, number: u32) -> Result<Self, ValueError> {
        Self::new(format!("{}-{number}", self.0))
    }
}

impl fmt::Display for GuestName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for GuestName {
    type Err = ValueError;

    fn from_str(name: &str) -> Result<Self, ValueError> {
        Self::new(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "web0", "0a", "Domain-1", "ein Gast", "größe", "a.b:c", &"x".repeat(64)]
        {
            assert!(GuestName::new(good).is_ok(), "{good}");
        }
        for bad in
            ["", "0", "123", "a/b", "a\nb", "a\0b", "-n", " a", "a ", "Domain-0", &"x".repeat(65)]
        {
            assert!(GuestName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        assert_eq!(
            GuestName::new("12").map_err(|error| error.to_string()),
            Err("\"12\" is not a guest's name: it reads as a domain id; give 1 to 64 bytes that \
                 are not a number and \
                 hold no / and no control character"
                .to_owned())
        );
    }
}
