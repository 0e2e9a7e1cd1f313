//! Reading a whole file that a user named, with an answer for everything that it can be instead.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use super::error::ImageProblem;

/// Reads an ordinary file of 1 to `limit` bytes.
pub(super) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, ImageProblem> {
    // Asked before it is opened: opening a pipe would wait for its writer.
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if metadata.is_dir() {
        return Err(ImageProblem::Folder);
    }
    if !metadata.is_file() {
        return Err(ImageProblem::Special);
    }
    let too_large = |size| ImageProblem::TooLarge { size, limit };
    if metadata.len() > limit {
        return Err(too_large(metadata.len()));
    }
    let file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
    let size = file.take(limit + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    match u64::try_from(size).unwrap_or(u64::MAX) {
        0 => Err(ImageProblem::Empty),
        size if size > limit => Err(too_large(size)),
        _ => Ok(bytes),
    }
}

fn unreadable(error: io::Error) -> ImageProblem {
    match error.kind() {
        io::ErrorKind::NotFound => ImageProblem::Missing,
        _ => ImageProblem::Unreadable(error),
    }
}
