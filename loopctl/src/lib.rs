//! Loop devices: a file of the host as a block device.
//!
//! - [`LoopControl`] finds a free device.
//! - [`LoopDevice`] is one of them: it is configured in one step (`LOOP_CONFIGURE`, Linux 5.8),
//!   tells its file and its name, is released by the kernel with its last user (autoclear), or by
//!   hand.
//!
//! A crate of its own because `xendevd` has no unsafe code, and the loop devices' ioctls have no
//! safe wrapper elsewhere: `nix` and `rustix` leave them out, and `loopdev-3` configures in two
//! steps, cannot set the name and does not tell a device's file. All unsafe code is in `ioctl`.
//!
//! The interface is that of include/uapi/linux/loop.h and drivers/block/loop.c of Linux 6.1.

#![deny(missing_docs)]

mod control;
mod device;
mod ioctl;

pub use self::control::LoopControl;
pub use self::device::{Backing, LoopDevice, Setup, Status};
