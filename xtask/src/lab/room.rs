//! Whether this machine has room for a host: memory for the emulator, and space for what the host
//! writes.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::sys::statvfs::statvfs;

/// What the emulator takes beyond the host's memory, in MiB.
const EMULATOR: u64 = 300;

/// MiB that must be free before a host starts: its payload, its logs, and what the suites write to
/// its disk.
const SPACE: u64 = 2048;

/// With fewer MiB than this a running host is ended: its next write may not find a place.
const LAST_SPACE: u64 = 32;

/// MiB that a host of `memory` MiB takes.
pub(crate) fn needed(memory: u32) -> u64 {
    u64::from(memory) + EMULATOR
}

/// MiB that this machine can give to new processes.
pub(crate) fn memory() -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo").context("cannot read /proc/meminfo")?;
    available(&text).context("/proc/meminfo does not say MemAvailable")
}

/// Fails if a host of `memory` MiB that writes to `dir` has no room.
pub(crate) fn ensure(memory: u32, dir: &Path) -> Result<()> {
    let (needed, available) = (needed(memory), self::memory()?);
    ensure!(
        needed <= available,
        "a host of {memory} MiB needs {needed} MiB of memory, and this machine has {available} MiB \
         available"
    );
    let free = space(dir)?;
    ensure!(
        free >= SPACE,
        "a host needs {SPACE} MiB on the file system of {}, and {free} MiB are free; LIGHTVM_CACHE \
         names another place",
        dir.display()
    );
    Ok(())
}

/// What to say if the file system of `dir` is full.
pub(crate) fn full(dir: &Path) -> Result<Option<String>> {
    let free = space(dir)?;
    Ok((free < LAST_SPACE)
        .then(|| format!("the file system of {} is full ({free} MiB are free)", dir.display())))
}

/// MiB that are free where `dir` is.
fn space(dir: &Path) -> Result<u64> {
    let found = statvfs(dir)
        .with_context(|| format!("cannot ask for the free space of {}", dir.display()))?;
    Ok((found.blocks_available() * found.fragment_size()) >> 20)
}

fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? >> 10)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{available, ensure};

    #[test]
    fn available_memory_is_read_in_mib() {
        let text = "MemTotal:       24683520 kB\nMemFree:   100 kB\nMemAvailable:   12341760 kB\n";
        assert_eq!(available(text), Some(12052));
        assert_eq!(available("MemTotal: 1 kB\n"), None);
    }

    #[test]
    fn a_host_that_never_fits_is_refused_with_both_numbers() {
        let error = ensure(u32::MAX, Path::new("/")).unwrap_err().to_string();
        assert!(error.contains("needs 4294967595 MiB"), "{error}");
    }
}
