//! The states of a device's two ends, with xenbus's numbers and names.
//!
//! ```text
//!   Unknown -> Initialising -> InitWait -> Initialised -> Connected <-> Reconfiguring <-> Reconfigured
//!                  ^    \__________\___________\____________^   |               |               |
//!                  |                                            v               v               v
//!                Closed <----------------------------------- Closing <--------------------------+
//! ```
//!
//! Forward steps may be left out; every state may go to Closing or Closed; from Closed an end
//! starts anew. A writer keeps to [`State::may_become`]. A reader cannot rely on it, nor on seeing
//! each state: [`Change::between`] tells it what to do.

use core::fmt;

use crate::error::StateError;

/// One of a device's two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The domain that serves the device.
    Backend,
    /// The guest.
    Frontend,
}

impl Side {
    /// The other end.
    pub const fn peer(self) -> Side {
        match self {
            Side::Backend => Side::Frontend,
            Side::Frontend => Side::Backend,
        }
    }
}

/// The state of one end: `enum xenbus_state` of Xen's public/io/xenbus.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum State {
    /// Nothing was written yet.
    Unknown = 0,
    /// The end has begun.
    Initialising = 1,
    /// The backend has told its features and waits for the frontend.
    InitWait = 2,
    /// The end has told its rings and ports and waits for the other.
    Initialised = 3,
    /// The device works.
    Connected = 4,
    /// The end wants the device to stop.
    Closing = 5,
    /// The end has let go of all that the other shared with it.
    Closed = 6,
    /// The device's parts change while it works.
    Reconfiguring = 7,
    /// They have changed.
    Reconfigured = 8,
}

impl State {
    /// All states, each at the index that is its number.
    pub const ALL: [State; 9] = [
        State::Unknown,
        State::Initialising,
        State::InitWait,
        State::Initialised,
        State::Connected,
        State::Closing,
        State::Closed,
        State::Reconfiguring,
        State::Reconfigured,
    ];

    /// The state's number in the page.
    pub const fn to_u32(self) -> u32 {
        self as u32
    }

    /// Whether a writer may go from this state to `to`. Staying is allowed and changes nothing.
    pub const fn may_become(self, to: State) -> bool {
        use State::{
            Closed, Closing, Connected, InitWait, Initialised, Initialising, Reconfigured,
            Reconfiguring, Unknown,
        };
        match (self, to) {
            (Unknown, Unknown) => true,
            (_, Unknown) => false,
            (Closed, Closing) => false,
            (_, Closing | Closed) => true,
            (Unknown, Initialising | InitWait) => true,
            (Closed, Initialising | InitWait) => true,
            (Connected | Reconfigured, Reconfiguring) => true,
            (Reconfiguring, Reconfigured | Connected) => true,
            (Reconfigured, Connected) => true,
            (
                Initialising | InitWait | Initialised,
                Initialising | InitWait | Initialised | Connected,
            ) => self.to_u32() <= to.to_u32(),
            _ => self.to_u32() == to.to_u32(),
        }
    }

    /// Whether the other end may be using rings and ports of an end in this state.
    const fn has_shared(self) -> bool {
        !matches!(self, State::Unknown | State::Initialising | State::InitWait | State::Closed)
    }
}

impl TryFrom<u32> for State {
    type Error = StateError;

    fn try_from(raw: u32) -> Result<Self, StateError> {
        let index = usize::try_from(raw).map_err(|_| StateError::Unknown(raw))?;
        State::ALL.get(index).copied().ok_or(StateError::Unknown(raw))
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            State::Unknown => "Unknown",
            State::Initialising => "Initialising",
            State::InitWait => "InitWait",
            State::Initialised => "Initialised",
            State::Connected => "Connected",
            State::Closing => "Closing",
            State::Closed => "Closed",
            State::Reconfiguring => "Reconfiguring",
            State::Reconfigured => "Reconfigured",
        })
    }
}

/// What a reader makes of two looks at the other end's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The state is the same.
    None,
    /// The state is another.
    To(State),
    /// The end has been closed in between, unseen: undo what was shared with it, then act on the
    /// state.
    Restarted(State),
    /// The end wrote what is no state, or took its state back: its device is lost, treat it as
    /// [`State::Closed`].
    Lost,
}

impl Change {
    /// From the state that the reader acted on last to the number that it has now read.
    ///
    /// Nothing here trusts the writer: every number has an answer.
    pub fn between(last: State, now: u32) -> Change {
        match State::try_from(now) {
            Ok(now) if now == last => Change::None,
            Ok(State::Unknown) | Err(_) if last == State::Closed => Change::None,
            Ok(State::Unknown) | Err(_) => Change::Lost,
            Ok(now) if last.may_become(now) => Change::To(now),
            Ok(now @ (State::Closed | State::Closing)) => Change::To(now),
            Ok(now) if last == State::Closing => Change::Restarted(now),
            Ok(now @ (State::Initialising | State::InitWait | State::Initialised))
                if last.has_shared() =>
            {
                Change::Restarted(now)
            }
            Ok(now) => Change::To(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_xenbus_numbers() {
        for (number, state) in (0..).zip(State::ALL) {
            assert_eq!(state.to_u32(), number);
            assert_eq!(State::try_from(number), Ok(state));
        }
        assert_eq!(State::try_from(9), Err(StateError::Unknown(9)));
    }

    #[test]
    fn the_usual_lives_of_both_ends_are_legal() {
        let lives: [&[u32]; 5] = [
            &[0, 1, 2, 4, 5, 6, 2, 4, 6],
            &[0, 1, 3, 4, 5, 6, 1, 3, 4],
            &[0, 1, 4, 5, 6, 1, 4],
            &[4, 7, 8, 4, 7, 4, 5, 6],
            &[0, 5, 6],
        ];
        for life in lives {
            for step in life.windows(2) {
                let [from, to] =
                    [State::try_from(step[0]).unwrap(), State::try_from(step[1]).unwrap()];
                assert!(from.may_become(to), "{from} to {to}");
            }
        }
        for (from, to) in [(4, 1), (4, 3), (6, 5), (6, 4), (5, 4), (1, 0), (6, 3), (2, 1), (1, 7)] {
            assert!(!State::ALL[from].may_become(State::ALL[to]), "{from} to {to}");
        }
    }

    #[test]
    fn a_reader_has_an_answer_to_every_number() {
        assert_eq!(Change::between(State::Connected, 4), Change::None);
        assert_eq!(Change::between(State::Initialising, 4), Change::To(State::Connected));
        assert_eq!(Change::between(State::Closed, 4), Change::To(State::Connected));
        assert_eq!(Change::between(State::Connected, 1), Change::Restarted(State::Initialising));
        assert_eq!(Change::between(State::Closing, 4), Change::Restarted(State::Connected));
        assert_eq!(Change::between(State::Connected, 0), Change::Lost);
        assert_eq!(Change::between(State::Connected, u32::MAX), Change::Lost);
        assert_eq!(Change::between(State::Unknown, 77), Change::Lost);
        assert_eq!(Change::between(State::Closed, 77), Change::None);
        for last in State::ALL {
            for now in 0..20 {
                if let Change::To(state) | Change::Restarted(state) = Change::between(last, now) {
                    assert_eq!(state.to_u32(), now);
                    assert_ne!(state, State::Unknown);
                }
            }
        }
    }
}
