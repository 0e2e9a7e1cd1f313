//! A libxenstore connection.

use std::cell::Cell;
use std::ffi::{CStr, CString, c_char, c_uint, c_void};
use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::time::{Duration, Instant};

use h2_sys as sys;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::id::{DomId, Gfn, Port};
use crate::seam::{NodePermission, StoreCalls};

/// A connection to xenstored, closed on drop.
pub(crate) struct Xenstore {
    handle: Cell<NonNull<sys::xs_handle>>,
}

impl fmt::Debug for Xenstore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Xenstore").finish_non_exhaustive()
    }
}

impl Drop for Xenstore {
    fn drop(&mut self) {
        // SAFETY: the handle came from xs_open and is closed once: reconnect replaces it as it closes it.
        unsafe { sys::xs_close(self.handle.get().as_ptr()) };
    }
}

/// Memory from the C library, freed on drop.
struct Malloced(NonNull<c_void>);

impl Drop for Malloced {
    fn drop(&mut self) {
        // SAFETY: libxenstore's results are single blocks of malloc that the caller frees (xenstore.h).
        unsafe { libc::free(self.0.as_ptr()) };
    }
}

fn open() -> io::Result<NonNull<sys::xs_handle>> {
    // SAFETY: xs_open has no preconditions.
    let handle = unsafe { sys::xs_open(0) };
    NonNull::new(handle).ok_or_else(io::Error::last_os_error)
}

/// A path or value as C wants it.
fn c(text: &str) -> io::Result<CString> {
    CString::new(text).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a NUL character in a Xenstore path"))
}

/// libxenstore's convention: false and errno.
fn check(ok: bool) -> io::Result<()> {
    if ok { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A node that is not there is not a failure.
fn optional<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Xenstore {
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self { handle: Cell::new(open()?) })
    }

    fn as_ptr(&self) -> *mut sys::xs_handle {
        self.handle.get().as_ptr()
    }

    /// An array of `count` C strings in one malloced block, as owned texts.
    fn strings(array: NonNull<*mut c_char>, count: usize) -> Vec<String> {
        let block = Malloced(array.cast());
        let texts = (0..count)
            .map(|index| {
                // SAFETY: the library said that the array has `count` entries.
                let entry = unsafe { array.add(index) };
                // SAFETY: the entry lies in the block, which lives until the end of this function.
                let text = unsafe { entry.read() };
                // SAFETY: each entry points to a NUL-terminated text in the same block.
                let text = unsafe { CStr::from_ptr(text) };
                text.to_string_lossy().into_owned()
            })
            .collect();
        drop(block);
        texts
    }
}

impl StoreCalls for Xenstore {
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        let path = c(path)?;
        let mut length: c_uint = 0;
        // SAFETY: the handle is open; the path is a C string; the length is stored to a local.
        let value = unsafe { sys::xs_read(self.as_ptr(), sys::XBT_NULL, path.as_ptr(), &raw mut length) };
        let value = NonNull::new(value).ok_or_else(io::Error::last_os_error);
        let Some(value) = optional(value)? else { return Ok(None) };
        let block = Malloced(value);
        // SAFETY: the block has `length` bytes (and a NUL behind them), and lives until the copy is made.
        let bytes = unsafe { std::slice::from_raw_parts(block.0.as_ptr().cast::<u8>(), length as usize) };
        Ok(Some(bytes.to_vec()))
    }

    fn write(&self, path: &str, value: &str) -> io::Result<()> {
        let path = c(path)?;
        let length = c_uint::try_from(value.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?;
        // SAFETY: the handle is open; the path is a C string; the value has `length` bytes.
        check(unsafe { sys::xs_write(self.as_ptr(), sys::XBT_NULL, path.as_ptr(), value.as_ptr().cast(), length) })
    }

    fn mkdir(&self, path: &str) -> io::Result<()> {
        let path = c(path)?;
        // SAFETY: the handle is open; the path is a C string.
        check(unsafe { sys::xs_mkdir(self.as_ptr(), sys::XBT_NULL, path.as_ptr()) })
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let path = c(path)?;
        // SAFETY: the handle is open; the path is a C string.
        optional(check(unsafe { sys::xs_rm(self.as_ptr(), sys::XBT_NULL, path.as_ptr()) })).map(|_| ())
    }

    fn directory(&self, path: &str) -> io::Result<Option<Vec<String>>> {
        let path = c(path)?;
        let mut count: c_uint = 0;
        // SAFETY: the handle is open; the path is a C string; the count is stored to a local.
        let array = unsafe { sys::xs_directory(self.as_ptr(), sys::XBT_NULL, path.as_ptr(), &raw mut count) };
        let array = NonNull::new(array).ok_or_else(io::Error::last_os_error);
        Ok(optional(array)?.map(|array| Self::strings(array, count as usize)))
    }

    fn set_permissions(&self, path: &str, permissions: &[NodePermission]) -> io::Result<()> {
        let path = c(path)?;
        let mut list: Vec<sys::xs_permissions> = permissions
            .iter()
            .map(|permission| sys::xs_permissions {
                id: c_uint::from(permission.domain.get()),
                perms: if permission.read { sys::XS_PERM_READ } else { 0 }
                    | if permission.write { sys::XS_PERM_WRITE } else { 0 },
            })
            .collect();
        let count = c_uint::try_from(list.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?;
        // SAFETY: the handle is open; the path is a C string; the array has `count` entries.
        check(unsafe { sys::xs_set_permissions(self.as_ptr(), sys::XBT_NULL, path.as_ptr(), list.as_mut_ptr(), count) })
    }

    fn introduce(&self, domain: DomId, frame: Gfn, port: Port) -> io::Result<()> {
        // SAFETY: the handle is open.
        check(unsafe { sys::xs_introduce_domain(self.as_ptr(), c_uint::from(domain.get()), frame.get(), port.get()) })
    }

    fn watch(&self, path: &str, token: &str) -> io::Result<()> {
        let (path, token) = (c(path)?, c(token)?);
        // SAFETY: the handle is open; both are C strings.
        check(unsafe { sys::xs_watch(self.as_ptr(), path.as_ptr(), token.as_ptr()) })
    }

    fn unwatch(&self, path: &str, token: &str) -> io::Result<()> {
        let (path, token) = (c(path)?, c(token)?);
        // SAFETY: the handle is open; both are C strings.
        optional(check(unsafe { sys::xs_unwatch(self.as_ptr(), path.as_ptr(), token.as_ptr()) })).map(|_| ())
    }

    fn next_event(&self, timeout: Duration) -> io::Result<Option<(String, String)>> {
        let end = Instant::now().checked_add(timeout);
        loop {
            // SAFETY: the handle is open.
            let event = unsafe { sys::xs_check_watch(self.as_ptr()) };
            if let Some(event) = NonNull::new(event) {
                let mut texts = Self::strings(event, 2).into_iter();
                return Ok(texts.next().zip(texts.next()));
            }
            let error = io::Error::last_os_error();
            if error.raw_os_error() != Some(libc::EAGAIN) {
                return Err(error);
            }
            let left = end.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Ok(None);
            }
            // SAFETY: the handle is open.
            let fd = unsafe { sys::xs_fileno(self.as_ptr()) };
            if fd < 0 {
                return Err(io::Error::from_raw_os_error(libc::EBADF));
            }
            // SAFETY: the file stays open as long as the handle does, which outlives this borrow.
            let fd = unsafe { BorrowedFd::borrow_raw(fd) };
            // A wait is at least a millisecond, lest the rest of one becomes a busy loop.
            let timeout = PollTimeout::try_from(left.max(Duration::from_millis(1))).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], timeout) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn reconnect(&self) -> io::Result<()> {
        let old = self.handle.replace(open()?);
        // SAFETY: the old handle came from xs_open, and nothing can use it any more.
        unsafe { sys::xs_close(old.as_ptr()) };
        Ok(())
    }
}
