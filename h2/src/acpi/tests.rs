#![allow(clippy::unwrap_used)]

use super::memory::{MemoryKind, MemoryRange};
use super::*;
use crate::id::{KiB, MiB, PAGE_SIZE};

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*bytes[at..].first_chunk().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().unwrap())
}

/// What lies at an address of the guest, if that is in a module.
fn at(acpi: &AcpiTables, address: u64) -> &[u8] {
    let module = acpi.modules().iter().find(|module| {
        (module.address..module.address + module.bytes.len() as u64).contains(&address)
    });
    let module = module.unwrap();
    &module.bytes[usize::try_from(address - module.address).unwrap()..]
}

/// The table at an address, found good, without its header.
fn table<'a>(acpi: &'a AcpiTables, address: u64, signature: &[u8]) -> &'a [u8] {
    let bytes = at(acpi, address);
    assert_eq!(&bytes[..4], signature);
    assert_eq!(address % 16, 0);
    let length = usize::try_from(u32_at(bytes, 4)).unwrap();
    assert_eq!(sum(&bytes[..length]), 0, "{}", String::from_utf8_lossy(signature));
    &bytes[36..length]
}

/// Follows the pointers as a guest does, and returns the entries of the MADT.
fn walk(acpi: &AcpiTables) -> Vec<[u8; 8]> {
    let rsdp = at(acpi, acpi.modules()[0].address);
    assert_eq!(&rsdp[..8], b"RSD PTR ");
    assert_eq!((rsdp[15], sum(&rsdp[..20]), sum(&rsdp[..36])), (2, 0, 0));
    let xsdt = table(acpi, u64_at(rsdp, 24), b"XSDT");
    assert_eq!(xsdt.len(), 16);
    let fadt = table(acpi, u64_at(xsdt, 0), b"FACP");
    assert_eq!(fadt.len() + 36, 268);
    assert_eq!(u32_at(fadt, 112 - 36), 0x10_0035);
    assert_eq!(fadt[109 - 36], 0x24);
    let dsdt = u64_at(fadt, 140 - 36);
    assert_eq!(u64::from(u32_at(fadt, 40 - 36)), dsdt);
    assert_eq!(table(acpi, dsdt, b"DSDT"), b"\x10\x06\\_SB_");
    let madt = table(acpi, u64_at(xsdt, 8), b"APIC");
    assert_eq!((u32_at(madt, 0), u32_at(madt, 4)), (0xfee0_0000, 0));
    madt[8..].as_chunks().0.to_vec()
}

#[test]
fn a_guest_finds_all_tables() {
    for low in [false, true] {
        for vcpus in [1, 2, 127, 128] {
            let acpi = AcpiTables::new(vcpus, low);
            let processors = walk(&acpi);
            assert_eq!(u32::try_from(processors.len()).unwrap(), vcpus);
            for (number, processor) in (0..).zip(processors) {
                assert_eq!(processor, [0, 8, number, number * 2, 1, 0, 0, 0]);
            }
            assert!(acpi.modules().iter().all(|module| module.bytes.len() as u64 <= PAGE_SIZE));
        }
    }
    assert_eq!(walk(&AcpiTables::new(1000, false)).len(), 128);
}

#[test]
fn the_rsdp_is_where_the_kernel_looks() {
    let acpi = AcpiTables::new(1, false);
    assert_eq!(
        acpi.modules().iter().map(|module| module.address).collect::<Vec<_>>(),
        [0xfc00_0000]
    );
    let acpi = AcpiTables::new(1, true);
    assert_eq!(
        acpi.modules().iter().map(|module| module.address).collect::<Vec<_>>(),
        [0xf_ffc0, 0xfc00_0000]
    );
}

#[test]
fn the_map_of_a_small_guest() {
    let memory = PvhMemory::new(MiB::new(16).to_kib().unwrap());
    assert_eq!((memory.lowmem_end, memory.highmem_end), (16 << 20, 0));
    let entries = |low| {
        let map = memory.map(&AcpiTables::new(1, low));
        map.iter().map(|range| (range.address, range.size, range.kind.number())).collect::<Vec<_>>()
    };
    let (acpi, special) = ((0xfc00_0000, 0x1000, 3), (0xfeff_8000, 0x8000, 2));
    assert_eq!(entries(false), [(0, 16 << 20, 1), acpi, special]);
    assert_eq!(
        entries(true),
        [(0, 0xf_f000, 1), (0xf_f000, 0x1000, 3), (0x10_0000, 15 << 20, 1), acpi, special]
    );
}

#[test]
fn memory_beside_the_hole() {
    let memory = PvhMemory::new(MiB::new(5120).to_kib().unwrap());
    assert_eq!((memory.lowmem_end, memory.highmem_end), (BASE, (1 << 32) + (1 << 30) + (4 << 24)));
    assert_eq!((memory.mmio_start, memory.mmio_size), (BASE, 0x400_0000));
    let map = memory.map(&AcpiTables::new(1, false));
    assert_eq!(map.last().unwrap().kind, MemoryKind::Ram);
    assert_eq!(map.last().unwrap().address, 1 << 32);
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn maps_are_sorted_and_complete(mib in 1_u64..=16_777_216, low: bool) {
            let kib = MiB::new(mib).to_kib().unwrap();
            let acpi = AcpiTables::new(4, low);
            let map = PvhMemory::new(kib).map(&acpi);
            for pair in map.windows(2) {
                prop_assert!(pair[0].address + pair[0].size <= pair[1].address);
            }
            let whole = |bytes: u64| bytes.is_multiple_of(PAGE_SIZE);
            prop_assert!(map.iter().all(|range| whole(range.address) && whole(range.size)));
            prop_assert!(map.iter().all(|range| range.size > 0));
            let ram = map.iter().filter(|range| range.kind == MemoryKind::Ram);
            let ram: u64 = ram.map(|range| range.size).sum();
            prop_assert_eq!(KiB::new(ram / 1024 + if low { 4 } else { 0 }), kib);
            for module in acpi.modules() {
                let end = module.address + module.bytes.len() as u64;
                let inside = |range: &MemoryRange| {
                    range.address <= module.address && end <= range.address + range.size
                };
                let of_acpi = |range: &MemoryRange| range.kind == MemoryKind::Acpi;
                prop_assert!(map.iter().any(|range| of_acpi(range) && inside(range)));
            }
        }

        #[test]
        fn no_size_is_a_panic(kib: u64, vcpus: u32) {
            let _ = PvhMemory::new(KiB::new(kib)).map(&AcpiTables::new(vcpus, true));
        }
    }
}
