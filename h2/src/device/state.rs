//! The states of a device's ends.

use std::fmt;

use serde::{Serialize, Serializer};

/// A state of one end: XenbusState of xen/include/public/io/xenbus.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum DeviceState {
    /// The end says nothing that is a state.
    Unknown,
    /// The toolstack has made it.
    Initialising,
    /// The backend waits for the frontend, and perhaps for the hotplug agent.
    InitWait,
    /// The frontend has published its rings.
    Initialised,
    /// In use.
    Connected,
    /// On its way out.
    Closing,
    /// No longer in use.
    Closed,
    /// Something about it changes.
    Reconfiguring,
    /// The change has been made.
    Reconfigured,
}

impl DeviceState {
    /// The number that stands for it in Xenstore.
    pub(crate) const fn number(self) -> &'static str {
        match self {
            Self::Unknown => "0",
            Self::Initialising => "1",
            Self::InitWait => "2",
            Self::Initialised => "3",
            Self::Connected => "4",
            Self::Closing => "5",
            Self::Closed => "6",
            Self::Reconfiguring => "7",
            Self::Reconfigured => "8",
        }
    }

    /// The state that a node tells, which any guest may have written.
    pub(crate) fn read(node: &str) -> Self {
        match node {
            "1" => Self::Initialising,
            "2" => Self::InitWait,
            "3" => Self::Initialised,
            "4" => Self::Connected,
            "5" => Self::Closing,
            "6" => Self::Closed,
            "7" => Self::Reconfiguring,
            "8" => Self::Reconfigured,
            _ => Self::Unknown,
        }
    }

    /// One lower-case word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Initialising => "initialising",
            Self::InitWait => "waiting",
            Self::Initialised => "initialised",
            Self::Connected => "connected",
            Self::Closing => "closing",
            Self::Closed => "closed",
            Self::Reconfiguring => "reconfiguring",
            Self::Reconfigured => "reconfigured",
        }
    }

    /// Whether the backend's driver has taken the device and has not let it go.
    pub(crate) const fn is_served(self) -> bool {
        matches!(
            self,
            Self::InitWait
                | Self::Initialised
                | Self::Connected
                | Self::Reconfiguring
                | Self::Reconfigured
        )
    }
}

/// The state with this number (XenbusState); any other number is unknown.
impl From<u32> for DeviceState {
    fn from(number: u32) -> Self {
        use noxs::state::State;
        match State::try_from(number) {
            Ok(State::Initialising) => Self::Initialising,
            Ok(State::InitWait) => Self::InitWait,
            Ok(State::Initialised) => Self::Initialised,
            Ok(State::Connected) => Self::Connected,
            Ok(State::Closing) => Self::Closing,
            Ok(State::Closed) => Self::Closed,
            Ok(State::Reconfiguring) => Self::Reconfiguring,
            Ok(State::Reconfigured) => Self::Reconfigured,
            Ok(State::Unknown) | Err(_) => Self::Unknown,
        }
    }
}

impl fmt::Display for DeviceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for DeviceState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_back() {
        for number in 0..=8 {
            let of_number = DeviceState::from(number);
            let number = number.to_string();
            assert_eq!(DeviceState::read(&number).number(), number);
            assert_eq!(of_number, DeviceState::read(&number));
        }
        for wrong in ["", "9", "-1", "04", "four", "4 "] {
            assert_eq!(DeviceState::read(wrong), DeviceState::Unknown, "{wrong:?}");
        }
    }
}
