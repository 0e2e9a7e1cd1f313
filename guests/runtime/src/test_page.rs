//! For unit tests on the host: a page of our own in the place of a shared one.

use core::ptr::NonNull;
use std::sync::Mutex;

use crate::page::{PAGE, SharedPage};

#[repr(C, align(4096))]
struct Page([u8; PAGE]);

/// A page of zeroes, never freed.
pub(crate) fn test_page() -> SharedPage {
    let page = Box::leak(Box::new(Page([0; PAGE])));
    // SAFETY: aligned by its type, leaked, and the only reference ends here.
    unsafe { SharedPage::new(NonNull::from(&mut page.0).cast()) }
}

static GRANTED: Mutex<Vec<SharedPage>> = Mutex::new(Vec::new());

/// Makes a page one that can be mapped, and gives its grant reference.
pub(crate) fn grant(page: SharedPage) -> u32 {
    #[expect(clippy::unwrap_used, reason = "a test")]
    let mut granted = GRANTED.lock().unwrap();
    granted.push(page);
    u32::try_from(granted.len()).unwrap_or(0) + 7
}

/// The page of a grant reference.
pub(crate) fn granted(reference: u32) -> Option<SharedPage> {
    GRANTED.lock().ok()?.get(usize::try_from(reference.checked_sub(8)?).ok()?).copied()
}
