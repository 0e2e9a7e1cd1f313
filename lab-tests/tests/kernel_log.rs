//! What dom0's kernel thought of all the suites before: runs behind them on every host.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs::{self, OpenOptions};
use std::io::Write;

use lab_tests::{kernel_log, run};

#[test]
fn nothing_to_complain_of() {
    kernel_log::assert_clean_since_boot();
}

/// The witness itself: what was said before the kernel's ring of messages came around is not lost.
#[test]
fn what_was_said_early_is_found() {
    // Without a colon behind the first word, which would be a program's name.
    const EARLY: &str = "an early line of the tests";
    // The kernel takes but a few lines a second from programs, unless it is told to take all.
    let limit = "/proc/sys/kernel/printk_devkmsg";
    let before = fs::read_to_string(limit).unwrap();
    fs::write(limit, "on\n").unwrap();
    // Of the lowest level, which no console shows. Each write is a line.
    let mut kernel = OpenOptions::new().write(true).open("/dev/kmsg").unwrap();
    kernel.write_all(format!("<7>{EARLY}").as_bytes()).unwrap();
    for line in 0..2048 {
        kernel.write_all(format!("<7>line {line} of the tests {:0100}", 0).as_bytes()).unwrap();
        // Slowly enough for the journal, which has to read what is in the ring.
        if line % 256 == 255 {
            run(&["journalctl", "--sync"]).ok();
        }
    }
    fs::write(limit, before).unwrap();
    assert!(!run(&["dmesg"]).ok().contains(EARLY), "the ring has more room than 200 KiB");
    assert!(kernel_log::since_boot().contains(EARLY), "the journal has lost a line");
}
