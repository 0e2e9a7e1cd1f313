//! /dev/loop-control.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;

use crate::ioctl;

/// The device that hands out loop devices.
#[derive(Debug)]
pub struct LoopControl(File);

impl LoopControl {
    /// Opens /dev/loop-control.
    ///
    /// # Errors
    /// [`io::Error`] as open(2) says; `ENOENT` where the kernel has no loop devices.
    pub fn open() -> io::Result<Self> {
        OpenOptions::new().read(true).write(true).open("/dev/loop-control").map(Self)
    }

    /// The number of a device that has no file, made if there is none (`LOOP_CTL_GET_FREE`).
    /// Somebody else may take it first: then [`configure`](crate::LoopDevice::configure) says
    /// `EBUSY`.
    ///
    /// # Errors
    /// [`io::Error`] as the kernel says.
    pub fn free(&self) -> io::Result<u32> {
        ioctl::get_free(self.0.as_fd())
    }
}
