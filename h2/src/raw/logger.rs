//! A `xentoollog_logger` whose messages go to the `log` crate; the last errors are kept, so that a
//! failed call can say what the library said.

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int, c_ulong};
use std::ptr;

use h2_sys as sys;

/// More than libxenctrl ever says about one failure.
const KEPT: usize = 4;

/// The logger that a libxenctrl handle points to. It stays at one address until the handle is
/// closed.
#[repr(C)]
pub(super) struct Logger {
    /// First, since the library hands a pointer to it back as the pointer to the whole.
    vtable: sys::xentoollog_logger,
    errors: RefCell<Vec<String>>,
}

impl std::fmt::Debug for Logger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Logger").field("errors", &self.errors).finish_non_exhaustive()
    }
}

impl Logger {
    pub(super) fn new() -> Box<Self> {
        Box::new(Self {
            vtable: sys::xentoollog_logger {
                vmessage: Some(message),
                progress: Some(progress),
                destroy: Some(destroy),
            },
            errors: RefCell::new(Vec::new()),
        })
    }

    /// The pointer that `xc_interface_open` takes; good as long as `self` lives and does not move.
    pub(super) fn as_ptr(&self) -> *mut sys::xentoollog_logger {
        ptr::from_ref(self).cast_mut().cast()
    }

    /// Forgets what was kept: called before an operation.
    pub(super) fn clear(&self) {
        self.errors.borrow_mut().clear();
    }

    /// The errors since the last [`clear`](Self::clear), as one line.
    pub(super) fn take(&self) -> Option<String> {
        let errors = self.errors.take();
        (!errors.is_empty()).then(|| errors.join("; "))
    }

    fn record(&self, level: sys::xentoollog_level, text: &str) {
        if level >= sys::XTL_ERROR {
            log::debug!(target: "libxc", "{text}");
            // The library may log while a borrow of ours is alive only if it called back from
            // `take`, which it cannot.
            if let Ok(mut errors) = self.errors.try_borrow_mut()
                && errors.len() < KEPT
            {
                errors.push(text.to_owned());
            }
        } else if level >= sys::XTL_WARN {
            log::debug!(target: "libxc", "{text}");
        } else {
            log::trace!(target: "libxc", "{text}");
        }
    }
}

unsafe extern "C" fn message(
    logger: *mut sys::xentoollog_logger,
    level: sys::xentoollog_level,
    _errno: c_int,
    _context: *const c_char,
    format: *const c_char,
    arguments: *mut sys::__va_list_tag,
) {
    // Details cost a formatting each, so they are wanted only when someone reads them.
    if level < sys::XTL_WARN && !log::log_enabled!(target: "libxc", log::Level::Trace) {
        return;
    }
    let mut text = [0u8; 1024];
    // SAFETY: `text` is as long as said; format and arguments belong together by the contract of
    // vmessage (xentoollog.h), and are consumed once. vsnprintf always ends the text with a
    // NUL.
    unsafe { sys::vsnprintf(text.as_mut_ptr().cast(), text.len() as u64, format, arguments) };
    let Ok(text) = CStr::from_bytes_until_nul(&text) else { return };
    // SAFETY: `logger` is the pointer that `Logger::as_ptr` gave to the library: it points to the
    // first field of a `Logger` (repr(C)) in a box, which outlives the handle; only shared
    // references to it exist.
    let logger = unsafe { &*logger.cast::<Logger>() };
    // Formatting and logging are this crate's own code; a panicking log implementation must not
    // unwind into C.
    let line = text.to_string_lossy();
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        logger.record(level, line.trim_end())
    }));
}

unsafe extern "C" fn progress(
    _logger: *mut sys::xentoollog_logger,
    _context: *const c_char,
    _doing: *const c_char,
    _percent: c_int,
    _done: c_ulong,
    _total: c_ulong,
) {
}

/// Called by nobody: the box is freed by its owner.
unsafe extern "C" fn destroy(_logger: *mut sys::xentoollog_logger) {}
