//! An event channel of this domain, bound to a port that a guest has opened for it.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::{self, NonNull};

use h2_sys as sys;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::id::{DomId, Port};

/// An open libxenevtchn, closed on drop, with one bound port, which the kernel unbinds when it is
/// closed.
pub(crate) struct EventChannel {
    handle: NonNull<sys::xenevtchn_handle>,
    /// The number in this domain.
    port: u32,
}

impl fmt::Debug for EventChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventChannel").field("port", &self.port).finish_non_exhaustive()
    }
}

impl Drop for EventChannel {
    fn drop(&mut self) {
        // SAFETY: the handle came from xenevtchn_open and is closed here alone.
        unsafe { sys::xenevtchn_close(self.handle.as_ptr()) };
    }
}

impl EventChannel {
    /// Binds to a guest's port (`EVTCHNOP_bind_interdomain`).
    pub(crate) fn bind(domain: DomId, remote: Port) -> io::Result<Self> {
        // SAFETY: a null logger means the library's own; it has no other preconditions.
        let handle = unsafe { sys::xenevtchn_open(ptr::null_mut(), 0) };
        let handle = NonNull::new(handle).ok_or_else(io::Error::last_os_error)?;
        let mut channel = Self { handle, port: 0 };
        // SAFETY: the handle is open.
        let bound = unsafe {
            sys::xenevtchn_bind_interdomain(channel.as_ptr(), u32::from(domain.get()), remote.get())
        };
        channel.port = u32::try_from(bound).map_err(|_| io::Error::last_os_error())?;
        Ok(channel)
    }

    fn as_ptr(&self) -> *mut sys::xenevtchn_handle {
        self.handle.as_ptr()
    }

    /// Sends an event to the guest.
    pub(crate) fn notify(&self) -> io::Result<()> {
        // SAFETY: the handle is open, and the port is bound.
        checked(unsafe { sys::xenevtchn_notify(self.as_ptr(), self.port) })
    }

    /// Takes the event that has come, and lets the next one come; `false` if none has. Until then
    /// the port is masked.
    pub(crate) fn acknowledge(&self) -> io::Result<bool> {
        match poll(&mut [PollFd::new(self.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO) {
            Ok(0) | Err(Errno::EINTR) => return Ok(false),
            Ok(_) => {}
            Err(errno) => return Err(errno.into()),
        }
        // SAFETY: the handle is open. It is readable, and nobody else reads it, so this does not
        // wait.
        let port = unsafe { sys::xenevtchn_pending(self.as_ptr()) };
        let port = u32::try_from(port).map_err(|_| io::Error::last_os_error())?;
        // SAFETY: the handle is open, and the port is one of its own.
        checked(unsafe { sys::xenevtchn_unmask(self.as_ptr(), port) })?;
        Ok(true)
    }
}

fn checked(result: std::ffi::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

impl AsFd for EventChannel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the handle is open.
        let descriptor = unsafe { sys::xenevtchn_fd(self.as_ptr()) };
        // SAFETY: an open handle has a descriptor, which stays open as long as the handle, so at
        // least as long as the borrow.
        unsafe { BorrowedFd::borrow_raw(descriptor) }
    }
}
