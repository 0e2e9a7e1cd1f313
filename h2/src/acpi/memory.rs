//! Where a PVH guest's memory lies.

use super::{AcpiTables, BASE};
use crate::id::{KiB, PAGE_SIZE};

const FOUR_GIB: u64 = 1 << 32;
/// `X86_HVM_NR_SPECIAL_PAGES` and `X86_HVM_END_SPECIAL_REGION` in tools/include/xenguest.h: the
/// pages of Xenstore, console and the like, which libxenguest puts below 4 GiB.
const SPECIAL_PAGES: u64 = 8;
const SPECIAL_END: u64 = 0xff000 * PAGE_SIZE;
const SPECIAL_START: u64 = SPECIAL_END - SPECIAL_PAGES * PAGE_SIZE;

/// The type of a range in the map: `E820_` of Xen and the address range types of the ACPI
/// specification, section 15.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MemoryKind {
    /// Memory.
    Ram,
    /// Not to be touched by what the guest's kernel puts where it likes.
    Reserved,
    /// Memory that holds ACPI tables.
    Acpi,
}

impl MemoryKind {
    /// The number that stands for it.
    pub(crate) const fn number(self) -> u32 {
        match self {
            Self::Ram => 1,
            Self::Reserved => 2,
            Self::Acpi => 3,
        }
    }
}

/// An entry of the map (`struct e820entry`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MemoryRange {
    /// The first guest-physical address.
    pub(crate) address: u64,
    /// Bytes.
    pub(crate) size: u64,
    /// What is there.
    pub(crate) kind: MemoryKind,
}

/// How a PVH guest's memory is laid out: from 0 up to a hole below 4 GiB, the rest from 4 GiB on.
///
/// The hole takes in the ACPI tables, the local APIC at 0xfee00000 and the special pages, as in
/// libxl. All are bytes, in the units of the fields of `struct xc_dom_image` that they are named
/// after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PvhMemory {
    /// The address behind the memory that lies below 4 GiB.
    pub(crate) lowmem_end: u64,
    /// The address behind the memory that lies above 4 GiB, or 0 if none does.
    pub(crate) highmem_end: u64,
    /// The address where the hole starts.
    pub(crate) mmio_start: u64,
    /// The size of the hole, which ends at 4 GiB.
    pub(crate) mmio_size: u64,
}

impl PvhMemory {
    /// The layout of that much memory.
    pub(crate) fn new(memory: KiB) -> Self {
        let bytes = memory.to_bytes().unwrap_or(u64::MAX - FOUR_GIB);
        let lowmem_end = bytes.min(BASE);
        let high = bytes - lowmem_end;
        Self {
            lowmem_end,
            highmem_end: if high > 0 { FOUR_GIB + high } else { 0 },
            mmio_start: BASE,
            mmio_size: FOUR_GIB - BASE,
        }
    }

    /// The map for the guest: ascending ranges of whole pages that do not overlap.
    ///
    /// The entries of `domain_construct_memmap` in tools/libs/light/libxl_x86.c, except that the
    /// page of a low RSDP is taken out of the memory around it.
    pub(crate) fn map(&self, acpi: &AcpiTables) -> Vec<MemoryRange> {
        let mut map = Vec::with_capacity(6);
        let mut push = |kind, start: u64, end: u64| {
            if start < end {
                map.push(MemoryRange { address: start, size: end - start, kind });
            }
        };
        let mut next = 0;
        let mut modules: Vec<_> = acpi.modules().iter().collect();
        modules.sort_unstable_by_key(|module| module.address);
        for module in modules {
            let start = module.address / PAGE_SIZE * PAGE_SIZE;
            let bytes = u64::try_from(module.bytes.len()).unwrap_or(0);
            let end = (module.address + bytes).next_multiple_of(PAGE_SIZE);
            push(MemoryKind::Ram, next, start.min(self.lowmem_end));
            push(MemoryKind::Acpi, start, end);
            next = end;
        }
        push(MemoryKind::Ram, next, self.lowmem_end);
        push(MemoryKind::Reserved, SPECIAL_START, SPECIAL_END);
        push(MemoryKind::Ram, FOUR_GIB, self.highmem_end);
        map
    }
}
