//! The ACPI tables and the memory map of a PVH guest.
//!
//! A PVH guest has no firmware. It learns its processors from an ACPI MADT and its memory from a
//! map, both of which its builder makes: [`AcpiTables`] and [`PvhMemory`]. libxl has libacpi for
//! the first, which is no library that can be linked; these tables are written after the ACPI
//! specification, version 5.1, and hold less.
//!
//! ```text
//! BASE = 0xfc000000                             one page, of type ACPI in the map
//! +------+------+------------------+------+------+
//! | RSDP | DSDT | FADT, revision 5 | MADT | XSDT |
//! +------+------+------------------+------+------+
//!    |      ^----------' ^           ^       | |
//!    |                   `-----------|-------' |
//!    |                               `---------'
//!    `---------------------------------------^
//! ```
//!
//! What a guest reads there:
//! - FADT: a hardware-reduced platform, which has no ACPI registers, no power management timer, no
//!   8042, no VGA and no CMOS clock. That is what Xen emulates for PVH: a local APIC and nothing
//!   else. (libxl announces PM1 registers that do not answer.)
//! - MADT: one local APIC for each vcpu, with the vcpu's number as its processor UID (Linux makes
//!   its hypercalls with it) and twice the number as its APIC id (`VLAPIC_ID` in Xen's
//!   arch/x86/hvm/vlapic.c).
//! - DSDT: an empty scope. It has no `\_S5`: a guest powers off by `SCHEDOP_shutdown` or by halting
//!   all its vcpus, and a `\_S5` would send it to a register that is not there. It has no processor
//!   objects, as vcpus are not hotplugged by ACPI.
//!
//! # Handing them to libxenguest
//!
//! Read in Xen 4.17: tools/libs/guest/xg_dom_core.c (`xc_dom_load_acpi`) and xg_dom_x86.c
//! (`meminit_hvm`, `alloc_magic_pages_hvm`, `bootlate_hvm`); tools/libs/light/libxl_dom.c
//! (`libxl__build_hvm`) and libxl_x86.c (`domain_construct_memmap`).
//! 1. Before `xc_dom_mem_init` and `xc_dom_boot_mem_init`: `container_type = XC_DOM_HVM_CONTAINER`,
//!    and `lowmem_end`, `highmem_end`, `mmio_start` and `mmio_size` from the fields of
//!    [`PvhMemory`]; `vga_hole_size = 0`, `device_model = false`.
//! 2. The domain may have ten more pages than the guest's memory (`xc_domain_setmaxmem`):
//!    libxenguest populates eight special pages and the pages of the tables on top. Without them it
//!    takes pages from the guest, by code that confuses bytes and pages.
//! 3. After `xc_dom_parse_image`, when
//!    [`XenNotes::needs_low_rsdp`](crate::image::XenNotes::needs_low_rsdp) is known, and before
//!    `xc_dom_build_image`: for the i-th of [`AcpiTables::modules`], `acpi_modules[i].data`,
//!    `.length` and `.guest_addr_out` (its address). The first starts with the RSDP: `bootlate_hvm`
//!    writes its address into the start info. libxenguest neither copies nor frees the data before
//!    `xc_dom_build_image`, which copies it into the guest: the tables must live until that has
//!    returned.
//! 4. Also before `xc_dom_build_image`, which makes room for the map: `e820` and `e820_entries`
//!    from [`PvhMemory::map`]. libxenguest does not free it; it must live until `xc_dom_boot_image`
//!    has returned. The same entries go to `xc_domain_set_memory_map`: kernels that read no map in
//!    the start info ask Xen with `XENMEM_memory_map`.

mod memory;
mod table;

#[cfg(test)]
mod tests;

pub(crate) use self::memory::PvhMemory;
use self::table::{Table, sum_to_zero};

/// Where libxl puts the tables of a PVH guest (`ACPI_INFO_PHYSICAL_ADDRESS` in
/// tools/libs/light/libxl_arch.h).
pub(crate) const BASE: u64 = 0xfc00_0000;
/// Where a kernel searches that ignores the address in the start info: the end of the BIOS area.
const LOW_RSDP: u64 = 0x10_0000 - RSDP_ROOM;

/// Bytes for the RSDP, which has 36.
const RSDP_ROOM: u64 = 64;
/// Tables start at multiples of this.
const ALIGNMENT: usize = 16;
/// What the MADT says of the address of the local APIC: where the processor has it at reset.
const LOCAL_APIC: u32 = 0xfee0_0000;
/// An APIC id is a byte and twice the vcpu's number.
const MAX_VCPUS: u32 = 128;

/// Bytes for the guest, at a guest-physical address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AcpiModule {
    /// Where they go.
    pub(crate) address: u64,
    /// What goes there.
    pub(crate) bytes: Vec<u8>,
}

/// The ACPI tables of a PVH guest, made for where they will lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AcpiTables {
    modules: Vec<AcpiModule>,
}

impl AcpiTables {
    /// Tables for that many vcpus, of which there are 1 to 128 ([`Vcpus`](crate::config::Vcpus)
    /// sees to it; more get no entry). `low_rsdp` is for kernels whose
    /// [`needs_low_rsdp`](crate::image::XenNotes::needs_low_rsdp) says so.
    pub(crate) fn new(vcpus: u32, low_rsdp: bool) -> Self {
        let mut blob = Blob { base: BASE, bytes: Vec::new() };
        if !low_rsdp {
            // The RSDP's room; it is written when the address of the XSDT is known.
            blob.bytes.resize(RSDP_BYTES, 0);
        }
        let dsdt = blob.push(&dsdt());
        let fadt = blob.push(&fadt(dsdt));
        let madt = blob.push(&madt(vcpus.min(MAX_VCPUS)));
        let rsdp = rsdp(blob.push(&xsdt(&[fadt, madt])));
        let mut modules = vec![AcpiModule { address: BASE, bytes: blob.bytes }];
        if low_rsdp {
            modules.insert(0, AcpiModule { address: LOW_RSDP, bytes: rsdp.to_vec() });
        } else if let Some(room) =
            modules.first_mut().and_then(|module| module.bytes.first_chunk_mut())
        {
            *room = rsdp;
        }
        Self { modules }
    }

    /// What goes where; the first one starts with the RSDP.
    pub(crate) fn modules(&self) -> &[AcpiModule] {
        &self.modules
    }

    /// The same, to be handed over.
    pub(crate) fn into_modules(self) -> Vec<AcpiModule> {
        self.modules
    }
}

/// Tables one behind the other.
struct Blob {
    base: u64,
    bytes: Vec<u8>,
}

impl Blob {
    /// Appends a table and returns its address.
    fn push(&mut self, table: &[u8]) -> u64 {
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
        let address = self.base + u64::try_from(self.bytes.len()).unwrap_or(0);
        self.bytes.extend_from_slice(table);
        address
    }
}

const RSDP_BYTES: usize = 36;

/// Root System Description Pointer, ACPI 5.1 section 5.2.5.3, revision 2, without an RSDT.
fn rsdp(xsdt: u64) -> [u8; RSDP_BYTES] {
    let mut bytes = [0; RSDP_BYTES];
    bytes[..8].copy_from_slice(b"RSD PTR ");
    bytes[9..15].copy_from_slice(table::OEM_ID);
    bytes[15] = 2;
    bytes[20] = 36;
    bytes[24..32].copy_from_slice(&xsdt.to_le_bytes());
    // Two checksums: over the first 20 bytes, as in ACPI 1.0, and over all.
    bytes[8] = sum_to_zero(&bytes[..20]);
    bytes[32] = sum_to_zero(&bytes);
    bytes
}

/// Extended System Description Table, section 5.2.8.
fn xsdt(tables: &[u64]) -> Vec<u8> {
    tables.iter().fold(Table::new(b"XSDT", 1), |table, &address| table.u64(address)).finish()
}

/// Fixed ACPI Description Table, section 5.2.9, revision 5: 268 bytes.
fn fadt(dsdt: u64) -> Vec<u8> {
    /// IAPC_BOOT_ARCH: no VGA (2), no CMOS clock (5).
    const BOOT_ARCH: u16 = 1 << 2 | 1 << 5;
    /// WBINVD works (0), C1 on all processors (2), no fixed power and sleep buttons (4, 5),
    /// hardware-reduced (20).
    const FLAGS: u32 = 1 | 1 << 2 | 1 << 4 | 1 << 5 | 1 << 20;
    Table::new(b"FACP", 5)
        .u32(0) // FIRMWARE_CTRL: hardware-reduced platforms need no FACS
        .u32(u32::try_from(dsdt).unwrap_or(0))
        .zeros(109 - 44) // registers, which there are none of
        .u16(BOOT_ARCH)
        .zeros(1)
        .u32(FLAGS)
        .zeros(140 - 116) // reset register, X_FIRMWARE_CTRL
        .u64(dsdt)
        .zeros(268 - 148) // registers, sleep registers
        .finish()
}

/// Multiple APIC Description Table, section 5.2.12.
fn madt(vcpus: u32) -> Vec<u8> {
    const PROCESSOR_LOCAL_APIC: u8 = 0;
    const ENABLED: u32 = 1;
    // Flags 0: there is no dual 8259.
    let table = Table::new(b"APIC", 3).u32(LOCAL_APIC).u32(0);
    (0..=u8::MAX)
        .zip((0..=u8::MAX).step_by(2))
        .zip(0..vcpus)
        .fold(table, |table, ((uid, apic_id), _)| {
            table.u8(PROCESSOR_LOCAL_APIC).u8(8).u8(uid).u8(apic_id).u32(ENABLED)
        })
        .finish()
}

/// Differentiated System Description Table, section 5.2.11.1: the AML of `Scope (\_SB) {}`.
fn dsdt() -> Vec<u8> {
    const SCOPE: u8 = 0x10;
    let name = b"\\_SB_";
    Table::new(b"DSDT", 2).u8(SCOPE).u8(6).bytes(name).finish()
}
