//! `cargo xtask patches`: the series for Xen and for Linux.
//!
//! [`series`] is what lies in `xen-patches/` and `linux-patches/`, [`source`] gets the Debian
//! package that a series is for, [`tree`] applies patches to a copy of it, [`build`] makes what is
//! patched. [`check`] tries a series patch by patch, [`built`] keeps what the lab runs, and
//! [`package`] makes what one installs on a host.

mod build;
pub(crate) mod built;
pub(crate) mod check;
pub(crate) mod package;
mod series;
mod source;
mod tree;
