//! Large memory of an application's, static since it has no heap and little stack.

use core::cell::UnsafeCell;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

/// A static value that one owner may have, for good.
pub struct Once<T> {
    taken: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached through `take` only, by the one who comes first.
unsafe impl<T: Send> Sync for Once<T> {}

impl<T> Once<T> {
    /// A value, to be made into a static.
    pub const fn new(value: T) -> Self {
        Once { taken: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    /// The value, for whoever asks first.
    #[expect(clippy::mut_from_ref, reason = "given out once")]
    pub fn take(&'static self) -> Option<&'static mut T> {
        if self.taken.swap(true, Ordering::AcqRel) {
            return None;
        }
        // SAFETY: static, and nobody else gets here: there is no other reference.
        Some(unsafe { &mut *self.value.get() })
    }
}

impl<T> fmt::Debug for Once<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once").field("taken", &self.taken).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_owner() {
        static NUMBER: Once<u32> = Once::new(5);
        assert_eq!(NUMBER.take(), Some(&mut 5));
        assert_eq!(NUMBER.take(), None);
    }
}
