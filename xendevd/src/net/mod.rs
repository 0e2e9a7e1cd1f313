//! Network interfaces and bridges of this domain, over rtnetlink.
//!
//! - [`Links`]: a socket to the kernel; looks interfaces up and changes them.
//! - `message`: the few messages of rtnetlink that this needs, as bytes.
//!
//! The messages are those of rtnetlink(7) and include/uapi/linux/rtnetlink.h, if_link.h. A crate
//! for them brings a hundred message types, most of them asynchronous; this takes two.

mod links;
mod message;

pub use self::links::{Link, Links, NetError};
pub use self::message::{MessageError, Reply, parse_replies};
