//! Image formats that are no raw disks: told by how they begin.

use std::fmt;

/// So many bytes of a file tell what it is.
pub(super) const HEAD: usize = 512;

/// A format whose bytes are not those of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageFormat {
    /// QEMU's, also the first version of it.
    Qcow,
    /// VMware's.
    Vmdk,
    /// Virtual PC's, with its header in front.
    Vhd,
    /// Hyper-V's.
    Vhdx,
    /// VirtualBox's.
    Vdi,
    /// QEMU's other one.
    Qed,
    /// gzip.
    Gzip,
    /// xz.
    Xz,
    /// Zstandard.
    Zstd,
}

/// Format, where its mark is, and the mark.
const MARKS: &[(ImageFormat, usize, &[u8])] = &[
    (ImageFormat::Qcow, 0, b"QFI\xfb"),
    (ImageFormat::Vmdk, 0, b"KDMV"),
    (ImageFormat::Vmdk, 0, b"COWD"),
    (ImageFormat::Vmdk, 0, b"# Disk DescriptorFile"),
    (ImageFormat::Vhd, 0, b"conectix"),
    (ImageFormat::Vhdx, 0, b"vhdxfile"),
    (ImageFormat::Vdi, 0x40, b"\x7f\x10\xda\xbe"),
    (ImageFormat::Qed, 0, b"QED\0"),
    (ImageFormat::Gzip, 0, b"\x1f\x8b\x08"),
    (ImageFormat::Xz, 0, b"\xfd7zXZ\0"),
    (ImageFormat::Zstd, 0, b"\x28\xb5\x2f\xfd"),
];

impl ImageFormat {
    /// The format of a file that begins like this, or `None` for a raw disk.
    #[must_use]
    pub fn of(head: &[u8]) -> Option<Self> {
        let begins =
            |at: usize, mark: &[u8]| head.get(at..).is_some_and(|rest| rest.starts_with(mark));
        MARKS.iter().find(|(_, at, mark)| begins(*at, mark)).map(|(format, _, _)| *format)
    }

    /// What its user can do about it.
    pub(super) fn hint(self) -> &'static str {
        match self {
            Self::Gzip | Self::Xz | Self::Zstd => "unpack it",
            _ => "convert it with qemu-img convert -O raw",
        }
    }
}

impl fmt::Display for ImageFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Qcow => "qcow2 image",
            Self::Vmdk => "vmdk image",
            Self::Vhd => "vhd image",
            Self::Vhdx => "vhdx image",
            Self::Vdi => "vdi image",
            Self::Qed => "qed image",
            Self::Gzip => "gzip archive",
            Self::Xz => "xz archive",
            Self::Zstd => "zstd archive",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_from_raw_disks() {
        assert_eq!(ImageFormat::of(b"QFI\xfb\0\0\0\x03"), Some(ImageFormat::Qcow));
        let mut vdi = vec![0; HEAD];
        vdi[0x40..0x44].copy_from_slice(b"\x7f\x10\xda\xbe");
        assert_eq!(ImageFormat::of(&vdi), Some(ImageFormat::Vdi));
        for raw in [&b""[..], b"\0", &[0; HEAD], b"\xeb\x63\x90GRUB"] {
            assert_eq!(ImageFormat::of(raw), None);
        }
    }
}
