//! The messages of xenstored's protocol (xen/include/public/io/xs_wire.h, docs/misc/xenstore.txt of
//! Xen 4.17): a header of four 32-bit words in the byte order of the machine, then at most 4096
//! bytes.

use std::io;

/// What a request asks for, and what an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Kind {
    Directory = 1,
    Read = 2,
    Watch = 4,
    Unwatch = 5,
    Introduce = 8,
    Write = 11,
    Mkdir = 12,
    Remove = 13,
    SetPermissions = 14,
    WatchEvent = 15,
    Error = 16,
    IsIntroduced = 17,
    DirectoryPart = 20,
}

/// XENSTORE_PAYLOAD_MAX.
pub(super) const MAX_PAYLOAD: usize = 4096;
pub(super) const HEADER: usize = 16;

/// A message's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// A [`Kind`]; one that we do not know stays a number.
    pub(super) kind: u32,
    /// Chosen by who asks, repeated by who answers; 0 in watch events.
    pub(super) request: u32,
    /// Bytes behind the header.
    pub(super) length: usize,
}

impl Header {
    /// Reads a header; a length that the protocol does not allow is an error, since nothing behind
    /// it could be trusted.
    pub(super) fn decode(bytes: [u8; HEADER]) -> io::Result<Self> {
        let [kind, request, _transaction, length] = [0, 4, 8, 12].map(|at| {
            let mut word = [0; 4];
            word.copy_from_slice(&bytes[at..at + 4]);
            u32::from_ne_bytes(word)
        });
        match usize::try_from(length) {
            Ok(length) if length <= MAX_PAYLOAD => Ok(Self { kind, request, length }),
            _ => Err(broken(format!("a message of {length} bytes"))),
        }
    }
}

/// A whole request outside of any transaction.
pub(super) fn encode(kind: Kind, request: u32, parts: &[&[u8]]) -> io::Result<Vec<u8>> {
    let length = parts.iter().map(|part| part.len()).sum::<usize>();
    let word = u32::try_from(length).ok().filter(|_| length <= MAX_PAYLOAD);
    let Some(word) = word else { return Err(io::Error::from_raw_os_error(libc::E2BIG)) };
    let mut bytes = Vec::with_capacity(HEADER + length);
    for word in [kind as u32, request, 0, word] {
        bytes.extend_from_slice(&word.to_ne_bytes());
    }
    bytes.extend(parts.concat());
    Ok(bytes)
}

/// The texts of a payload, each of which ends in a NUL. What is not UTF-8 is replaced: a guest may
/// have written it.
pub(super) fn texts(payload: &[u8]) -> Vec<String> {
    let payload = payload.strip_suffix(b"\0").unwrap_or(payload);
    if payload.is_empty() {
        return Vec::new();
    }
    payload
        .split(|&byte| byte == 0)
        .map(|text| String::from_utf8_lossy(text).into_owned())
        .collect()
}

/// A part of the names of a node's children.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DirectoryPart<'a> {
    /// Another one when a child came or went.
    pub(super) generation: &'a [u8],
    /// Names, each with its NUL.
    pub(super) names: &'a [u8],
    /// There are no more.
    pub(super) last: bool,
}

impl<'a> DirectoryPart<'a> {
    /// Reads the answer of `XS_DIRECTORY_PART`: a number, names, and an empty name behind the last
    /// one, each with a NUL.
    pub(super) fn decode(payload: &'a [u8]) -> io::Result<Self> {
        let mut split = payload.splitn(2, |&byte| byte == 0);
        let (Some(generation), Some(rest)) = (split.next(), split.next()) else {
            return Err(broken("a part of a list without a number".to_owned()));
        };
        let (names, last) = match rest {
            [0] => (&rest[..0], true),
            [names @ .., 0] if names.ends_with(b"\0") => (names, true),
            [.., 0] => (rest, false),
            _ => return Err(broken("a part of a list without an end".to_owned())),
        };
        Ok(Self { generation, names, last })
    }
}

/// What xenstored answered instead of success: it sends the names of errno.h.
pub(super) fn error(payload: &[u8]) -> io::Error {
    let name = payload.strip_suffix(b"\0").unwrap_or(payload);
    let errno = match name {
        b"EINVAL" => libc::EINVAL,
        b"EACCES" => libc::EACCES,
        b"EEXIST" => libc::EEXIST,
        b"EISDIR" => libc::EISDIR,
        b"ENOENT" => libc::ENOENT,
        b"ENOMEM" => libc::ENOMEM,
        b"ENOSPC" => libc::ENOSPC,
        b"EIO" => libc::EIO,
        b"ENOTEMPTY" => libc::ENOTEMPTY,
        b"ENOSYS" => libc::ENOSYS,
        b"EROFS" => libc::EROFS,
        b"EBUSY" => libc::EBUSY,
        b"EAGAIN" => libc::EAGAIN,
        b"EISCONN" => libc::EISCONN,
        b"E2BIG" => libc::E2BIG,
        b"EPERM" => libc::EPERM,
        _ => return broken(format!("the error {:?}", String::from_utf8_lossy(name))),
    };
    io::Error::from_raw_os_error(errno)
}

/// xenstored sent something that the protocol does not have.
pub(super) fn broken(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("xenstored sent {what}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_request_is_header_and_parts() {
        let bytes = encode(Kind::Write, 7, &[b"/a\0", b"1"]).unwrap();
        let header = Header::decode(bytes[..HEADER].try_into().unwrap()).unwrap();
        assert_eq!(header, Header { kind: 11, request: 7, length: 4 });
        assert_eq!(&bytes[HEADER..], b"/a\x001");
        assert_eq!(
            encode(Kind::Write, 7, &[&[0; 4097]]).unwrap_err().raw_os_error(),
            Some(libc::E2BIG)
        );
    }

    #[test]
    fn lists_and_errors() {
        assert_eq!(texts(b"a\0bc\0"), ["a", "bc"]);
        assert_eq!(texts(b""), Vec::<String>::new());
        assert_eq!(error(b"ENOENT\0").raw_os_error(), Some(libc::ENOENT));
        assert_eq!(error(b"EWHAT\0").kind(), io::ErrorKind::InvalidData);
    }

    proptest! {
        #[test]
        fn whatever_comes_is_bounded(bytes: [u8; HEADER], payload: Vec<u8>) {
            if let Ok(header) = Header::decode(bytes) {
                prop_assert!(header.length <= MAX_PAYLOAD);
            }
            prop_assert!(texts(&payload).len() <= payload.len());
            let _ = error(&payload);
        }
    }
}
