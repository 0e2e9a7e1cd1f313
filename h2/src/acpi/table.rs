//! One ACPI table: the common header, and a checksum at the end.

/// Who made the tables, in the header of each: 6, 8 and 4 bytes.
pub(super) const OEM_ID: &[u8; 6] = b"Xen\0\0\0";
const OEM_TABLE_ID: &[u8; 8] = b"LightVM\0";
const CREATOR_ID: &[u8; 4] = b"LVM\0";
const LENGTH_AT: usize = 4;
const CHECKSUM_AT: usize = 9;

/// A table that is being written. Header: ACPI 5.1, section 5.2.6.
pub(super) struct Table(Vec<u8>);

impl Table {
    pub(super) fn new(signature: &[u8; 4], revision: u8) -> Self {
        Self(Vec::with_capacity(300))
            .bytes(signature)
            .u32(0) // length
            .u8(revision)
            .u8(0) // checksum
            .bytes(OEM_ID)
            .bytes(OEM_TABLE_ID)
            .u32(1)
            .bytes(CREATOR_ID)
            .u32(1)
    }

    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(super) fn u8(self, value: u8) -> Self {
        self.bytes(&[value])
    }

    pub(super) fn u16(self, value: u16) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(super) fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(super) fn u64(self, value: u64) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(super) fn zeros(mut self, count: usize) -> Self {
        self.0.resize(self.0.len() + count, 0);
        self
    }

    /// Fills in length and checksum.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        if let Some(field) = self.0.get_mut(LENGTH_AT..).and_then(<[u8]>::first_chunk_mut) {
            *field = length.to_le_bytes();
        }
        let checksum = sum_to_zero(&self.0);
        if let Some(field) = self.0.get_mut(CHECKSUM_AT) {
            *field = checksum;
        }
        self.0
    }
}

/// The byte that makes the sum of these and itself zero.
pub(super) fn sum_to_zero(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg()
}
