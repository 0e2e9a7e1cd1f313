//! What can be wrong with what the other end, or the caller, wrote. One enum for each operation.

use core::error::Error;
use core::fmt;

use crate::device::DeviceId;
use crate::state::State;

/// A page is not what it should be, seen at its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeaderError {
    /// The page does not begin with the magic of its kind.
    Magic,
    /// The page speaks another version of the ABI.
    Version(u32),
    /// The page has other sizes than ABI 1 has.
    Layout,
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeaderError::Magic => f.write_str("the page does not begin with the NoXS magic"),
            HeaderError::Version(abi) => {
                write!(f, "the page speaks NoXS ABI {abi}, not {}", crate::ABI)
            }
            HeaderError::Layout => f.write_str("the page's header has other sizes than NoXS ABI 1"),
        }
    }
}

/// A class's name is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClassError {
    /// It is empty or longer than eight bytes.
    Length,
    /// It has a byte other than `a-z`, `0-9`, `-` and `_`, or one after its end.
    Byte(u8),
}

impl fmt::Display for ClassError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClassError::Length => f.write_str("a device class has one to eight bytes"),
            ClassError::Byte(byte) => write!(f, "a device class cannot have the byte {byte:#04x}"),
        }
    }
}

/// A change of a device page that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TableError {
    /// No slot is free.
    Full,
    /// The guest has a device of this class and id.
    Exists(DeviceId),
    /// The guest has no such device, or another backend serves it.
    Missing(DeviceId),
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TableError::Full => f.write_str("no slot of the device page is free"),
            TableError::Exists(id) => {
                write!(f, "a device {id} of this class is in the device page")
            }
            TableError::Missing(id) => {
                write!(f, "no device {id} of this class and backend is in the device page")
            }
        }
    }
}

/// Bytes are no key/value sequence. Offsets count from its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseError {
    /// It is longer than it may be.
    TooLong(usize),
    /// The entry at this offset reaches beyond the end.
    Truncated(usize),
    /// The reserved byte of the entry at this offset is not zero.
    Reserved(usize),
    /// The key of the entry at this offset is empty or too long, or has a wrong byte or slash.
    Key(usize),
    /// The value of the entry at this offset is too long or has a zero byte.
    Value(usize),
    /// The key of the entry at this offset does not come after the one before it.
    Order(usize),
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ParseError::TooLong(length) => write!(f, "{length} bytes of keys are too many"),
            ParseError::Truncated(offset) => {
                write!(f, "the entry at byte {offset} reaches beyond the end")
            }
            ParseError::Reserved(offset) => {
                write!(f, "the reserved byte of the entry at byte {offset} is set")
            }
            ParseError::Key(offset) => write!(f, "the key of the entry at byte {offset} is no key"),
            ParseError::Value(offset) => {
                write!(f, "the value of the entry at byte {offset} is too long or has a zero")
            }
            ParseError::Order(offset) => write!(f, "the entry at byte {offset} is out of order"),
        }
    }
}

/// A key or value that cannot be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError {
    /// The key is empty or too long, or has a wrong byte or slash.
    Key,
    /// The value is too long or has a zero byte.
    Value,
    /// The region has no room for it; how many bytes are missing.
    Full(usize),
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyError::Key => f.write_str(
                "a key is 1 to 63 of the bytes A-Z a-z 0-9 - _ @ and single inner slashes",
            ),
            KeyError::Value => f.write_str("a value is up to 512 bytes, none of them zero"),
            KeyError::Full(missing) => {
                write!(f, "the region is {missing} bytes too small for this key")
            }
        }
    }
}

/// The other end's region could not be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SnapshotError {
    /// It changed during each of a bounded number of copies. Its writer sends an event when it has
    /// done.
    Busy,
    /// It was copied, and holds no key/value sequence.
    Keys(ParseError),
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SnapshotError::Busy => f.write_str("the region is being changed"),
            SnapshotError::Keys(_) => f.write_str("the region holds no keys"),
        }
    }
}

/// A state that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StateError {
    /// The number is no state. A reader takes it for [`State::Closed`].
    Unknown(u32),
    /// No writer goes from the first state to the second.
    Transition(State, State),
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StateError::Unknown(raw) => write!(f, "{raw} is no device state"),
            StateError::Transition(from, to) => {
                write!(f, "a device does not go from {from} to {to}")
            }
        }
    }
}

impl Error for HeaderError {}
impl Error for ClassError {}
impl Error for TableError {}
impl Error for ParseError {}
impl Error for KeyError {}
impl Error for StateError {}

impl Error for SnapshotError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            SnapshotError::Keys(source) => Some(source),
            SnapshotError::Busy => None,
        }
    }
}
