#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt;

use super::fixture::{Elf, bzimage, compressed, note};
use super::*;

fn open(bytes: impl Into<Vec<u8>>, kind: GuestType) -> Result<KernelImage, ImageError> {
    KernelImage::from_bytes(bytes.into(), "/k", kind)
}

fn pv_message(bytes: impl Into<Vec<u8>>) -> String {
    open(bytes, GuestType::Pv).unwrap_err().to_string()
}

#[test]
fn a_pv_kernel() {
    let bytes = Elf::pv().build();
    let image = open(bytes.clone(), GuestType::Pv).unwrap();
    assert_eq!(image.bytes(), bytes);
    assert_eq!(image.compression(), None);
    assert_eq!(image.entry(), 0xffff_ffff_8010_0010);
    assert_eq!(image.loaded_size(), 0x10_3000);
    let notes = image.notes();
    assert_eq!(notes.guest_os.as_deref(), Some("linux"));
    assert_eq!(notes.loader.as_deref(), Some("generic"));
    assert_eq!(notes.hypercall_page, Some(0xffff_ffff_8010_1000));
    assert_eq!(notes.required_features().collect::<Vec<_>>(), ["writable_page_tables"]);
    assert!(!notes.needs_low_rsdp());
    assert!(open(Elf::pv().without(17).build(), GuestType::Pv).unwrap().notes().needs_low_rsdp());
}

#[test]
fn a_pvh_kernel() {
    let image = open(Elf::pvh().build(), GuestType::Pvh).unwrap();
    assert_eq!(image.entry(), 0x10_0020);
    assert!(!image.notes().needs_low_rsdp());
    let small = Elf { bits: 32, machine: 3, ..Elf::pvh() };
    assert_eq!(open(small.build(), GuestType::Pvh).unwrap().entry(), 0x10_0020);
}

#[test]
fn notes_may_be_in_sections() {
    let bytes = Elf { note_section: true, ..Elf::pv() }.build();
    assert!(open(bytes, GuestType::Pv).is_ok());
}

// Xen's loader takes the ELF entry point where there is no note; mini-os counts on it.
#[test]
fn a_pv_kernel_without_entry_note() {
    let elf = Elf::pv().without(1).with(3, &0_u64.to_le_bytes());
    assert_eq!(open(elf.build(), GuestType::Pv).unwrap().entry(), 0x10_0004);
}

#[test]
fn every_way_of_compression() {
    let bytes = Elf::pv().build();
    for (name, data) in compressed(&bytes) {
        for data in [bzimage(&data), data] {
            let image = open(data, GuestType::Pv).unwrap();
            assert_eq!(image.compression().unwrap().to_string(), name);
            assert_eq!(image.bytes(), bytes);
        }
    }
    // Without the size behind the data, as the command-line tools make it.
    for (name, mut data) in compressed(&bytes) {
        if name != "gzip" {
            data.truncate(data.len() - 4);
        }
        assert_eq!(open(data, GuestType::Pv).unwrap().bytes(), bytes, "{name}");
    }
    let plain = open(bzimage(&bytes), GuestType::Pv).unwrap();
    assert_eq!(plain.compression(), None);
    assert_eq!(plain.bytes(), bytes);
}

#[test]
fn large_images_span_lz4_chunks() {
    let mut bytes = Elf::pv().build();
    bytes.resize((8 << 20) + 123_456, 7);
    for (name, data) in compressed(&bytes) {
        assert!(open(bzimage(&data), GuestType::Pv).unwrap().bytes() == bytes, "{name}");
    }
}

#[test]
fn damaged_compressed_data() {
    let mut bytes = Elf::pv().build();
    bytes.extend((0_u32..4096).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()));
    for (name, data) in compressed(&bytes) {
        let cut = open(&data[..data.len() / 2], GuestType::Pv).unwrap_err();
        assert!(matches!(cut.problem, ImageProblem::Damaged(..)), "{name}: {cut}");
        assert!(
            cut.to_string().starts_with(&format!("kernel /k: its {name} data is damaged: ")),
            "{cut}"
        );
        assert!(cut.io().is_some());
        let mut broken = data;
        let middle = broken.len() / 2;
        broken[middle..middle + 64].fill(0xff);
        // lz4 and lzma have no checksum, so a broken image may come out, but not a panic.
        let result = open(broken, GuestType::Pv);
        assert!(result.is_err() || matches!(name, "lz4" | "lzma"), "{name}");
    }
}

#[test]
fn what_is_uncompressed_is_bounded() {
    let limit = 1 << 20;
    for (name, data) in compressed(&vec![0; 9 << 20]) {
        let error = unwrap(data, limit).unwrap_err();
        assert!(
            matches!(error, ImageProblem::TooLargeInside { limit: 0x10_0000 }),
            "{name}: {error}"
        );
    }
    // A gzip stream that announces 4 GiB does not get them.
    let mut data = compressed(&Elf::pv().build()).remove(0).1;
    let end = data.len();
    data[end - 4..].fill(0xff);
    assert!(unwrap(data, limit).is_err());
}

#[test]
fn what_is_no_kernel() {
    let mut tar = vec![0; 1024];
    tar[257..262].copy_from_slice(b"ustar");
    let table: [(Vec<u8>, &str); 10] = [
        (vec![], "kernel /k: it is empty"),
        (
            b"#!/bin/sh\n".to_vec(),
            "kernel /k: it is no ELF image and no Linux bzImage; it looks like a script",
        ),
        (
            b"{ \"name\": 1 }\n".to_vec(),
            "kernel /k: it is no ELF image and no Linux bzImage; it looks like text",
        ),
        (
            b"070701000".to_vec(),
            "kernel /k: it is no ELF image and no Linux bzImage; it looks like a cpio archive, as \
             a ramdisk is",
        ),
        (
            vec![1, 2, 3],
            "kernel /k: it is no ELF image and no Linux bzImage; it looks like unknown data that \
             starts with 01 02 03",
        ),
        (
            b"BZh91AY".to_vec(),
            "kernel /k: it is compressed with bzip2, which is not supported; gzip, xz, zstd, lz4 \
             (legacy) and lzma are",
        ),
        (
            bzimage(&[0x89, b'L', b'Z', b'O']),
            "kernel /k: it is compressed with lzo, which is not supported; gzip, xz, zstd, lz4 \
             (legacy) and lzma are",
        ),
        (
            compressed(&tar).remove(0).1,
            "kernel /k: it holds no ELF image but, compressed with gzip, what looks like a tar \
             archive",
        ),
        (
            b"\x7fELF".to_vec(),
            "kernel /k: it is cut off: 4 bytes of the 64 that its headers announce",
        ),
        (
            b"\x7fELF\x02\x02\x01".to_vec(),
            "kernel /k: it is an ELF image for a big-endian processor, not for x86-64",
        ),
    ];
    for (bytes, expected) in table {
        assert_eq!(pv_message(bytes), expected);
    }
}

#[test]
fn what_is_the_wrong_elf() {
    let table = [
        (
            Elf { bits: 32, machine: 3, ..Elf::pv() },
            "it is a 32-bit ELF image; 32-bit PV guests are not supported",
        ),
        (Elf { machine: 183, ..Elf::pv() }, "it is an ELF image for arm64, not for x86-64"),
        (
            Elf { kind: 1, ..Elf::pv() },
            "it is an object file (.o or .ko) and not an executable ELF image",
        ),
        (
            Elf { in_memory: 0x10, ..Elf::pv() },
            "its ELF headers are damaged: a segment is larger in the file than in memory",
        ),
        (Elf { notes: vec![], ..Elf::pv() }, "it is no Xen guest's kernel: it has no Xen notes"),
        (
            Elf { notes: vec![], section: Some("__xen_guest"), ..Elf::pv() },
            "it has a __xen_guest section in place of Xen notes, which is not supported",
        ),
        (
            Elf::pvh(),
            "it is no PV kernel: its Xen notes are those of a PVH kernel; give `type` \"pvh\"",
        ),
        (
            Elf::pv().with(18, &[0; 4]).without(1),
            "it is no PV kernel: it has a PVH entry point, but no PV one; give `type` \"pvh\"",
        ),
        (
            Elf::pv().with(6, b"NetBSD\0").without(8),
            "it is no PV kernel: its Xen notes name neither the loader \"generic\" nor the system \
             \"linux\"",
        ),
        (
            Elf::pv().with(5, b"xen-4.0\0"),
            "it is no PV kernel: its Xen notes are for \"xen-4.0\", not for \"xen-3.0\"",
        ),
        (Elf::pv().with(10, b"!dom0\0"), "it requires the Xen feature dom0, which no guest has"),
        (
            Elf::pv().without(3).with(4, &[0; 8]),
            "its Xen notes are damaged: PADDR_OFFSET without VIRT_BASE",
        ),
        (
            Elf::pv().with(1, &[0; 8]),
            "its pv entry point 0x0 is outside of what is loaded, 0xffffffff80100000 to \
             0xffffffff80103000",
        ),
    ];
    for (elf, expected) in table {
        assert_eq!(pv_message(elf.build()), format!("kernel /k: {expected}"));
    }
    assert_eq!(
        open(Elf::pv().build(), GuestType::Pvh).unwrap_err().to_string(),
        "kernel /k: it has no PVH entry point: the Xen note PHYS32_ENTRY is missing"
    );
}

#[test]
fn what_is_cut_off_says_by_how_much() {
    let bytes = Elf::pv().build();
    for length in [8, 32, 63, 64, 0x800, 0x1fff, 0x2010, bytes.len() - 1] {
        let error = open(&bytes[..length], GuestType::Pv).unwrap_err();
        assert!(
            matches!(
                error.problem,
                ImageProblem::Truncated { expected, actual }
                    if actual == length as u64 && expected > actual
            ),
            "{length}: {error}"
        );
    }
    let image = bzimage(&bytes);
    let error = open(&image[..image.len() - 600], GuestType::Pv).unwrap_err();
    let expected = format!(
        "kernel /k: it is cut off: {} bytes of the {}",
        image.len() - 600,
        image.len() - 512
    );
    assert!(error.to_string().starts_with(&expected), "{error}");
}

#[test]
fn old_boot_protocols() {
    let mut image = bzimage(b"x");
    image[0x206..0x208].copy_from_slice(&0x0206_u16.to_le_bytes());
    assert_eq!(
        pv_message(image),
        "kernel /k: it is a Linux image of boot protocol 2.06; 2.08 or newer is needed"
    );
}

#[test]
fn a_note_that_is_cut_off_ends_the_notes() {
    let mut data = note(b"Xen\0", 1, &[5]);
    data.extend_from_slice(&note(b"Xen\0", 6, b"linux\0")[..14]);
    let mut notes = XenNotes::default();
    assert_eq!(notes.read(&data), 1);
    assert_eq!((notes.entry, notes.guest_os), (Some(5), None));
    let mut huge = note(b"Xen\0", 1, &[5]);
    huge[..8].fill(0xff);
    assert_eq!(XenNotes::default().read(&huge), 0);
}

#[test]
fn memory() {
    let image = open(Elf { in_memory: 3 << 20, ..Elf::pv() }.build(), GuestType::Pv).unwrap();
    let ramdisk = Ramdisk { path: "/r".into(), bytes: vec![0; 1 << 20] };
    assert!(image.check_memory(MiB::new(4), None).is_ok());
    assert_eq!(
        image.check_memory(MiB::new(4), Some(&ramdisk)).unwrap_err().to_string(),
        "kernel /k: it needs 5 MiB at least, and the guest has 4 MiB"
    );
}

#[test]
fn files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("k");
    let problem = |path: &Path| KernelImage::open(path, GuestType::Pv).unwrap_err().problem;
    assert!(matches!(problem(&path), ImageProblem::Missing));
    assert!(matches!(problem(folder.path()), ImageProblem::Folder));
    assert!(matches!(problem(Path::new("/dev/zero")), ImageProblem::Special));
    std::fs::write(&path, "").unwrap();
    assert!(matches!(problem(&path), ImageProblem::Empty));
    std::fs::write(&path, Elf::pv().build()).unwrap();
    assert_eq!(KernelImage::open(&path, GuestType::Pv).unwrap().path(), path);
    assert!(matches!(problem(&path.join("below")), ImageProblem::Unreadable(_)));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
    // Root may read it all the same.
    if std::fs::read(&path).is_err() {
        assert!(matches!(problem(&path), ImageProblem::Unreadable(_)));
    }
    let sparse = folder.path().join("sparse");
    std::fs::File::create(&sparse).unwrap().set_len(MAX_KERNEL + 1).unwrap();
    assert!(matches!(problem(&sparse), ImageProblem::TooLarge { .. }));

    let missing = Ramdisk::open(folder.path().join("r")).unwrap_err().to_string();
    assert_eq!(missing, format!("ramdisk {}/r: there is no such file", folder.path().display()));
    std::fs::write(folder.path().join("r"), b"070701").unwrap();
    assert_eq!(Ramdisk::open(folder.path().join("r")).unwrap().bytes(), b"070701");
}

mod properties {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;

    static COMPRESSED: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
        compressed(&Elf::pv().build()).iter().map(|(_, data)| bzimage(data)).collect()
    });

    fn kinds() -> impl Strategy<Value = GuestType> {
        prop::sample::select(GuestType::ALL)
    }

    proptest! {
        #[test]
        fn no_bytes_are_a_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..600),
            kind in kinds(),
        ) {
            let _ = open(bytes, kind);
        }

        #[test]
        fn no_damaged_elf_is_a_panic(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..16),
            in_headers in 0_usize..4,
            cut in prop::option::of(any::<prop::sample::Index>()),
            wide: bool,
            kind in kinds(),
        ) {
            let elf = if wide { Elf::pv() } else { Elf { bits: 32, machine: 3, ..Elf::pvh() } };
            let mut bytes = elf.build();
            // The filling between 0x100 and 0x2000 is of no interest, the headers are.
            for (count, (at, value)) in changes.into_iter().enumerate() {
                let behind = 0x2000;
                let at = match count < in_headers {
                    true => at.index(0xc0),
                    false => behind + at.index(bytes.len() - behind),
                };
                bytes[at] = value;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            if let Ok(image) = open(bytes, kind) {
                prop_assert!(image.loaded_size() > 0);
            }
        }

        #[test]
        fn no_damaged_bzimage_is_a_panic(
            way in 0_usize..5,
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
            header in prop::collection::vec((0x1f0_usize..0x250, any::<u8>()), 0..4),
            kind in kinds(),
        ) {
            let mut bytes = COMPRESSED[way].clone();
            for (at, value) in changes {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            for (at, value) in header {
                bytes[at] = value;
            }
            let _ = open(bytes, kind);
        }

        #[test]
        fn no_notes_are_a_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            sizes in any::<[u8; 3]>(),
        ) {
            let mut data = note(b"Xen\0", u32::from(sizes[2] % 20), &bytes);
            data[0] = sizes[0];
            data[4] = sizes[1];
            XenNotes::default().read(&data);
            XenNotes::default().read(&bytes);
        }
    }
}
