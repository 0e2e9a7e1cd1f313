//! How far a device and its backend are, and what follows.
//!
//! ```text
//!            backend InitWait               backend Connected
//!   Offered ------------------> Published -------------------> Connected
//!      |                            |                              |
//!      +---- backend Closing, or Closed, or we want to end it -----+
//!                                   |          (Connected: or it starts again)
//!                                   |
//!                                   v        backend Closing or Closed
//!                                Closing ----------------------------> Closed
//!                                                                         |
//!   from anywhere, if the backend's nodes are gone:    backend Closed or gone
//!                                   +------------------------------> Gone
//! ```

use noxs::state::State;

/// The state that a number in Xenstore stands for. None for what is none: nothing follows from it.
pub(super) fn state(number: u64) -> Option<State> {
    State::try_from(u32::try_from(number).ok()?).ok()
}

/// What a backend says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    Is(State),
    /// Something from which nothing follows.
    Unknown,
    /// There is no such backend any more.
    Missing,
}

/// How far a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Link {
    /// It waits for its backend to be ready.
    Offered,
    /// The backend was told where the rings are.
    Published,
    /// It works.
    Connected,
    /// It is about to end.
    Closing,
    /// It is of no more use to us; the backend lets go of it.
    Closed,
    /// There is nothing left: drop it.
    Gone,
}

/// What follows for a device at `link` from what its backend says. None: nothing.
pub(crate) fn next(link: Link, backend: Backend) -> Option<Link> {
    use State::{Closed, Closing, Connected, InitWait, Initialised, Initialising};
    match (link, backend) {
        (Link::Gone, _) => None,
        (_, Backend::Missing) => Some(Link::Gone),
        (Link::Offered, Backend::Is(InitWait | Initialised)) => Some(Link::Published),
        (Link::Published, Backend::Is(Connected)) => Some(Link::Connected),
        (Link::Offered | Link::Published | Link::Connected, Backend::Is(Closing | Closed)) => {
            Some(Link::Closing)
        }
        // It has started again: what we shared with it is of no more use.
        (Link::Connected, Backend::Is(Initialising | InitWait | Initialised)) => {
            Some(Link::Closing)
        }
        (Link::Closing, Backend::Is(Closing | Closed)) => Some(Link::Closed),
        (Link::Closed, Backend::Is(Closed)) => Some(Link::Gone),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn run(states: &[Backend]) -> Vec<Link> {
        let mut links = vec![Link::Offered];
        for backend in states {
            while let Some(link) = next(links[links.len() - 1], *backend) {
                links.push(link);
            }
        }
        links
    }

    #[test]
    fn a_whole_life() {
        let states =
            [1, 2, 2, 4, 5, 6].map(|number| state(number).map_or(Backend::Unknown, Backend::Is));
        let expected = [
            Link::Offered,
            Link::Published,
            Link::Connected,
            Link::Closing,
            Link::Closed,
            Link::Gone,
        ];
        assert_eq!(run(&states), expected);
    }

    #[test]
    fn a_backend_that_goes_away_ends_it() {
        assert_eq!(
            run(&[Backend::Is(State::InitWait), Backend::Missing]),
            [Link::Offered, Link::Published, Link::Gone]
        );
        assert_eq!(
            run(&[Backend::Is(State::Closed)]),
            [Link::Offered, Link::Closing, Link::Closed, Link::Gone]
        );
    }

    #[test]
    fn a_backend_that_starts_again_ends_it() {
        let mut states = [2, 4, 1, 2].map(|number| Backend::Is(state(number).unwrap())).to_vec();
        let until = [Link::Offered, Link::Published, Link::Connected, Link::Closing];
        assert_eq!(run(&states), until);
        states.extend([Backend::Is(State::Closing), Backend::Is(State::Closed)]);
        assert_eq!(run(&states), [&until[..], &[Link::Closed, Link::Gone]].concat());
    }

    #[test]
    fn nothing_follows_from_nonsense() {
        assert_eq!(state(9), None);
        assert_eq!(state(u64::MAX), None);
        assert_eq!(
            run(&[Backend::Unknown, Backend::Is(State::Unknown), Backend::Is(State::Connected)]),
            [Link::Offered]
        );
    }

    proptest! {
        /// Whatever a backend says, in whatever order: a device goes forward only, and so comes to
        /// an end.
        #[test]
        fn forward_only(numbers in prop::collection::vec(0u64..10, 0..50)) {
            let states: Vec<_> = numbers
                .into_iter()
                .map(|number| match state(number) {
                    Some(state) => Backend::Is(state),
                    None if number == 9 => Backend::Missing,
                    None => Backend::Unknown,
                })
                .collect();
            prop_assert!(run(&states).is_sorted());
        }
    }
}
