//! Kernel images made by hand, byte by byte, for the tests of the parsers.

#![allow(clippy::unwrap_used)]

use std::io::Write;

/// An ELF image to be: the defaults are a PV guest's kernel.
#[derive(Clone)]
pub(super) struct Elf {
    pub(super) bits: u8,
    pub(super) machine: u16,
    pub(super) kind: u16,
    pub(super) address: u64,
    pub(super) in_memory: u64,
    pub(super) notes: Vec<(u32, Vec<u8>)>,
    /// Notes in a section in place of a segment.
    pub(super) note_section: bool,
    /// The name of an additional section.
    pub(super) section: Option<&'static str>,
}

impl Elf {
    pub(super) fn pv() -> Self {
        let base = 0xffff_ffff_8000_0000_u64;
        Self {
            bits: 64,
            machine: 62,
            kind: 2,
            address: 0x10_0000,
            in_memory: 0x3000,
            notes: vec![
                (6, b"linux\0".to_vec()),
                (5, b"xen-3.0\0".to_vec()),
                (8, b"generic\0".to_vec()),
                (3, base.to_le_bytes().to_vec()),
                (1, (base + 0x10_0010).to_le_bytes().to_vec()),
                (2, (base + 0x10_1000).to_le_bytes().to_vec()),
                (10, b"!writable_page_tables|auto_translated_physmap\0".to_vec()),
                (17, 0x8801_u32.to_le_bytes().to_vec()),
            ],
            note_section: false,
            section: None,
        }
    }

    pub(super) fn pvh() -> Self {
        Self { notes: vec![(18, 0x10_0020_u32.to_le_bytes().to_vec())], ..Self::pv() }
    }

    pub(super) fn without(mut self, note: u32) -> Self {
        self.notes.retain(|&(kind, _)| kind != note);
        self
    }

    pub(super) fn with(self, note: u32, desc: &[u8]) -> Self {
        let mut elf = self.without(note);
        elf.notes.push((note, desc.to_vec()));
        elf
    }

    /// Header, segments, loaded bytes (0x1000 of them, at 0x1000), notes, section names, sections.
    pub(super) fn build(&self) -> Vec<u8> {
        let notes = self.note_bytes();
        let wide = self.bits == 64;
        let (header_size, segment_size, section_size) =
            if wide { (64, 56, 64) } else { (52, 32, 40) };
        let notes_at = 0x2000;
        let names_at = notes_at + notes.len();
        let mut names = b"\0.notes\0".to_vec();
        let own_name = names.len();
        names.extend_from_slice(self.section.unwrap_or("none").as_bytes());
        names.push(0);
        let sections_at = (names_at + names.len()).next_multiple_of(8);

        let mut out = vec![0x7f, b'E', b'L', b'F', if wide { 2 } else { 1 }, 1, 1];
        out.resize(16, 0);
        let word = |out: &mut Vec<u8>, value: u64| {
            let bytes = value.to_le_bytes();
            out.extend_from_slice(if wide { &bytes } else { &bytes[..4] });
        };
        let short = |out: &mut Vec<u8>, value: u16| out.extend_from_slice(&value.to_le_bytes());
        let int = |out: &mut Vec<u8>, value: usize| {
            out.extend_from_slice(&u32::try_from(value).unwrap().to_le_bytes())
        };
        short(&mut out, self.kind);
        short(&mut out, self.machine);
        int(&mut out, 1);
        word(&mut out, self.address + 4);
        word(&mut out, header_size);
        word(&mut out, sections_at as u64);
        int(&mut out, 0);
        for value in [header_size, segment_size, 2, section_size, 4, 3] {
            short(&mut out, u16::try_from(value).unwrap());
        }
        let note_kind = if self.note_section { 0 } else { 4 };
        let segments = [
            (1, 0x1000, self.address, 0x1000, self.in_memory),
            (note_kind, notes_at as u64, 0, notes.len() as u64, notes.len() as u64),
        ];
        for (kind, offset, address, in_file, in_memory) in segments {
            int(&mut out, kind);
            if wide {
                int(&mut out, 7);
            }
            for value in [offset, address, address, in_file, in_memory] {
                word(&mut out, value);
            }
            if !wide {
                int(&mut out, 7);
            }
            word(&mut out, 4);
        }
        out.resize(0x1000, 0);
        out.resize(0x2000, 0xcc);
        out.extend_from_slice(&notes);
        out.extend_from_slice(&names);
        out.resize(sections_at, 0);
        let sections = [
            (0, 0, 0, 0),
            (1, if self.note_section { 7 } else { 1 }, notes_at, notes.len()),
            (own_name, 1, names_at, 1),
            (0, 3, names_at, names.len()),
        ];
        for (name, kind, offset, size) in sections {
            int(&mut out, name);
            int(&mut out, kind);
            for value in [0, 0, offset, size] {
                word(&mut out, value as u64);
            }
            int(&mut out, 0);
            int(&mut out, 0);
            word(&mut out, 4);
            word(&mut out, 0);
        }
        out
    }

    fn note_bytes(&self) -> Vec<u8> {
        // The first note is another owner's, with a name whose length is no multiple of four.
        let mut out = note(b"LinuxX\0", 1, &[1, 2, 3]);
        for (kind, desc) in &self.notes {
            out.extend_from_slice(&note(b"Xen\0", *kind, desc));
        }
        out
    }
}

pub(super) fn note(name: &[u8], kind: u32, desc: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for value in [u32::try_from(name.len()).unwrap(), u32::try_from(desc.len()).unwrap(), kind] {
        out.extend_from_slice(&value.to_le_bytes());
    }
    for part in [name, desc] {
        out.extend_from_slice(part);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    out
}

/// A bzImage around a payload, as the kernel's build makes it.
pub(super) fn bzimage(payload: &[u8]) -> Vec<u8> {
    let code_before = 0x200_u32;
    let mut out = vec![0; 512 * 3];
    out[0] = b'M';
    out[1] = b'Z';
    out[0x1f1] = 2;
    out[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    out[0x202..0x206].copy_from_slice(b"HdrS");
    out[0x206..0x208].copy_from_slice(&0x020f_u16.to_le_bytes());
    out[0x248..0x24c].copy_from_slice(&code_before.to_le_bytes());
    out[0x24c..0x250].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
    out.resize(out.len() + usize::try_from(code_before).unwrap(), 0x90);
    out.extend_from_slice(payload);
    out.extend_from_slice(&[0; 512]);
    out
}

/// The data in each of the ways that we can undo, as the kernel's build does it: all but gzip with
/// the size behind it.
pub(super) fn compressed(data: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let size = u32::try_from(data.len()).unwrap().to_le_bytes();
    let sized = |mut bytes: Vec<u8>| {
        bytes.extend_from_slice(&size);
        bytes
    };
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(data).unwrap();
    let mut xz = liblzma::write::XzEncoder::new_stream(Vec::new(), xz_as_linux());
    xz.write_all(data).unwrap();
    let mut zstd = zstd::Encoder::new(Vec::new(), 3).unwrap();
    zstd.include_checksum(true).unwrap();
    zstd.write_all(data).unwrap();
    let options = liblzma::stream::LzmaOptions::new_preset(6).unwrap();
    let stream = liblzma::stream::Stream::new_lzma_encoder(&options).unwrap();
    let mut lzma = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
    lzma.write_all(data).unwrap();
    let mut lz4 = 0x184c_2102_u32.to_le_bytes().to_vec();
    for chunk in data.chunks(8 << 20) {
        let chunk = lz4_flex::block::compress(chunk);
        lz4.extend_from_slice(&u32::try_from(chunk.len()).unwrap().to_le_bytes());
        lz4.extend_from_slice(&chunk);
    }
    vec![
        ("gzip", gzip.finish().unwrap()),
        ("xz", sized(xz.finish().unwrap())),
        ("lzma", sized(lzma.finish().unwrap())),
        ("zstd", sized(zstd.finish().unwrap())),
        ("lz4", sized(lz4)),
    ]
}

/// xz with the x86 filter and CRC32, as scripts/xz_wrap.sh of Linux calls it.
fn xz_as_linux() -> liblzma::stream::Stream {
    let mut options = liblzma::stream::LzmaOptions::new_preset(6).unwrap();
    options.dict_size(32 << 20);
    let mut filters = liblzma::stream::Filters::new();
    filters.x86().lzma2(&options);
    liblzma::stream::Stream::new_stream_encoder(&filters, liblzma::stream::Check::Crc32).unwrap()
}
