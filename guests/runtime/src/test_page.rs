//! For unit tests on the host: a page of our own in the place of a shared one.

use core::ptr::NonNull;

use crate::page::{PAGE, SharedPage};

#[repr(C, align(4096))]
struct Page([u8; PAGE]);

/// A page of zeroes, never freed.
pub(crate) fn test_page() -> SharedPage {
    let page = Box::leak(Box::new(Page([0; PAGE])));
    // SAFETY: aligned by its type, leaked, and the only reference ends here.
    unsafe { SharedPage::new(NonNull::from(&mut page.0).cast()) }
}
