//! Gets the uncompressed kernel out of a bzImage.
//!
//! An emulated processor takes seconds to decompress a kernel, and the host's takes a blink. The
//! place of the payload is in the setup header (Documentation/x86/boot.rst, "payload_offset" and
//! "payload_length", protocol 2.08 and later).

use std::io::Read;

use anyhow::{Context, Result, bail, ensure};

const ELF: &[u8] = b"\x7fELF";
const GZIP: &[u8] = b"\x1f\x8b";
const XZ: &[u8] = b"\xfd7zXZ\0";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";
const LZ4_LEGACY: &[u8] = b"\x02\x21\x4c\x18";

/// What one block of the legacy LZ4 format unpacks to at most.
const LZ4_BLOCK: usize = 8 << 20;

/// The ELF kernel inside `image`, a bzImage.
pub(crate) fn vmlinux(image: &[u8]) -> Result<Vec<u8>> {
    let kernel = decompress(payload(image)?)?;
    ensure!(kernel.starts_with(ELF), "the kernel's payload is not an ELF file");
    Ok(kernel)
}

/// Where the compressed kernel lies in `image`.
fn payload(image: &[u8]) -> Result<&[u8]> {
    ensure!(
        image.get(0x202..0x206) == Some(b"HdrS".as_slice()),
        "not a Linux bzImage: no setup header"
    );
    let version = u16::from_le_bytes([byte(image, 0x206)?, byte(image, 0x207)?]);
    ensure!(version >= 0x208, "the boot protocol {version:#x} does not say where the payload is");
    // A count of zero means four, for the sake of very old kernels.
    let sectors = match byte(image, 0x1f1)? {
        0 => 4,
        count => usize::from(count),
    };
    let start = (sectors + 1) * 512 + word(image, 0x248)?;
    let length = word(image, 0x24c)?;
    start
        .checked_add(length)
        .and_then(|end| image.get(start..end))
        .context("the setup header names a payload outside the file")
}

fn byte(image: &[u8], at: usize) -> Result<u8> {
    image.get(at).copied().context("the kernel image is cut off")
}

fn word(image: &[u8], at: usize) -> Result<usize> {
    let bytes =
        [byte(image, at)?, byte(image, at + 1)?, byte(image, at + 2)?, byte(image, at + 3)?];
    Ok(usize::try_from(u32::from_le_bytes(bytes))?)
}

fn decompress(payload: &[u8]) -> Result<Vec<u8>> {
    // The kernel's build appends the unpacked size to most formats, so each decoder has to stop by
    // itself.
    let mut kernel = Vec::new();
    if payload.starts_with(ELF) {
        kernel.extend_from_slice(payload);
    } else if payload.starts_with(GZIP) {
        flate2::bufread::GzDecoder::new(payload)
            .read_to_end(&mut kernel)
            .context("bad gzip payload")?;
    } else if payload.starts_with(XZ) {
        liblzma::bufread::XzDecoder::new(payload)
            .read_to_end(&mut kernel)
            .context("bad xz payload")?;
    } else if payload.starts_with(ZSTD) {
        zstd::stream::read::Decoder::with_buffer(payload)?
            .single_frame()
            .read_to_end(&mut kernel)
            .context("bad zstd payload")?;
    } else if let Some(blocks) = payload.strip_prefix(LZ4_LEGACY) {
        kernel = unpack_lz4(blocks)?;
    } else {
        bail!(
            "the kernel is packed in a way that we do not know (it starts with {:02x?})",
            payload.get(..6).unwrap_or(payload)
        );
    }
    Ok(kernel)
}

/// The legacy LZ4 format: blocks, each after its packed size, and then the appended unpacked size
/// of the whole.
fn unpack_lz4(mut blocks: &[u8]) -> Result<Vec<u8>> {
    let mut kernel = Vec::new();
    while blocks.len() > 4 {
        let size = word(blocks, 0)?;
        let block = blocks.get(4..4 + size).context("an LZ4 block is cut off")?;
        kernel.extend(lz4_flex::block::decompress(block, LZ4_BLOCK).context("bad LZ4 payload")?);
        blocks = &blocks[4 + size..];
    }
    Ok(kernel)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::vmlinux;

    /// A bzImage with two setup sectors and `payload`, the appended size included.
    fn image(payload: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 3 * 512 + 100];
        image[0x1f1] = 2;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x206..0x208].copy_from_slice(&0x20fu16.to_le_bytes());
        image[0x248..0x24c].copy_from_slice(&100u32.to_le_bytes());
        image[0x24c..0x250].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
        image.extend_from_slice(payload);
        image.extend_from_slice(b"what follows the payload");
        image
    }

    fn kernel() -> Vec<u8> {
        [b"\x7fELF".as_slice(), &[7; 5000]].concat()
    }

    #[test]
    fn finds_and_unpacks_each_format() {
        let size = u32::try_from(kernel().len()).unwrap().to_le_bytes();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&kernel()).unwrap();
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(&kernel()).unwrap();
        let block = lz4_flex::block::compress(&kernel());
        let lz4 = [super::LZ4_LEGACY, &u32::try_from(block.len()).unwrap().to_le_bytes(), &block]
            .concat();
        let zstd = zstd::encode_all(kernel().as_slice(), 1).unwrap();
        for packed in [
            gzip.finish().unwrap(),
            [xz.finish().unwrap(), size.to_vec()].concat(),
            [lz4, size.to_vec()].concat(),
            [zstd, size.to_vec()].concat(),
        ] {
            assert_eq!(vmlinux(&image(&packed)).unwrap(), kernel());
        }
    }

    #[test]
    fn refuses_what_is_no_kernel() {
        assert!(vmlinux(b"short").is_err());
        assert!(vmlinux(&image(b"unknown")).is_err());
        let mut cut = image(&kernel());
        cut.truncate(2000);
        assert!(vmlinux(&cut).is_err());
    }
}
