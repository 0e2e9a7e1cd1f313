//! What can be wrong with a guest configuration.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Where in which configuration something stands. Displayed as `FILE:LINE: `, or as nothing for a
/// configuration that was built in memory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    /// The name that the text was read under: mostly a path.
    pub source: String,
    /// The line, counted from 1. Zero when the configuration was built in memory.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 { Ok(()) } else { write!(f, "{}:{}: ", self.source, self.line) }
    }
}

/// Why a guest configuration cannot be used. Every message is one line and names the file, the
/// line, the key, the value that was found and what would be right, as far as they exist.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file is missing, is a folder, or may not be read.
    #[error("{}: the guest configuration cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is larger than a configuration can be.
    #[error("{}: larger than {limit} bytes, so this is no guest configuration", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most that is read, in bytes.
        limit: u64,
    },
    /// The text is not UTF-8.
    #[error("{place}not UTF-8 text; a guest configuration is JSON in UTF-8")]
    Encoding {
        /// Where the first wrong byte stands.
        place: Place,
    },
    /// The text is not JSON.
    #[error("{place}not JSON: {problem} (column {column})")]
    Syntax {
        /// Where the text stops being JSON.
        place: Place,
        /// The column, counted from 1, in bytes.
        column: usize,
        /// What the parser found.
        problem: String,
    },
    /// A key that no guest configuration has.
    #[error("{place}unknown key `{key}`; {hint}")]
    UnknownKey {
        /// Where the key stands.
        place: Place,
        /// The key with the keys above it, as in `vifs[0].mac`.
        key: String,
        /// The nearest key, or all keys that may stand there.
        hint: String,
    },
    /// A key that stands twice in one object.
    #[error("{place}key `{key}` was given before, in line {first}; leave one of them")]
    DuplicateKey {
        /// Where the second one stands.
        place: Place,
        /// The key with the keys above it.
        key: String,
        /// The line of the first one.
        first: usize,
    },
    /// A key without which there is no guest.
    #[error("{place}key `{key}` is missing; give {right}")]
    MissingKey {
        /// Where the object starts that lacks the key.
        place: Place,
        /// The key with the keys above it.
        key: String,
        /// What belongs there.
        right: String,
    },
    /// A value of the wrong type, out of its bounds, or in conflict with another one.
    #[error("{place}key `{key}`: {problem}")]
    Value {
        /// Where the value stands.
        place: Place,
        /// The key with the keys above it.
        key: String,
        /// The value that was found and what would be right.
        problem: String,
    },
    /// A value that JSON cannot hold, such as a path that is not UTF-8.
    #[error("the configuration of guest {name} cannot be written as JSON")]
    Unwritable {
        /// The guest's name.
        name: String,
        /// What the writer found.
        source: serde_json::Error,
    },
}

/// A value that is wrong by itself: says what was found and what would be right, but not where it
/// stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ValueError(String);

impl ValueError {
    pub(super) fn new(problem: impl Into<String>) -> Self {
        Self(problem.into())
    }

    /// `FOUND is not NOUN; give RIGHT`, the form of nearly all of these.
    pub(super) fn not(found: impl fmt::Display, noun: &str, right: impl fmt::Display) -> Self {
        Self(format!("{} is not {noun}; give {right}", Self::short(found)))
    }

    /// A value as it was found, cut where a message would become unreadable.
    pub(super) fn short(found: impl fmt::Display) -> String {
        const LONGEST: usize = 80;
        let found = found.to_string();
        match found.char_indices().nth(LONGEST) {
            None => found,
            Some((end, _)) => format!("{}...", found.get(..end).unwrap_or_default()),
        }
    }
}
