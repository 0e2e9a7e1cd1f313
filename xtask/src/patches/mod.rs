//! `cargo xtask patches`: the series for Xen and for Linux.
//!
//! ```text
//!  check    built    package        bases      try each patch; the lab's; for a host; up to date?
//!    |        |         |             |
//!    +--------+---------+             |
//!        |         |                  |
//!      build     tree                 |        make; patch(1)
//!                  |                  |
//!                source               |        unpacked, in the cache
//!                  |                  |
//!                  +-----> archive <--+        apt, with lists of its own
//!                            |
//!                          series              BASE, the list of patches
//! ```

mod archive;
pub(crate) mod bases;
mod build;
pub(crate) mod built;
pub(crate) mod check;
pub(crate) mod package;
mod series;
mod source;
mod tree;
