//! The notes by which a kernel image tells Xen what it is.
//!
//! Source: xen/include/public/elfnote.h and features.h of Xen 4.17. Which notes are read where, and
//! that they are aligned to 4 bytes whatever the segment says, is what Xen's own loader does
//! (xen/common/libelf).

use super::bytes::{len, part, u8_at, u16_at, u32_at, u64_at};

const ENTRY: u32 = 1;
const HYPERCALL_PAGE: u32 = 2;
const VIRT_BASE: u32 = 3;
const PADDR_OFFSET: u32 = 4;
const XEN_VERSION: u32 = 5;
const GUEST_OS: u32 = 6;
const GUEST_VERSION: u32 = 7;
const LOADER: u32 = 8;
const FEATURES: u32 = 10;
const INIT_P2M: u32 = 15;
const MOD_START_PFN: u32 = 16;
const SUPPORTED_FEATURES: u32 = 17;
const PHYS32_ENTRY: u32 = 18;

/// `XENFEAT_linux_rsdp_unrestricted`.
const LINUX_RSDP_UNRESTRICTED: u32 = 15;
/// The longest text that is kept of a note, in bytes.
const MAX_TEXT: usize = 256;

/// What the notes of the owner "Xen" say. A note that is missing is `None`; of two of a kind the
/// later one counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct XenNotes {
    /// `ENTRY`: the virtual address where a PV kernel starts.
    pub entry: Option<u64>,
    /// `HYPERCALL_PAGE`: the virtual address of the page that Xen fills with hypercall stubs.
    pub hypercall_page: Option<u64>,
    /// `VIRT_BASE`: the virtual address that pseudo-physical address 0 is mapped to.
    pub virt_base: Option<u64>,
    /// `PADDR_OFFSET`: what is subtracted from the physical addresses of the ELF headers.
    pub paddr_offset: Option<u64>,
    /// `XEN_VERSION`: the interface version, "xen-3.0".
    pub xen_version: Option<String>,
    /// `GUEST_OS`: the name of the guest's system.
    pub guest_os: Option<String>,
    /// `GUEST_VERSION`: its version.
    pub guest_version: Option<String>,
    /// `LOADER`: the loader that it wants, "generic".
    pub loader: Option<String>,
    /// `FEATURES`: feature names, separated by `|`; with `!` before those that it cannot do
    /// without.
    pub features: Option<String>,
    /// `SUPPORTED_FEATURES`: a bit for each `XENFEAT_` number.
    pub supported_features: Option<u32>,
    /// `INIT_P2M`: the virtual address where it wants its p2m list.
    pub init_p2m: Option<u64>,
    /// `MOD_START_PFN`: whether the ramdisk need not be mapped.
    pub unmapped_ramdisk: bool,
    /// `PHYS32_ENTRY`: the physical address where a PVH kernel starts, in 32-bit mode.
    pub phys32_entry: Option<u64>,
}

impl XenNotes {
    /// Whether this kernel finds the ACPI root pointer only in the BIOS area below 1 MiB: a Linux
    /// that does not say otherwise (before 4.20) ignores the one in the PVH start info.
    #[must_use]
    pub fn needs_low_rsdp(&self) -> bool {
        let unrestricted =
            self.supported_features.is_some_and(|bits| bits & (1 << LINUX_RSDP_UNRESTRICTED) != 0);
        self.guest_os.as_deref() == Some("linux") && !unrestricted
    }

    /// The features that the kernel cannot do without.
    pub fn required_features(&self) -> impl Iterator<Item = &str> {
        self.features
            .as_deref()
            .unwrap_or_default()
            .split('|')
            .filter_map(|name| name.strip_prefix('!'))
    }

    /// Takes over all Xen notes of a segment or section. Returns how many there were. What follows
    /// a note that is cut off is not read.
    pub(super) fn read(&mut self, mut data: &[u8]) -> usize {
        let mut count = 0;
        while let Some(note) = Note::first(data) {
            if note.name == b"Xen\0" {
                self.take(&note);
                count += 1;
            }
            data = note.rest;
        }
        count
    }

    fn take(&mut self, note: &Note<'_>) {
        match note.kind {
            ENTRY => self.entry = Some(note.number()),
            HYPERCALL_PAGE => self.hypercall_page = Some(note.number()),
            VIRT_BASE => self.virt_base = Some(note.number()),
            PADDR_OFFSET => self.paddr_offset = Some(note.number()),
            XEN_VERSION => self.xen_version = Some(note.text()),
            GUEST_OS => self.guest_os = Some(note.text()),
            GUEST_VERSION => self.guest_version = Some(note.text()),
            LOADER => self.loader = Some(note.text()),
            FEATURES => self.features = Some(note.text()),
            INIT_P2M => self.init_p2m = Some(note.number()),
            MOD_START_PFN => self.unmapped_ramdisk = note.number() != 0,
            SUPPORTED_FEATURES => self.supported_features = u32_at(note.desc, 0),
            PHYS32_ENTRY => self.phys32_entry = Some(note.number()),
            _ => {}
        }
    }
}

struct Note<'a> {
    kind: u32,
    name: &'a [u8],
    desc: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Note<'a> {
    fn first(data: &'a [u8]) -> Option<Self> {
        const HEADER: u64 = 12;
        let name_length = u64::from(u32_at(data, 0)?);
        let desc_length = u64::from(u32_at(data, 4)?);
        let kind = u32_at(data, 8)?;
        let name = part(data, HEADER, name_length)?;
        let desc_start = HEADER + name_length.next_multiple_of(4);
        let desc = part(data, desc_start, desc_length)?;
        // The padding behind the last note may be missing.
        let end = (desc_start + desc_length.next_multiple_of(4)).min(len(data));
        let rest = part(data, end, len(data) - end)?;
        Some(Self { kind, name, desc, rest })
    }

    /// The value as a number. What is no number is 0, as Xen's loader takes it.
    fn number(&self) -> u64 {
        let number = match self.desc.len() {
            1 => u8_at(self.desc, 0).map(u64::from),
            2 => u16_at(self.desc, 0).map(u64::from),
            4 => u32_at(self.desc, 0).map(u64::from),
            8 => u64_at(self.desc, 0),
            _ => None,
        };
        number.unwrap_or(0)
    }

    fn text(&self) -> String {
        let text = self.desc.split(|&byte| byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(text.get(..MAX_TEXT).unwrap_or(text)).into_owned()
    }
}
