//! The control page: what the two ends of a device tell each other. One page a device, granted by
//! the backend.
//!
//! ```text
//!   byte 0                  64                    1536                       4096
//!        | header: magic,   | the backend's keys  | the frontend's keys      |
//!        | ABI, both states | sequence, length,   | sequence, length,        |
//!        | and generations  | 1464 bytes          | 2552 bytes               |
//! ```
//!
//! Each word has one end that writes it; but both *can* write all of the page, so an end believes
//! only what it keeps in private memory: its own keys, state and counters ([`End`]). Of the other
//! end it takes a bounded copy, checks the copy and uses only that ([`ControlPage::snapshot`]). An
//! end changes its keys, then its state, then its generation, then sends the event.

use crate::ABI;
use crate::error::{HeaderError, ParseError, SnapshotError, StateError};
use crate::keys::{KEYS_MAX, KeyList, Keys};
use crate::state::{Change, Side, State};
use crate::words::{Load, Store, check_header, load_bytes, store_bytes};

/// The first eight bytes of a control page.
pub const MAGIC: [u8; 8] = *b"NoXS-ctl";
/// Bytes before the backend's region.
pub const HEADER_SIZE: usize = 64;
/// Bytes of a region before its keys.
pub const REGION_HEADER: usize = 8;
/// Where the frontend's region begins.
pub const FRONTEND_REGION: usize = 1536;
/// How often a reader copies a region that changes under it before it gives up until the next
/// event.
pub const ATTEMPTS: usize = 16;

/// Where words are: in the page, for each side, and in a region.
mod at {
    use super::{FRONTEND_REGION, HEADER_SIZE, Side};

    pub(super) const MAGIC: usize = crate::words::MAGIC_AT;
    pub(super) const ABI: usize = crate::words::ABI_AT;
    pub(super) const BACKEND_STATE: usize = 4;
    pub(super) const FRONTEND_STATE: usize = 6;

    pub(super) const SEQUENCE: usize = 0;
    pub(super) const LENGTH: usize = 1;
    pub(super) const KEYS: usize = 2;

    pub(super) const fn state(side: Side) -> usize {
        match side {
            Side::Backend => BACKEND_STATE,
            Side::Frontend => FRONTEND_STATE,
        }
    }

    pub(super) const fn generation(side: Side) -> usize {
        state(side) + 1
    }

    pub(super) const fn region(side: Side) -> usize {
        match side {
            Side::Backend => HEADER_SIZE / 4,
            Side::Frontend => FRONTEND_REGION / 4,
        }
    }
}

impl Side {
    /// Bytes of keys that this side's region holds.
    pub const fn capacity(self) -> usize {
        match self {
            Side::Backend => FRONTEND_REGION - HEADER_SIZE - REGION_HEADER,
            Side::Frontend => crate::page::PAGE_SIZE - FRONTEND_REGION - REGION_HEADER,
        }
    }
}

const _: () = assert!(Side::Backend.capacity() == 1464 && Side::Frontend.capacity() == 2552);

/// A control page as a reader has it: either end, or a tool that looks on.
#[derive(Debug, Clone, Copy)]
pub struct ControlPage<W>(W);

impl<W: Load> ControlPage<W> {
    /// Takes a page for a control page.
    ///
    /// # Errors
    /// Its header is not that of ABI 1.
    pub fn open(words: W) -> Result<Self, HeaderError> {
        check_header(&words, MAGIC)?;
        Ok(ControlPage(words))
    }

    /// A side's count of changes, of its keys or its state. Whoever has acted on all that it read
    /// after this needs to look again only when it is another.
    pub fn generation(&self, side: Side) -> u32 {
        self.0.load_acquire(at::generation(side))
    }

    /// A side's state. Its keys, read after this, are those that it had with this state, or newer
    /// ones.
    ///
    /// # Errors
    /// The number there is none.
    pub fn state(&self, side: Side) -> Result<State, StateError> {
        State::try_from(self.0.load_acquire(at::state(side)))
    }

    /// What has become of a side since its state was `last`.
    pub fn change(&self, side: Side, last: State) -> Change {
        Change::between(last, self.0.load_acquire(at::state(side)))
    }

    /// A side's keys: copied, found unchanged meanwhile, then checked.
    ///
    /// # Errors
    /// The region changed in each of [`ATTEMPTS`] copies, or what it held is no key/value sequence.
    pub fn snapshot(&self, side: Side) -> Result<Keys, SnapshotError> {
        let mut bytes = [0; KEYS_MAX];
        let list = self.snapshot_into(side, &mut bytes)?;
        Keys::parse(side, list.as_bytes()).map_err(SnapshotError::Keys)
    }

    /// As [`snapshot`](Self::snapshot), into the caller's buffer: for small stacks.
    ///
    /// # Errors
    /// As [`snapshot`](Self::snapshot).
    pub fn snapshot_into<'b>(
        &self,
        side: Side,
        bytes: &'b mut [u8; KEYS_MAX],
    ) -> Result<KeyList<'b>, SnapshotError> {
        for _ in 0..ATTEMPTS {
            if let Some(length) = self.copy(side, bytes) {
                let too_long = SnapshotError::Keys(ParseError::TooLong(length));
                let copy =
                    bytes.get(..length).filter(|_| length <= side.capacity()).ok_or(too_long)?;
                return KeyList::parse(copy).map_err(SnapshotError::Keys);
            }
            core::hint::spin_loop();
        }
        Err(SnapshotError::Busy)
    }

    /// Copies a region and gives its length, if it did not change. A length beyond the region is
    /// given, with nothing copied.
    fn copy(&self, side: Side, bytes: &mut [u8; KEYS_MAX]) -> Option<usize> {
        let region = at::region(side);
        let sequence = self.0.load_acquire(region + at::SEQUENCE);
        if !sequence.is_multiple_of(2) {
            return None;
        }
        let length = usize::try_from(self.0.load(region + at::LENGTH)).unwrap_or(usize::MAX);
        if length <= side.capacity() {
            load_bytes(&self.0, region + at::KEYS, &mut bytes[..length]);
        }
        self.0.fence_acquire();
        (self.0.load(region + at::SEQUENCE) == sequence).then_some(length)
    }
}

/// A control page as one of its ends has it: that end writes, and reads the other.
#[derive(Debug)]
pub struct End<W> {
    words: W,
    side: Side,
    state: State,
    sequence: u32,
    generation: u32,
}

impl<W: Store> End<W> {
    /// Makes a page of zeros, which nobody else sees yet, a control page. Its maker is the backend.
    pub fn create(words: W) -> Self {
        words.store(at::ABI, ABI);
        words.fence_release();
        store_bytes(&words, at::MAGIC, &MAGIC);
        End { words, side: Side::Backend, state: State::Unknown, sequence: 0, generation: 0 }
    }

    /// Takes up the frontend's end of a page that the backend has made, also of one that a frontend
    /// before this one has used (in a guest that was restarted in place).
    ///
    /// # Errors
    /// The page's header is not that of ABI 1.
    pub fn join(words: W) -> Result<Self, HeaderError> {
        let page = ControlPage::open(words)?;
        let side = Side::Frontend;
        // Go on where that one ended, so that no counter comes back to a value that a reader has
        // seen. A wrong value in the page does no harm: all that counts is that it changes.
        let sequence = page.0.load(at::region(side) + at::SEQUENCE) & !1;
        let generation = page.generation(side);
        Ok(End { words: page.0, side, state: State::Unknown, sequence, generation })
    }

    /// The page, to read the other end.
    pub const fn page(&self) -> ControlPage<&W> {
        ControlPage(&self.words)
    }

    /// Which end this is.
    pub const fn side(&self) -> Side {
        self.side
    }

    /// This end's state, as it keeps it.
    pub const fn state(&self) -> State {
        self.state
    }

    /// Makes `keys` this end's keys. Send the event after it.
    ///
    /// # Errors
    /// They do not fit into this end's region. Nothing is changed.
    pub fn publish<'k>(&mut self, keys: impl Into<KeyList<'k>>) -> Result<(), ParseError> {
        let bytes = keys.into().as_bytes();
        let length =
            u32::try_from(bytes.len()).ok().filter(|_| bytes.len() <= self.side.capacity());
        let length = length.ok_or(ParseError::TooLong(bytes.len()))?;
        let region = at::region(self.side);
        self.words.store(region + at::SEQUENCE, self.sequence.wrapping_add(1));
        self.words.fence_release();
        self.words.store(region + at::LENGTH, length);
        store_bytes(&self.words, region + at::KEYS, bytes);
        self.sequence = self.sequence.wrapping_add(2);
        self.words.store_release(region + at::SEQUENCE, self.sequence);
        self.changed();
        Ok(())
    }

    /// Goes to another state. Send the event after it.
    ///
    /// # Errors
    /// A device does not go there from its state. Nothing is changed.
    pub fn set_state(&mut self, state: State) -> Result<(), StateError> {
        if !self.state.may_become(state) {
            return Err(StateError::Transition(self.state, state));
        }
        if state != self.state {
            self.state = state;
            self.words.store_release(at::state(self.side), state.to_u32());
            self.changed();
        }
        Ok(())
    }

    /// Counts a change, after it.
    fn changed(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        self.words.store_release(at::generation(self.side), self.generation);
    }
}

impl<W: Load> Load for &W {
    fn load(&self, word: usize) -> u32 {
        (**self).load(word)
    }

    fn fence_acquire(&self) {
        (**self).fence_acquire();
    }
}
