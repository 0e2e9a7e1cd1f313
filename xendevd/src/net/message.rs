//! Messages of rtnetlink: a request for an interface is written, and the kernel's answer is read.

/// `NLMSG_ERROR`: errno, or zero for success.
const NLMSG_ERROR: u16 = 2;
const RTM_NEWLINK: u16 = 16;
pub(super) const RTM_GETLINK: u16 = 18;
/// Changes an interface that exists, and never makes one.
pub(super) const RTM_SETLINK: u16 = 19;

const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;

const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
/// The flags that an attribute's type may carry.
const TYPE_MASK: u16 = 0x3fff;

const IFF_UP: u32 = 1;

/// `struct nlmsghdr` and `struct ifinfomsg`.
const HEADER: usize = 16;
const IFINFO: usize = 16;
const ATTRIBUTE: usize = 4;

/// An answer of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The request with this number was carried out, or failed with this errno.
    Done {
        /// The request's number.
        sequence: u32,
        /// errno, or zero.
        errno: i32,
    },
    /// An interface.
    Link {
        /// The number of the request that asked for it.
        sequence: u32,
        /// Its index.
        index: u32,
        /// Its MTU.
        mtu: u32,
        /// The index of the bridge that it belongs to.
        master: Option<u32>,
        /// What it is, as in `bridge`, if it is virtual.
        kind: String,
        /// Whether it is up.
        up: bool,
    },
    /// Something that nobody asked for.
    Other,
}

/// Bytes from the kernel that are no messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a netlink message that is cut off")]
pub struct MessageError;

/// A request about one interface.
#[derive(Debug)]
pub(super) struct Request {
    bytes: Vec<u8>,
    flags: u16,
    kind: u16,
}

impl Request {
    /// About the interface of this index; 0 where a name says which.
    pub(super) fn new(kind: u16, index: u32) -> Self {
        let mut request = Self { bytes: vec![0; HEADER + IFINFO], flags: NLM_F_REQUEST, kind };
        if kind != RTM_GETLINK {
            request.flags |= NLM_F_ACK;
        }
        request.put(HEADER + 4, &index.to_ne_bytes());
        request
    }

    /// Up, or down.
    pub(super) fn up(mut self, up: bool) -> Self {
        self.put(HEADER + 8, &u32::from(up).to_ne_bytes());
        self.put(HEADER + 12, &IFF_UP.to_ne_bytes());
        self
    }

    /// Its name.
    pub(super) fn name(self, name: &str) -> Self {
        self.attribute(IFLA_IFNAME, &[name.as_bytes(), b"\0"].concat())
    }

    /// Its MTU.
    pub(super) fn mtu(self, mtu: u32) -> Self {
        self.attribute(IFLA_MTU, &mtu.to_ne_bytes())
    }

    /// Its bridge; 0 for none.
    pub(super) fn master(self, index: u32) -> Self {
        self.attribute(IFLA_MASTER, &index.to_ne_bytes())
    }

    /// A new interface of a kind, for tests.
    #[cfg(test)]
    pub(super) fn creation(name: &str, kind: &str) -> Self {
        let mut request = Self::new(RTM_NEWLINK, 0).name(name);
        // NLM_F_CREATE and NLM_F_EXCL.
        request.flags |= 0x600;
        let mut nested = Vec::new();
        push_attribute(&mut nested, IFLA_INFO_KIND, kind.as_bytes());
        request.attribute(IFLA_LINKINFO, &nested)
    }

    fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        push_attribute(&mut self.bytes, kind, value);
        self
    }

    /// The message under this number.
    pub(super) fn encode(mut self, sequence: u32) -> Vec<u8> {
        // A request is a few dozen bytes: names are bounded by their callers.
        let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.put(0, &length.to_ne_bytes());
        self.put(4, &self.kind.to_ne_bytes());
        self.put(6, &self.flags.to_ne_bytes());
        self.put(8, &sequence.to_ne_bytes());
        self.bytes
    }

    fn put(&mut self, at: usize, value: &[u8]) {
        for (to, from) in self.bytes.iter_mut().skip(at).zip(value) {
            *to = *from;
        }
    }
}

fn push_attribute(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(ATTRIBUTE + value.len()).unwrap_or(u16::MAX);
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// Reads all messages of a datagram.
///
/// # Errors
/// [`MessageError`] for what is no message.
pub fn parse_replies(mut bytes: &[u8]) -> Result<Vec<Reply>, MessageError> {
    let mut replies = Vec::new();
    while !bytes.is_empty() {
        let length = usize::try_from(word(bytes, 0)?).map_err(|_| MessageError)?;
        let message = bytes.get(..length).filter(|_| length >= HEADER).ok_or(MessageError)?;
        replies.push(reply(message)?);
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(replies)
}

fn reply(message: &[u8]) -> Result<Reply, MessageError> {
    let sequence = word(message, 8)?;
    match half(message, 4)? {
        NLMSG_ERROR => {
            let errno = i32::from_ne_bytes(word(message, HEADER)?.to_ne_bytes());
            Ok(Reply::Done { sequence, errno: errno.wrapping_neg() })
        }
        RTM_NEWLINK => {
            let mut link = (0, None, String::new());
            let index = word(message, HEADER + 4)?;
            let up = word(message, HEADER + 8)? & IFF_UP != 0;
            attributes(message.get(HEADER + IFINFO..).ok_or(MessageError)?, |kind, value| {
                match kind {
                    IFLA_MTU => link.0 = word(value, 0)?,
                    IFLA_MASTER => link.1 = Some(word(value, 0)?).filter(|&master| master != 0),
                    IFLA_LINKINFO => attributes(value, |kind, value| {
                        if kind == IFLA_INFO_KIND {
                            let end =
                                value.iter().position(|&byte| byte == 0).unwrap_or(value.len());
                            link.2 = String::from_utf8_lossy(value.get(..end).unwrap_or_default())
                                .into_owned();
                        }
                        Ok(())
                    })?,
                    _ => {}
                }
                Ok(())
            })?;
            let (mtu, master, kind) = link;
            Ok(Reply::Link { sequence, index, mtu, master, kind, up })
        }
        _ => Ok(Reply::Other),
    }
}

fn attributes(
    mut bytes: &[u8],
    mut each: impl FnMut(u16, &[u8]) -> Result<(), MessageError>,
) -> Result<(), MessageError> {
    while !bytes.is_empty() {
        let length = usize::from(half(bytes, 0)?);
        let value = bytes.get(ATTRIBUTE..length).ok_or(MessageError)?;
        each(half(bytes, 2)? & TYPE_MASK, value)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(())
}

fn word(bytes: &[u8], at: usize) -> Result<u32, MessageError> {
    let word = bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    word.map(u32::from_ne_bytes).ok_or(MessageError)
}

fn half(bytes: &[u8], at: usize) -> Result<u16, MessageError> {
    let half = bytes.get(at..at + 2).and_then(|bytes| bytes.try_into().ok());
    half.map(u16::from_ne_bytes).ok_or(MessageError)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_request_is_header_interface_and_attributes() {
        let bytes = Request::new(RTM_SETLINK, 7).up(true).name("vif1.0").mtu(9000).encode(3);
        assert_eq!(word(&bytes, 0).unwrap() as usize, bytes.len());
        assert_eq!(
            (half(&bytes, 4).unwrap(), half(&bytes, 6).unwrap(), word(&bytes, 8).unwrap()),
            (19, 5, 3)
        );
        assert_eq!(
            (word(&bytes, 20).unwrap(), word(&bytes, 24).unwrap(), word(&bytes, 28).unwrap()),
            (7, 1, 1)
        );
        assert_eq!(&bytes[32..44], b"\x0b\0\x03\0vif1.0\0\0");
        assert_eq!(&bytes[44..], [8, 0, 4, 0, 0x28, 0x23, 0, 0]);
    }

    #[test]
    fn answers_are_read() {
        // What the kernel says about an interface has the same form as a request for one.
        let bytes = Request::creation("br0", "bridge").mtu(1500).master(4).encode(9);
        let link = Reply::Link {
            sequence: 9,
            index: 0,
            mtu: 1500,
            master: Some(4),
            kind: "bridge".to_owned(),
            up: false,
        };
        assert_eq!(parse_replies(&bytes).unwrap(), [link]);
        assert_eq!(parse_replies(&bytes[..20]), Err(MessageError));
        let mut done = [36u32, 2, 5, 0].map(u32::to_ne_bytes).concat();
        done.extend((-19i32).to_ne_bytes());
        done.extend([0; 16]);
        assert_eq!(parse_replies(&done).unwrap(), [Reply::Done { sequence: 5, errno: 19 }]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            let _ = parse_replies(&bytes);
        }

        #[test]
        fn any_attributes_are_read_without_a_panic(
            rest: Vec<u8>,
            kind in prop_oneof![Just(2u16), Just(16u16)],
        ) {
            let mut bytes = vec![0; 32];
            bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
            bytes.extend(rest);
            let length = u32::try_from(bytes.len()).unwrap();
            bytes[..4].copy_from_slice(&length.to_ne_bytes());
            let _ = parse_replies(&bytes);
        }
    }
}
