//! Disks: what a guest is to get as one is looked at, shared with nobody who must not have it, and
//! made a block device.
//!
//! ```text
//!   probe (worker)          claims (loop)           attach (worker)         blkback opens it      seal (worker)
//!   a path -> [`Target`] -> nobody else's -> file: [`Attachment`] -> nodes written ----------> the kernel keeps it
//! ```
//!
//! - [`Target`]: a file or a block device, opened and checked
//! - [`Claims`]: who has what, by what it is and not by its name
//! - [`Attachment`]: a loop device that is undone when it is dropped
//! - [`Refusal`]: why a disk is not served

mod attach;
mod claims;
mod format;
mod mounts;
mod refusal;
mod target;

pub(crate) use self::attach::LOOP_MAJOR;
pub use self::attach::{Attachment, Found, look, release_left_over, scan};
pub use self::claims::{Claims, Conflict};
pub use self::format::ImageFormat;
pub use self::refusal::Refusal;
pub use self::target::{Identity, Target};
