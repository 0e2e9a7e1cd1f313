//! What an ELF image holds, and whether a guest of a type can start from it.

use object::LittleEndian;
use object::elf;
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};

use super::bytes::{len, part, u8_at, u16_at};
use super::error::ImageProblem;
use super::guess::looks_like;
use super::notes::XenNotes;
use crate::config::GuestType;

const ENDIAN: LittleEndian = LittleEndian;
/// Offsets that both classes of ELF headers share.
const EI_CLASS: usize = 4;
const EI_DATA: usize = 5;
const E_MACHINE: usize = 18;

/// What the loader will find in an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) notes: XenNotes,
    /// `e_entry`.
    pub(super) elf_entry: u64,
    /// The first physical address that is loaded.
    pub(super) start: u64,
    /// The physical address behind the last.
    pub(super) end: u64,
}

pub(super) fn is_elf(data: &[u8]) -> bool {
    data.starts_with(&elf::ELFMAG)
}

/// Reads the headers and notes of an ELF image.
pub(super) fn read(data: &[u8], kind: GuestType) -> Result<Facts, ImageProblem> {
    if !is_elf(data) {
        return Err(ImageProblem::NotAKernel(looks_like(data)));
    }
    if u8_at(data, EI_DATA) == Some(2) {
        return Err(ImageProblem::OtherMachine("a big-endian processor".to_owned()));
    }
    let machine = u16_at(data, E_MACHINE);
    match (u8_at(data, EI_CLASS), machine.map(elf::Machine)) {
        (Some(2), Some(elf::EM_X86_64)) => facts::<elf::FileHeader64<LittleEndian>>(data),
        (Some(1), Some(elf::EM_386)) if kind == GuestType::Pvh => {
            facts::<elf::FileHeader32<LittleEndian>>(data)
        }
        (Some(1), Some(elf::EM_386)) => Err(ImageProblem::Bits32),
        (Some(1 | 2), Some(machine)) => Err(ImageProblem::OtherMachine(machine_name(machine))),
        (Some(1 | 2) | None, None) => {
            let expected =
                u64::try_from(size_of::<elf::FileHeader64<LittleEndian>>()).unwrap_or(u64::MAX);
            Err(ImageProblem::Truncated { expected, actual: len(data) })
        }
        (class, _) => {
            Err(ImageProblem::BadElf(format!("{} is no class of ELF files", class.unwrap_or(0))))
        }
    }
}

fn machine_name(machine: elf::Machine) -> String {
    match machine {
        elf::EM_386 => "i386".to_owned(),
        elf::EM_X86_64 => "x86-64 with 32-bit addresses".to_owned(),
        elf::EM_AARCH64 => "arm64".to_owned(),
        elf::EM_ARM => "arm".to_owned(),
        elf::EM_RISCV => "RISC-V".to_owned(),
        elf::EM_PPC64 => "POWER".to_owned(),
        other => format!("machine {}", other.0),
    }
}

fn facts<E: FileHeader<Endian = LittleEndian>>(data: &[u8]) -> Result<Facts, ImageProblem> {
    let bad = |error: object::read::Error| ImageProblem::BadElf(error.to_string());
    let size = u64::try_from(size_of::<E>()).unwrap_or(u64::MAX);
    if len(data) < size {
        return Err(ImageProblem::Truncated { expected: size, actual: len(data) });
    }
    let header = E::parse(data).map_err(bad)?;
    match header.e_type(ENDIAN) {
        elf::ET_EXEC | elf::ET_DYN => {}
        elf::ET_REL => return Err(ImageProblem::NotExecutable("an object file (.o or .ko)")),
        elf::ET_CORE => return Err(ImageProblem::NotExecutable("a core dump")),
        _ => return Err(ImageProblem::NotExecutable("an ELF file of unknown type")),
    }
    complete(header, data)?;
    let segments = header.program_headers(ENDIAN, data).map_err(bad)?;
    let sections = header.section_headers(ENDIAN, data).map_err(bad)?;

    let (start, end) = loaded(segments, data)?;
    let notes = xen_notes(segments, sections, data).ok_or_else(|| {
        let names = header.sections(ENDIAN, data).ok();
        let legacy = names.and_then(|names| names.section_by_name(ENDIAN, b"__xen_guest"));
        legacy.map_or(ImageProblem::NoXenNotes, |_| ImageProblem::LegacyGuestSection)
    })?;
    Ok(Facts { notes, elf_entry: header.e_entry(ENDIAN).into(), start, end })
}

/// The physical addresses that the segments are loaded to, from the first to the one behind the
/// last.
fn loaded<P>(segments: &[P], data: &[u8]) -> Result<(u64, u64), ImageProblem>
where
    P: ProgramHeader<Endian = LittleEndian>,
{
    let (mut start, mut end, mut end_of_file) = (u64::MAX, 0, 0);
    for segment in segments.iter().filter(|segment| segment.p_type(ENDIAN) == elf::PT_LOAD) {
        let in_file: u64 = segment.p_filesz(ENDIAN).into();
        let in_memory: u64 = segment.p_memsz(ENDIAN).into();
        let address: u64 = segment.p_paddr(ENDIAN).into();
        let offset: u64 = segment.p_offset(ENDIAN).into();
        if in_file > in_memory {
            return Err(ImageProblem::BadElf(
                "a segment is larger in the file than in memory".to_owned(),
            ));
        }
        let last = address.checked_add(in_memory);
        let (Some(last), Some(last_in_file)) = (last, offset.checked_add(in_file)) else {
            return Err(ImageProblem::BadElf(
                "a segment reaches behind the last address".to_owned(),
            ));
        };
        start = start.min(address);
        end = end.max(last);
        if in_file > 0 {
            end_of_file = end_of_file.max(last_in_file);
        }
    }
    if end_of_file > len(data) {
        return Err(ImageProblem::Truncated { expected: end_of_file, actual: len(data) });
    }
    if start < end { Ok((start, end)) } else { Err(ImageProblem::NothingToLoad) }
}

/// The Xen notes of the note segments, or, if those have none, of the note sections.
fn xen_notes<P, S>(segments: &[P], sections: &[S], data: &[u8]) -> Option<XenNotes>
where
    P: ProgramHeader<Endian = LittleEndian>,
    S: SectionHeader<Endian = LittleEndian>,
{
    let in_segments = segments
        .iter()
        .filter(|segment| segment.p_type(ENDIAN) == elf::PT_NOTE)
        .map(|segment| (segment.p_offset(ENDIAN).into(), segment.p_filesz(ENDIAN).into()))
        // Some linkers leave the offset of note segments out.
        .filter(|&(offset, _)| offset != 0);
    let in_sections = sections
        .iter()
        .filter(|section| section.sh_type(ENDIAN) == elf::SHT_NOTE)
        .map(|section| (section.sh_offset(ENDIAN).into(), section.sh_size(ENDIAN).into()));

    let mut notes = XenNotes::default();
    let mut count: usize = 0;
    for (offset, length) in in_segments {
        count += part(data, offset, length).map_or(0, |data| notes.read(data));
    }
    if count == 0 {
        for (offset, length) in in_sections {
            count += part(data, offset, length).map_or(0, |data| notes.read(data));
        }
    }
    (count > 0).then_some(notes)
}

/// Whether the tables of segments and sections are all there.
fn complete<E: FileHeader<Endian = LittleEndian>>(
    header: &E,
    data: &[u8],
) -> Result<(), ImageProblem> {
    let end = |offset: u64, count: u16, size: u16| {
        if count == 0 { Some(0) } else { offset.checked_add(u64::from(count) * u64::from(size)) }
    };
    let segments =
        end(header.e_phoff(ENDIAN).into(), header.e_phnum(ENDIAN), header.e_phentsize(ENDIAN));
    let sections =
        end(header.e_shoff(ENDIAN).into(), header.e_shnum(ENDIAN), header.e_shentsize(ENDIAN));
    match segments.zip(sections).map(|(segments, sections)| segments.max(sections)) {
        Some(expected) if expected <= len(data) => Ok(()),
        Some(expected) => Err(ImageProblem::Truncated { expected, actual: len(data) }),
        None => Err(ImageProblem::BadElf("a table reaches behind the last address".to_owned())),
    }
}

impl Facts {
    /// Whether a guest of this type can start from the image: the rules of Xen's loader,
    /// `elf_xen_note_check` and `elf_xen_addr_calc_check` in
    /// xen/common/libelf/libelf-dominfo.c.
    pub(super) fn check(&self, kind: GuestType) -> Result<(), ImageProblem> {
        const KNOWN: [&str; 6] = [
            "writable_page_tables",
            "writable_descriptor_tables",
            "auto_translated_physmap",
            "supervisor_mode_kernel",
            "pae_pgdir_above_4gb",
            "hvm_callback_vector",
        ];
        if let Some(unknown) = self.notes.required_features().find(|name| !KNOWN.contains(name)) {
            return Err(ImageProblem::RequiredFeature(unknown.to_owned()));
        }
        match kind {
            GuestType::Pv => self.check_pv(),
            GuestType::Pvh => self.check_pvh(),
        }
    }

    fn check_pv(&self) -> Result<(), ImageProblem> {
        let starts = |text: &Option<String>, with: &str| {
            text.as_ref().is_some_and(|text| text.starts_with(with))
        };
        let notes = &self.notes;
        if !starts(&notes.loader, "generic") && !starts(&notes.guest_os, "linux") {
            let problem = match notes.phys32_entry {
                Some(_) => {
                    "its Xen notes are those of a PVH kernel; give `type` \"pvh\"".to_owned()
                }
                None => {
                    "its Xen notes name neither the loader \"generic\" nor the system \"linux\""
                        .to_owned()
                }
            };
            return Err(ImageProblem::NotPv(problem));
        }
        if !starts(&notes.xen_version, "xen-3.0") {
            let found = notes.xen_version.as_deref().unwrap_or("no version");
            return Err(ImageProblem::NotPv(format!(
                "its Xen notes are for {found:?}, not for \"xen-3.0\""
            )));
        }
        if notes.entry.is_none() && notes.phys32_entry.is_some() {
            let problem = "it has a PVH entry point, but no PV one; give `type` \"pvh\"".to_owned();
            return Err(ImageProblem::NotPv(problem));
        }
        if notes.paddr_offset.is_some() && notes.virt_base.is_none() {
            return Err(ImageProblem::BadNotes("PADDR_OFFSET without VIRT_BASE"));
        }
        let base = notes.virt_base.unwrap_or(0);
        let shift = base.wrapping_sub(notes.paddr_offset.unwrap_or(0));
        let (start, end) = (self.start.wrapping_add(shift), self.end.wrapping_add(shift));
        if start > end || base > start {
            return Err(ImageProblem::BadNotes(
                "VIRT_BASE and PADDR_OFFSET do not fit its physical addresses",
            ));
        }
        if notes.init_p2m.is_some_and(|p2m| (start..end).contains(&p2m)) {
            return Err(ImageProblem::BadNotes("INIT_P2M lies in the kernel"));
        }
        within(notes.entry.unwrap_or(self.elf_entry), start, end, GuestType::Pv)
    }

    fn check_pvh(&self) -> Result<(), ImageProblem> {
        let entry = self.notes.phys32_entry.ok_or(ImageProblem::NoPvhEntry)?;
        within(entry, self.start, self.end, GuestType::Pvh)
    }

    /// Bytes from the start of the guest's memory to the end of the loaded kernel.
    pub(super) fn size_from_zero(&self, kind: GuestType) -> u64 {
        match kind {
            GuestType::Pv => self.end.saturating_sub(self.notes.paddr_offset.unwrap_or(0)),
            GuestType::Pvh => self.end,
        }
    }
}

fn within(entry: u64, start: u64, end: u64, kind: GuestType) -> Result<(), ImageProblem> {
    if (start..end).contains(&entry) {
        Ok(())
    } else {
        Err(ImageProblem::EntryOutside { kind, entry, start, end })
    }
}
