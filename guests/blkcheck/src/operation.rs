//! The operations, as they stand on the command line:
//!
//! ```text
//!   info                        what the disk is
//!   write:SEED:SECTOR:COUNT     writes the pattern
//!   verify:SEED:SECTOR:COUNT    reads, and compares with the pattern
//!   read:SECTOR:COUNT           reads, and tells the CRC-32
//!   flush                       makes what was written last
//! ```

use core::fmt;

use guest_runtime::blk::{Disk, DiskError, Geometry, SECTOR};
use guest_runtime::{Instant, Source};

use crate::pattern;

/// Bytes that are read or written at once: one request of the disk's, and whole sectors of 4096
/// bytes.
pub(crate) const BUFFER: usize = 64 * SECTOR;

/// Some of a disk's sectors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    first: u64,
    count: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Operation {
    Info,
    Write(u16, Range),
    Verify(u16, Range),
    Read(Range),
    Flush,
}

/// What came out.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    Is(Geometry),
    Done(u64),
    Checksum(u64, u32),
    Flushed,
}

/// Why it failed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Failure {
    Disk(DiskError),
    Differs(u64),
}

impl From<DiskError> for Failure {
    fn from(error: DiskError) -> Self {
        Failure::Disk(error)
    }
}

impl Operation {
    pub(crate) fn parse(text: &str) -> Option<Operation> {
        let mut words = text.split(':');
        let name = words.next()?;
        let mut number = || words.next()?.parse::<u64>().ok();
        let operation = match name {
            "info" => Operation::Info,
            "flush" => Operation::Flush,
            "read" => Operation::Read(Range { first: number()?, count: number()? }),
            "write" | "verify" => {
                let seed = number()?.try_into().ok()?;
                let range = Range { first: number()?, count: number()? };
                if name == "write" {
                    Operation::Write(seed, range)
                } else {
                    Operation::Verify(seed, range)
                }
            }
            _ => return None,
        };
        words.next().is_none().then_some(operation)
    }

    /// Does it. `wait` is how to wait for the disk.
    pub(crate) fn perform(
        self,
        disk: &mut Disk,
        wait: impl FnMut(&mut dyn Source, Instant) -> bool,
        buffer: &mut [u8],
    ) -> Result<Outcome, Failure> {
        let geometry = disk.geometry();
        let mut disk = disk.waiting(wait);
        match self {
            Operation::Info => Ok(Outcome::Is(geometry.ok_or(DiskError::NotConnected)?)),
            Operation::Flush => {
                disk.flush()?;
                Ok(Outcome::Flushed)
            }
            Operation::Write(seed, range) => {
                range.each(buffer, |first, bytes| {
                    pattern::fill(seed, first, bytes);
                    Ok(disk.write(first, bytes)?)
                })?;
                Ok(Outcome::Done(range.count))
            }
            Operation::Verify(seed, range) => {
                range.each(buffer, |first, bytes| {
                    // What the buffer has from before must not pass for what was read.
                    bytes.fill(0);
                    disk.read(first, bytes)?;
                    pattern::compare(seed, first, bytes).map_err(Failure::Differs)
                })?;
                Ok(Outcome::Done(range.count))
            }
            Operation::Read(range) => {
                let mut crc = pattern::Crc::default();
                range.each(buffer, |first, bytes| {
                    disk.read(first, bytes)?;
                    crc.add(bytes);
                    Ok(())
                })?;
                Ok(Outcome::Checksum(range.count, crc.value()))
            }
        }
    }
}

impl Range {
    /// Does something with the sectors, as many at once as there is space for in `buffer`.
    fn each(
        self,
        buffer: &mut [u8],
        mut perform: impl FnMut(u64, &mut [u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let (mut first, mut left) = (self.first, self.count);
        while left > 0 {
            let count = left.min((buffer.len() / SECTOR) as u64);
            let length = usize::try_from(count).unwrap_or_default() * SECTOR;
            perform(first, buffer.get_mut(..length).unwrap_or_default())?;
            first = first.checked_add(count).ok_or(DiskError::Range)?;
            left -= count;
        }
        Ok(())
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operation::Info => "info",
            Operation::Write(..) => "write",
            Operation::Verify(..) => "verify",
            Operation::Read(_) => "read",
            Operation::Flush => "flush",
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Is(Geometry { sectors, sector_size, read_only, flush }) => {
                let access = if *read_only { "read-only" } else { "writable" };
                let cache = if *flush { "with flush" } else { "without flush" };
                write!(f, "{sectors} sectors, {sector_size} bytes each, {access}, {cache}")
            }
            Outcome::Done(count) => write!(f, "ok {count} sectors"),
            Outcome::Checksum(count, crc) => write!(f, "ok {count} sectors, crc32 {crc:08x}"),
            Outcome::Flushed => f.write_str("ok"),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Disk(error) => error.fmt(f),
            Failure::Differs(sector) => write!(f, "sector {sector} differs"),
        }
    }
}
