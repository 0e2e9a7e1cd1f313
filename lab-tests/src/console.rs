//! What guests print, as xenconsoled logs it, or xendevd for guests on the NoXS plane: a witness
//! that needs no terminal and misses nothing.

use std::fs;
use std::path::PathBuf;

use crate::wait::wait_until;

/// Where the lab's xenconsoled keeps its logs.
pub const LOG_DIR: &str = "/var/log/xen/console";

/// Where xendevd keeps its logs of NoXS guests.
pub const NOXS_LOG_DIR: &str = "/var/log/lightvm/console";

/// The log of the guest of this name.
pub fn log(name: &str) -> PathBuf {
    PathBuf::from(format!("{LOG_DIR}/guest-{name}.log"))
}

/// The log of the guest of this name, if it is on the NoXS plane.
pub fn noxs_log(name: &str) -> PathBuf {
    PathBuf::from(format!("{NOXS_LOG_DIR}/{name}.log"))
}

/// What the guest of this name has printed so far.
pub fn text(name: &str) -> String {
    let read =
        |path: PathBuf| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    read(log(name)).unwrap_or_default() + &read(noxs_log(name)).unwrap_or_default()
}

/// Forgets what earlier guests of this name have printed. The file stays, since the daemon may have
/// it open.
pub fn clear(name: &str) {
    for path in [log(name), noxs_log(name)] {
        if let Ok(file) = fs::OpenOptions::new().write(true).open(path) {
            file.set_len(0).unwrap();
        }
    }
}

/// Waits until the guest has printed this text, and returns the line that it is in.
#[track_caller]
pub fn wait_for(name: &str, part: &str) -> String {
    wait_for_nth(name, part, 1)
}

/// Waits until the guest has printed this text in `count` lines, and returns the last of them.
#[track_caller]
pub fn wait_for_nth(name: &str, part: &str, count: usize) -> String {
    wait_until(&format!("{name} has not printed {part:?} {count} times"), || {
        let text = text(name);
        text.lines()
            .filter(|line| line.contains(part))
            .nth(count - 1)
            .map(|line| line.trim().to_owned())
    })
}
