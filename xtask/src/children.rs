//! The processes below this one: ending all of them when everything has to end.

use std::fs;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a process has to end by itself.
const GRACE: Duration = Duration::from_secs(5);

/// Ends all processes below this one: a test that hangs is not cargo's child only in name, and
/// would outlive it.
pub(crate) fn end() {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let all = below(std::process::id());
        if all.is_empty() {
            return;
        }
        // The list is of a moment ago; who is gone since cannot be told, which is what we want.
        for process in all.iter().filter_map(|id| i32::try_from(*id).ok()) {
            let _ = kill(Pid::from_raw(process), signal);
        }
        thread::sleep(GRACE);
    }
}

/// The processes below `top`.
fn below(top: u32) -> Vec<u32> {
    let all: Vec<(u32, u32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let id = entry.ok()?.file_name().to_str()?.parse().ok()?;
            Some((id, parent(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?)?))
        })
        .collect();
    let mut found = vec![top];
    let mut at = 0;
    while let Some(of) = found.get(at).copied() {
        found.extend(all.iter().filter(|(_, parent)| *parent == of).map(|(id, _)| *id));
        at += 1;
    }
    found.split_off(1)
}

/// The parent in the text of /proc/PID/stat. The name before it may hold anything, parentheses and
/// spaces included.
fn parent(stat: &str) -> Option<u32> {
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::process::{Command, Stdio};

    use super::{Pid, Signal, below, kill, parent};

    #[test]
    fn a_name_with_parentheses_is_no_trap() {
        assert_eq!(parent("12 (a) S 9) R 34 12 12 0 -1"), Some(34));
        assert_eq!(parent("12 (a"), None);
    }

    #[test]
    fn a_grandchild_is_found() {
        let mut child = Command::new("sh")
            .args(["-c", "sleep 60 & echo $!; wait"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut text = [0; 16];
        let count = child.stdout.as_mut().unwrap().read(&mut text).unwrap();
        let sleep: u32 = String::from_utf8_lossy(&text[..count]).trim().parse().unwrap();
        let found = below(std::process::id());
        assert!(found.contains(&child.id()) && found.contains(&sleep), "{found:?}");
        assert_eq!(below(child.id()), [sleep]);
        kill(Pid::from_raw(i32::try_from(sleep).unwrap()), Signal::SIGKILL).unwrap();
        child.wait().unwrap();
    }
}
