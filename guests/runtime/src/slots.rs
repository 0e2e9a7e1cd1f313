//! Which of a device's buffers its backend has.

/// The number of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot(u8);

impl Slot {
    pub(crate) fn index(self) -> usize {
        self.0.into()
    }

    /// As a request's id.
    pub(crate) fn id(self) -> u16 {
        self.0.into()
    }
}

/// Which of `COUNT` buffers, 32 at most, the backend has: a bit for each.
#[derive(Debug, Default)]
pub(crate) struct Slots<const COUNT: usize>(u32);

impl<const COUNT: usize> Slots<COUNT> {
    /// A buffer to be handed to the backend.
    pub(crate) fn take(&mut self) -> Option<Slot> {
        let number = self.0.trailing_ones();
        let slot = Slot(u8::try_from(number).ok().filter(|&number| usize::from(number) < COUNT)?);
        self.0 |= 1 << number;
        Some(slot)
    }

    /// The buffer that the backend says it has done with. None if it did not have it.
    pub(crate) fn give_back(&mut self, id: u16) -> Option<Slot> {
        let slot = Slot(u8::try_from(id).ok().filter(|&id| usize::from(id) < COUNT)?);
        let bit = 1u32 << slot.0;
        (self.0 & bit != 0).then(|| {
            self.0 &= !bit;
            slot
        })
    }

    /// Whether the backend has all of them.
    pub(crate) fn is_full(&self) -> bool {
        self.0.trailing_ones() as usize >= COUNT
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever ids come back: none is free twice, none in flight twice.
        #[test]
        fn like_a_set(steps in prop::collection::vec(prop::option::of(0u16..40), 1..200)) {
            let (mut slots, mut model) = (Slots::<20>::default(), HashSet::new());
            for step in steps {
                match step {
                    Some(id) => prop_assert_eq!(slots.give_back(id).is_some(), model.remove(&id)),
                    None => match slots.take() {
                        Some(slot) => prop_assert!(model.insert(slot.id())),
                        None => prop_assert_eq!(model.len(), 20),
                    },
                }
                prop_assert_eq!(slots.is_full(), model.len() == 20);
            }
        }
    }
}
