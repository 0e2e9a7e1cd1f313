//! NoXS, ABI 1: how a Xen guest finds and brings up its devices without Xenstore.
//!
//! ```text
//!   Xen writes            both ends write                     key/value strings
//!  +-------------+  grant  +--------------+  regions  +--------------------------+
//!  | DevicePage  | ------> | ControlPage  | --------> | Keys, KeyList            |
//!  | one a guest |  port   | one a device |  states   | "mac", "ring-ref", ...   |
//!  +-------------+         +--------------+           +--------------------------+
//! ```
//!
//! - [`device_page`]: which devices a guest has, and where their control pages are.
//! - [`control_page`]: what the two ends of a device tell each other, with [`keys`] and [`state`].
//! - [`hypercall`] and [`ioctl`]: the arguments with which guests, toolstack and kernel reach the
//!   pages.
//! - [`page`]: shared memory, and the only unsafe code; [`words`] is what the others know of it.
//!
//! The specification is docs/noxs-abi.md, the same in C is `include/noxs.h`; a test compares the
//! two. No part of this crate allocates, makes a hypercall or needs an operating system. No part of
//! it believes what the other end wrote: each word is read once, checked, and only the copy is
//! used.
//!
//! ```
//! use noxs::control_page::{ControlPage, End};
//! use noxs::keys::Keys;
//! use noxs::page::PageBuffer;
//! use noxs::state::{Side, State};
//!
//! let page = PageBuffer::new();
//! let mut backend = End::create(page.shared());
//! let mut keys = Keys::for_side(Side::Backend);
//! keys.set(b"mac", b"00:16:3e:00:00:01")?;
//! backend.publish(&keys)?;
//! backend.set_state(State::InitWait)?;
//!
//! let frontend = ControlPage::open(page.shared())?;
//! assert_eq!(frontend.state(Side::Backend)?, State::InitWait);
//! assert_eq!(frontend.snapshot(Side::Backend)?.get(b"mac"), Some(&b"00:16:3e:00:00:01"[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![no_std]
#![cfg_attr(test, allow(clippy::unwrap_used))]
#![deny(missing_docs)]
#![deny(unsafe_code)]
#![warn(clippy::missing_errors_doc, clippy::missing_panics_doc)]

pub mod control_page;
pub mod device;
pub mod device_page;
pub mod error;
pub mod hypercall;
pub mod ioctl;
pub mod keys;
pub mod page;
pub mod state;
pub mod words;

/// The version of the ABI that this crate speaks.
pub const ABI: u32 = 1;
