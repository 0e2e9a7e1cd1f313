//! Uncompressing a kernel in memory, never into more than a bound.

use std::fmt;
use std::io::{self, Read};

use super::bytes::{len, u32_at};
use super::error::ImageProblem;

/// `lz4 -l`, the only lz4 form that Linux images use.
const LZ4_LEGACY: [u8; 4] = 0x184c_2102_u32.to_le_bytes();
/// What a chunk of lz4's legacy form holds at most when uncompressed.
const LZ4_CHUNK: usize = 8 << 20;
/// As large as `zstd --ultra -22` makes it.
const ZSTD_WINDOW_LOG: u32 = 27;
/// The memory that xz and lzma may take for their dictionaries, in bytes.
const LZMA_MEMORY: u64 = 256 << 20;
/// The largest first reservation for what comes out, in bytes. The announced size may be a lie.
const FIRST_RESERVATION: u32 = 64 << 20;

/// How an image is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// gzip.
    Gzip,
    /// xz.
    Xz,
    /// zstd.
    Zstd,
    /// lz4 in its legacy form (`lz4 -l`).
    Lz4,
    /// lzma without a container.
    Lzma,
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Compression::Gzip => "gzip",
            Compression::Xz => "xz",
            Compression::Zstd => "zstd",
            Compression::Lz4 => "lz4",
            Compression::Lzma => "lzma",
        })
    }
}

impl Compression {
    /// How these bytes are compressed, if they are.
    ///
    /// # Errors
    /// [`ImageProblem::UnsupportedCompression`] for a way that we cannot undo.
    pub(super) fn detect(data: &[u8]) -> Result<Option<Self>, ImageProblem> {
        let found = match data {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            [0x5d, 0, 0, ..] => Self::Lzma,
            [b'B', b'Z', b'h', ..] => return Err(ImageProblem::UnsupportedCompression("bzip2")),
            [0x89, b'L', b'Z', b'O', ..] => {
                return Err(ImageProblem::UnsupportedCompression("lzo"));
            }
            [0x04, 0x22, 0x4d, 0x18, ..] => {
                return Err(ImageProblem::UnsupportedCompression("lz4 frames"));
            }
            data if data.starts_with(&LZ4_LEGACY) => Self::Lz4,
            _ => return Ok(None),
        };
        Ok(Some(found))
    }

    /// Uncompresses the first stream in `data`. What follows it is ignored: Linux images have their
    /// size there.
    pub(super) fn uncompress(self, data: &[u8], limit: u64) -> Result<Vec<u8>, ImageProblem> {
        let damaged = |error| ImageProblem::Damaged(self, error);
        let lzma = |stream: Result<liblzma::stream::Stream, _>| {
            stream.map_err(|error| damaged(io::Error::from(error)))
        };
        match self {
            Self::Gzip => drain(flate2::bufread::GzDecoder::new(data), data, limit),
            Self::Xz => {
                let stream = lzma(liblzma::stream::Stream::new_stream_decoder(LZMA_MEMORY, 0))?;
                drain(liblzma::bufread::XzDecoder::new_stream(data, stream), data, limit)
            }
            Self::Lzma => {
                let stream = lzma(liblzma::stream::Stream::new_lzma_decoder(LZMA_MEMORY))?;
                drain(liblzma::bufread::XzDecoder::new_stream(data, stream), data, limit)
            }
            Self::Zstd => {
                let mut decoder =
                    zstd::stream::read::Decoder::with_buffer(data).map_err(damaged)?.single_frame();
                decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(damaged)?;
                drain(decoder, data, limit)
            }
            Self::Lz4 => lz4_legacy(data, limit),
        }
        .map_err(damaged)
        .and_then(|bytes| {
            if len(&bytes) > limit {
                Err(ImageProblem::TooLargeInside { limit })
            } else {
                Ok(bytes)
            }
        })
    }
}

/// Reads a decoder to its end, or to one byte more than the limit.
fn drain(decoder: impl Read, data: &[u8], limit: u64) -> io::Result<Vec<u8>> {
    // All but lzma streams end in the size of what they hold, or are followed by it in a Linux
    // image.
    let announced = u32_at(data, data.len().saturating_sub(4)).unwrap_or(0).min(FIRST_RESERVATION);
    let mut bytes = Vec::with_capacity(usize::try_from(announced).unwrap_or(0));
    decoder.take(limit + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// lz4's legacy form: the magic number, then chunks, each with its compressed size before it. There
/// is no end mark: the data ends, or is followed by one 32-bit number that is no chunk's size.
fn lz4_legacy(data: &[u8], limit: u64) -> io::Result<Vec<u8>> {
    let damaged = |problem: &str| io::Error::new(io::ErrorKind::InvalidData, problem.to_owned());
    let mut bytes = Vec::new();
    let mut rest = data.get(LZ4_LEGACY.len()..).unwrap_or_default();
    let mut chunk = vec![0; LZ4_CHUNK];
    while let Some((size, behind)) = rest.split_first_chunk() {
        rest = behind;
        if behind.is_empty() {
            break; // the size of the whole, as Linux images have it
        }
        if *size == LZ4_LEGACY {
            continue; // another stream, as `cat` would join them
        }
        let size = usize::try_from(u32::from_le_bytes(*size)).unwrap_or(usize::MAX);
        let Some((compressed, behind)) = rest.split_at_checked(size) else {
            return Err(damaged("a chunk reaches behind the end"));
        };
        let count = lz4_flex::block::decompress_into(compressed, &mut chunk)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        bytes.extend_from_slice(chunk.get(..count).unwrap_or_default());
        if len(&bytes) > limit {
            break;
        }
        rest = behind;
    }
    if bytes.is_empty() { Err(damaged("there is no chunk")) } else { Ok(bytes) }
}
