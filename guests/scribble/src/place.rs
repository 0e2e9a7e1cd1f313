//! Where a victim can be.

use guest_runtime::hostile::Victim;

/// A victim, or none. Not an `Option`: this one's nothing is zeroes, so that a static of it takes
/// no place in the image's file.
#[derive(Debug)]
#[repr(u8)]
#[expect(clippy::large_enum_variant, reason = "there is no heap")]
pub(crate) enum Place {
    Free,
    Taken(Victim),
}

impl Place {
    pub(crate) fn victim(&self) -> Option<&Victim> {
        match self {
            Place::Free => None,
            Place::Taken(victim) => Some(victim),
        }
    }

    pub(crate) fn victim_mut(&mut self) -> Option<&mut Victim> {
        match self {
            Place::Free => None,
            Place::Taken(victim) => Some(victim),
        }
    }
}
