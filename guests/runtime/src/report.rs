//! The last words of a guest that fails.

use core::fmt::Write;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::console::Console;
use crate::guest::Guest;
use crate::hypercall::{Reason, shutdown};
use crate::page::SharedPage;

static REPORTING: AtomicBool = AtomicBool::new(false);

/// Writes a panic's message to the console and crashes: the panic handler of `main!`.
pub fn panicked(info: &PanicInfo<'_>) -> ! {
    crash_with(|console, _| {
        let _ = write!(console, "{info}");
    })
}

/// Crashes without a word.
pub fn crash() -> ! {
    shutdown(Reason::Crash)
}

/// Opens a console of its own, as whoever has the other can no more use it, lets `report` write,
/// and crashes. A failure on the way is a crash at once.
pub(crate) fn crash_with(report: impl FnOnce(&mut Console, SharedPage)) -> ! {
    if !REPORTING.swap(true, Ordering::Relaxed)
        && let Ok(mut guest) = Guest::open()
    {
        let info = guest.shared_info();
        if let Some(mut console) = guest.console() {
            let _ = console.write_str("\nguest failed: ");
            report(&mut console, info);
            let _ = console.write_str("\n");
            console.flush();
        }
    }
    crash()
}
