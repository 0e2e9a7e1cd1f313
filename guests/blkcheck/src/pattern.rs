//! What is written, and how it is recognised: lines of 16 bytes, `SEED SECTORLINE` and a line feed
//! in hexadecimal digits, so that every line of a disk is another, and a shell can tell what should
//! be there.

use guest_runtime::blk::SECTOR;

const LINE: usize = 16;

/// Fills whole sectors, of which `first` is the first.
pub(crate) fn fill(seed: u16, first: u64, bytes: &mut [u8]) {
    for (sector, bytes) in (first..).zip(bytes.chunks_mut(SECTOR)) {
        for (number, line) in (0..).zip(bytes.chunks_mut(LINE)) {
            for (place, byte) in line.iter_mut().zip(text(seed, sector, number)) {
                *place = byte;
            }
        }
    }
}

/// The first sector that differs, if one does.
pub(crate) fn compare(seed: u16, first: u64, bytes: &[u8]) -> Result<(), u64> {
    for (sector, bytes) in (first..).zip(bytes.chunks(SECTOR)) {
        let same =
            (0..).zip(bytes.chunks(LINE)).all(|(number, line)| line == text(seed, sector, number));
        if !same {
            return Err(sector);
        }
    }
    Ok(())
}

fn text(seed: u16, sector: u64, number: u8) -> [u8; LINE] {
    let mut line = [b' '; LINE];
    digits(&mut line[..4], seed.into());
    digits(&mut line[5..13], sector);
    digits(&mut line[13..15], number.into());
    line[15] = b'\n';
    line
}

/// The lowest digits of `number`, as many as there is space for.
fn digits(places: &mut [u8], mut number: u64) {
    for place in places.iter_mut().rev() {
        let [digit, ..] = (number & 15).to_le_bytes();
        *place = if digit < 10 { b'0' + digit } else { b'a' + digit - 10 };
        number >>= 4;
    }
}

/// CRC-32 as in gzip, bit by bit.
#[derive(Debug)]
pub(crate) struct Crc(u32);

impl Default for Crc {
    fn default() -> Self {
        Crc(u32::MAX)
    }
}

impl Crc {
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 ^= u32::from(*byte);
            for _ in 0..8 {
                self.0 = self.0 >> 1 ^ if self.0 & 1 == 1 { 0xedb8_8320 } else { 0 };
            }
        }
    }

    pub(crate) fn value(&self) -> u32 {
        !self.0
    }
}
