//! Raw bindings to the Xen toolstack libraries (libxenctrl, libxenguest, libxentoollog and their
//! neighbours), made by bindgen at build time from the headers of Debian's `libxen-dev`.
//!
//! Nothing here is safe or stable: libxenctrl's interface changes with every Xen release, and
//! [`XEN_DOMCTL_INTERFACE_VERSION`] and [`XEN_SYSCTL_INTERFACE_VERSION`] say which one these
//! bindings speak. Use the `h2` library instead.
//!
//! With the feature `count`, the module `count` counts the hypercalls and ioctls of the whole
//! process.

#[cfg(feature = "count")]
pub mod count;

#[allow(
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    missing_debug_implementations,
    clippy::all,
    clippy::pedantic,
    clippy::multiple_unsafe_ops_per_block,
    clippy::undocumented_unsafe_blocks,
    clippy::ptr_as_ptr,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::unwrap_used
)]
mod bindings {
    include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
}

pub use bindings::*;

/// The version of libxenctrl that these bindings were made from, as pkg-config gives it, such as
/// "4.17.0".
pub const LIBRARY_VERSION: &str = env!("XENCTRL_VERSION");
