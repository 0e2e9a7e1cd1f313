//! The only unsafe code of `h2`: the Xen libraries behind the traits of [`crate::seam`].
//!
//! - [`xenctrl`]: a libxenctrl handle, all hypercalls of domain control
//! - [`builder`]: libxenguest's image builder for one guest
//! - [`logger`]: what the C libraries have to say, brought to the `log` crate and into errors
//! - [`ring`]: the console ring of a guest, copied
//! - [`evtchn`]: an event channel of this domain
//! - [`noxs_calls`]: the hypercalls of NoXS
//! - [`noxs_node`]: the ioctls of /dev/xen/noxs_backend
//! - [`convert`]: between C structures and the types of this crate
//!
//! No type of `h2-sys` leaves this module.

pub(crate) mod builder;
mod convert;
pub(crate) mod evtchn;
pub(crate) mod logger;
mod noxs_calls;
pub(crate) mod noxs_node;
pub(crate) mod ring;
pub(crate) mod xenctrl;

/// Counts of this process, where the feature `count` of h2 is on: (hypercalls, ioctls).
pub(crate) fn counts() -> Option<(u64, u64)> {
    #[cfg(feature = "count")]
    return Some((h2_sys::count::hypercalls(), h2_sys::count::ioctls()));
    #[cfg(not(feature = "count"))]
    None
}
