//! What dom0's kernel thought of all the suites before: runs behind them on every host.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use lab_tests::kernel_log;

#[test]
fn nothing_to_complain_of() {
    kernel_log::assert_clean();
}
