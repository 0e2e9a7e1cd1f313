//! What a file that is no kernel looks like, for the message that says so.

/// A few words for the content.
pub(super) fn looks_like(data: &[u8]) -> String {
    let known = match data {
        [b'M', b'Z', ..] => "an EFI or DOS program without Linux's boot header",
        [b'#', b'!', ..] => "a script",
        [b'P', b'K', 3, 4, ..] => "a zip archive",
        [b'Q', b'F', b'I', 0xfb, ..] => "a qcow2 disk image",
        [0x27, 0x05, 0x19, 0x56, ..] => "a U-Boot image",
        [0x04, 0x22, 0x4d, 0x18, ..] => "lz4 data",
        [0x1f, 0x8b, ..] => "gzip data",
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => "xz data",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "zstd data",
        data if data.starts_with(b"070701") || data.starts_with(b"070702") => {
            "a cpio archive, as a ramdisk is"
        }
        data if data.starts_with(b"!<arch>\n") => "a static library or Debian package",
        data if has(data, 257, b"ustar") => "a tar archive",
        data if has(data, 0x438, &[0x53, 0xef]) => "an ext2, ext3 or ext4 file system",
        data if has(data, 510, &[0x55, 0xaa]) => "a boot sector or disk image",
        data if is_text(data) => "text",
        data => return unknown(data),
    };
    known.to_owned()
}

fn has(data: &[u8], offset: usize, magic: &[u8]) -> bool {
    data.get(offset..).is_some_and(|data| data.starts_with(magic))
}

fn is_text(data: &[u8]) -> bool {
    let start = data.get(..512).unwrap_or(data);
    start.iter().all(|byte| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~'))
}

fn unknown(data: &[u8]) -> String {
    let start: Vec<String> = data.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("unknown data that starts with {}", start.join(" "))
}
