//! The Linux bzImage: a setup header, and in the protected-mode code behind it the compressed
//! kernel, an ELF image.
//!
//! Source: Documentation/arch/x86/boot.rst of Linux 6.1, "The Real-Mode Kernel Header".

use super::bytes::{len, part, u8_at, u16_at, u32_at};
use super::error::ImageProblem;

const SETUP_SECTS: usize = 0x1f1;
const BOOT_FLAG: usize = 0x1fe;
const MAGIC: usize = 0x202;
const VERSION: usize = 0x206;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;

const SECTOR: u64 = 512;
/// The first protocol that says where the payload is.
const FIRST_WITH_PAYLOAD: u16 = 0x0208;

/// The compressed kernel in a bzImage, or `None` if the data is no bzImage.
///
/// # Errors
/// [`ImageProblem::OldBootProtocol`] before protocol 2.08, [`ImageProblem::Truncated`] when the
/// payload is not all there.
pub(super) fn payload(data: &[u8]) -> Result<Option<&[u8]>, ImageProblem> {
    let is_boot_sector = u16_at(data, BOOT_FLAG) == Some(0xaa55);
    let has_magic = data.get(MAGIC..).is_some_and(|data| data.starts_with(b"HdrS"));
    let (true, true, Some(version)) = (is_boot_sector, has_magic, u16_at(data, VERSION)) else {
        return Ok(None);
    };
    if version < FIRST_WITH_PAYLOAD {
        let [minor, major] = version.to_le_bytes();
        return Err(ImageProblem::OldBootProtocol { major, minor });
    }
    let header = || {
        let sectors = u8_at(data, SETUP_SECTS)?;
        // The documentation: for compatibility, 0 means 4.
        let sectors = if sectors == 0 { 4 } else { sectors };
        Some((sectors, u32_at(data, PAYLOAD_OFFSET)?, u32_at(data, PAYLOAD_LENGTH)?))
    };
    let truncated = |expected| ImageProblem::Truncated { expected, actual: len(data) };
    let header_end = u64::try_from(PAYLOAD_LENGTH + 4).unwrap_or(u64::MAX);
    let (sectors, offset, length) = header().ok_or_else(|| truncated(header_end))?;
    let start = (u64::from(sectors) + 1) * SECTOR + u64::from(offset);
    let length = u64::from(length);
    part(data, start, length).map(Some).ok_or_else(|| truncated(start + length))
}
