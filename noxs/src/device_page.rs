//! The device page: which devices a guest has. One page a guest, written by the hypervisor,
//! read-only for the guest.
//!
//! ```text
//!   byte 0                    64          96                          4096
//!        | header: magic, ABI, | slot 0    | slot 1    |   ...   | slot 125 |
//!        | sizes, generation   | 32 bytes  |           |         |          |
//! ```
//!
//! A slot's last word counts its changes: odd while the slot holds a device, even while it is empty
//! or is being filled. So the word publishes the entry, hides it, and tells a reader that the copy
//! it has made is torn. After each change the writer raises the header's generation, then the
//! guest's virtual interrupt.

use crate::ABI;
use crate::device::{CLASS_SIZE, Class, Device, DeviceId, DomId, GrantRef, Port};
use crate::error::{ClassError, HeaderError, TableError};
use crate::words::{Load, Store, check_header, load_bytes, store_bytes};

/// The first eight bytes of a device page.
pub const MAGIC: [u8; 8] = *b"NoXS-dev";
/// Bytes before the first slot.
pub const HEADER_SIZE: usize = 64;
/// Bytes of a slot.
pub const SLOT_SIZE: usize = 32;
/// Slots of a page.
pub const SLOTS: usize = (crate::page::PAGE_SIZE - HEADER_SIZE) / SLOT_SIZE;

/// Bytes of the header and of a slot as the header tells them, and how many slots there are.
const SIZES: u32 = 32 << 16 | 64;
const SLOTS_WORD: u32 = 126;

const _: () = assert!(HEADER_SIZE == 64 && SLOT_SIZE == 32 && SLOTS == 126);

/// Where words are, counted from the page's start or from the slot's.
mod at {
    pub(super) const MAGIC: usize = crate::words::MAGIC_AT;
    pub(super) const ABI: usize = crate::words::ABI_AT;
    pub(super) const SIZES: usize = 3;
    pub(super) const SLOTS: usize = 4;
    pub(super) const GENERATION: usize = 5;

    pub(super) const CLASS: usize = 0;
    pub(super) const ID: usize = 2;
    pub(super) const GRANT: usize = 3;
    pub(super) const PORT: usize = 4;
    pub(super) const BACKEND: usize = 5;
    pub(super) const SEQUENCE: usize = 7;

    /// The first word of a slot.
    pub(super) const fn slot(index: usize) -> usize {
        (super::HEADER_SIZE + index * super::SLOT_SIZE) / 4
    }
}

/// A device that a slot held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The slot's number.
    pub slot: usize,
    /// The slot's change counter. With the slot it names this entry for good: a device that is
    /// removed and added again, even into the same slot, has another.
    pub sequence: u32,
    /// The device.
    pub device: Device,
}

/// A device page as its guest reads it.
#[derive(Debug, Clone, Copy)]
pub struct DevicePage<W>(W);

impl<W: Load> DevicePage<W> {
    /// Takes a page for a device page.
    ///
    /// # Errors
    /// Its header is not that of ABI 1.
    pub fn open(words: W) -> Result<Self, HeaderError> {
        check_header(&words, MAGIC)?;
        if words.load(at::SIZES) != SIZES || words.load(at::SLOTS) != SLOTS_WORD {
            return Err(HeaderError::Layout);
        }
        Ok(DevicePage(words))
    }

    /// The count of changes. A scan that begins after this sees at least all of them.
    pub fn generation(&self) -> u32 {
        self.0.load_acquire(at::GENERATION)
    }

    /// The device in a slot, if there is one.
    ///
    /// A slot that changes meanwhile counts as empty: the generation changes after it, and an
    /// interrupt follows.
    ///
    /// # Errors
    /// The slot's class is none. The hypervisor writes no such entry; pass over it.
    ///
    /// # Panics
    /// `slot` is not below [`SLOTS`].
    pub fn entry(&self, slot: usize) -> Result<Option<Entry>, ClassError> {
        assert!(slot < SLOTS, "slot {slot} is outside the page");
        let first = at::slot(slot);
        let sequence = self.0.load_acquire(first + at::SEQUENCE);
        if sequence.is_multiple_of(2) {
            return Ok(None);
        }
        let mut class = [0; CLASS_SIZE];
        load_bytes(&self.0, first + at::CLASS, &mut class);
        let id = DeviceId(self.0.load(first + at::ID));
        let grant = GrantRef(self.0.load(first + at::GRANT));
        let port = Port(self.0.load(first + at::PORT));
        let [low, high, _, _] = self.0.load(first + at::BACKEND).to_le_bytes();
        self.0.fence_acquire();
        if self.0.load(first + at::SEQUENCE) != sequence {
            return Ok(None);
        }
        let backend = DomId(u16::from_le_bytes([low, high]));
        let device = Device { class: Class::from_bytes(class)?, id, backend, grant, port };
        Ok(Some(Entry { slot, sequence, device }))
    }

    /// All devices, in the order of their slots; slots without a right class are left out.
    pub fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        (0..SLOTS).filter_map(|slot| self.entry(slot).ok().flatten())
    }
}

/// A device page as its writer has it.
///
/// The table here is the truth and the page a copy of it, so the writer relies on nothing that it
/// reads from shared memory.
#[derive(Debug)]
pub struct DeviceTable<W> {
    words: W,
    devices: [Option<Device>; SLOTS],
    sequences: [u32; SLOTS],
    generation: u32,
}

impl<W: Store> DeviceTable<W> {
    /// Makes a page of zeros, which nobody else sees yet, a device page without devices.
    pub fn create(words: W) -> Self {
        words.store(at::ABI, ABI);
        words.store(at::SIZES, SIZES);
        words.store(at::SLOTS, SLOTS_WORD);
        words.fence_release();
        store_bytes(&words, at::MAGIC, &MAGIC);
        DeviceTable { words, devices: [None; SLOTS], sequences: [0; SLOTS], generation: 0 }
    }

    /// Adds a device and gives its slot. Raise the guest's interrupt after it.
    ///
    /// # Errors
    /// There is a device of that class and id, or no slot is free. Nothing is changed.
    pub fn add(&mut self, device: &Device) -> Result<usize, TableError> {
        if self.devices.iter().flatten().any(|other| other.same_name(device.class, device.id)) {
            return Err(TableError::Exists(device.id));
        }
        let slot = self.devices.iter().position(Option::is_none).ok_or(TableError::Full)?;
        let first = at::slot(slot);
        // The sequence is even: readers pass the slot over. A reader that has begun with the entry
        // before must not find that one's number again after a word of this one.
        self.words.fence_release();
        store_bytes(&self.words, first + at::CLASS, &device.class.to_bytes());
        self.words.store(first + at::ID, device.id.0);
        self.words.store(first + at::GRANT, device.grant.0);
        self.words.store(first + at::PORT, device.port.0);
        self.words.store(first + at::BACKEND, u32::from(device.backend.0));
        self.devices[slot] = Some(*device);
        self.publish(slot);
        Ok(slot)
    }

    /// Removes the device of that class, id and backend. Raise the guest's interrupt after it.
    ///
    /// # Errors
    /// There is none. Nothing is changed.
    pub fn remove(
        &mut self,
        class: Class,
        id: DeviceId,
        backend: DomId,
    ) -> Result<usize, TableError> {
        let named = |device: &Device| device.same_name(class, id) && device.backend == backend;
        let slot = self.devices.iter().position(|device| device.as_ref().is_some_and(named));
        let slot = slot.ok_or(TableError::Missing(id))?;
        self.devices[slot] = None;
        self.publish(slot);
        Ok(slot)
    }

    /// Removes all devices.
    pub fn clear(&mut self) {
        for slot in 0..SLOTS {
            if self.devices[slot].take().is_some() {
                self.publish(slot);
            }
        }
    }

    /// The devices with their slots.
    pub fn devices(&self) -> impl Iterator<Item = (usize, &Device)> {
        self.devices.iter().enumerate().filter_map(|(slot, device)| Some((slot, device.as_ref()?)))
    }

    /// Makes a change of a slot visible: odd if it holds a device now, even if not.
    fn publish(&mut self, slot: usize) {
        self.sequences[slot] = self.sequences[slot].wrapping_add(1);
        self.words.store_release(at::slot(slot) + at::SEQUENCE, self.sequences[slot]);
        self.generation = self.generation.wrapping_add(1);
        self.words.store_release(at::GENERATION, self.generation);
    }
}
