//! The files of guests' logs: bounded each, and bounded together.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use nix::fcntl::OFlag;

/// The longest log, in bytes; then it becomes the old one.
pub(super) const MAX_FILE: usize = 1 << 20;

/// Logs beyond so many go, those first to which nothing was added for longest: every guest may have
/// a name of its own.
const MAX_LOGS: usize = 2048;

/// How often logs are counted, and how often a disk is complained of.
const SELDOM: Duration = Duration::from_secs(60);

/// The longest name of a guest that becomes the name of a file.
const MAX_NAME: usize = 200;

/// The files.
#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
    /// What could not be written of a guest.
    lost: HashMap<String, u64>,
    counted: Option<Instant>,
    complained: Option<Instant>,
}

impl Files {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, lost: HashMap::new(), counted: None, complained: None }
    }

    /// Adds to a guest's log, and says how many bytes were lost after that. What cannot be written
    /// is lost, and the log says so as soon as it can.
    pub(super) fn append(&mut self, guest: &str, bytes: &[u8], lost: u64) {
        let before = self.lost.remove(guest).unwrap_or(0);
        let head = gap(before);
        let text = [head.as_bytes(), bytes, gap(lost).as_bytes()].concat();
        let (written, result) = self.write(guest, &text);
        if let Err(error) = result {
            let missing = bytes.len().saturating_sub(written.saturating_sub(head.len())) as u64;
            self.lost.insert(guest.to_owned(), before + lost + missing);
            if self.complained.is_none_or(|at| at.elapsed() > SELDOM) {
                self.complained = Some(Instant::now());
                log::error!("what guests print is lost: {}: {error}", self.path(guest).display());
            }
        }
        if self.counted.is_none_or(|at| at.elapsed() > SELDOM) {
            self.counted = Some(Instant::now());
            if let Err(error) = remove_oldest(&self.folder, MAX_LOGS) {
                log::warn!(
                    "logs of guests cannot be counted in {}: {error}",
                    self.folder.display()
                );
            }
        }
    }

    fn path(&self, guest: &str) -> PathBuf {
        self.folder.join(format!("{}.log", file_name(guest)))
    }

    /// Writes as much as can be written, and says how much that is.
    fn write(&self, guest: &str, mut bytes: &[u8]) -> (usize, io::Result<()>) {
        let mut written = 0;
        let mut write = || {
            let path = self.path(guest);
            while !bytes.is_empty() {
                let mut file = self.open(&path)?;
                let metadata = file.metadata()?;
                let length = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
                let room = MAX_FILE.saturating_sub(length);
                if room == 0 && metadata.is_file() {
                    drop(file);
                    fs::rename(&path, path.with_extension("log.1"))?;
                    continue;
                }
                let piece = bytes.get(..bytes.len().min(room.max(1))).unwrap_or_default();
                let count = file.write(piece)?;
                if count == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                written += count;
                bytes = bytes.get(count..).unwrap_or_default();
            }
            Ok(())
        };
        let result = write();
        (written, result)
    }

    /// Opened anew each time: somebody may have moved or removed it. No link is followed.
    fn open(&self, path: &Path) -> io::Result<File> {
        let open = || {
            let flags = (OFlag::O_NOFOLLOW | OFlag::O_NOCTTY).bits();
            OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(flags).open(path)
        };
        match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
                open()
            }
            result => result,
        }
    }
}

/// What stands in the place of bytes that were lost.
fn gap(bytes: u64) -> String {
    if bytes == 0 {
        String::new()
    } else {
        format!("\r\n[xendevd: {bytes} bytes are missing here]\r\n")
    }
}

/// A guest's name as the name of a file. Names of guests have no slash; whoever has written one
/// into a record gets out of no folder by it.
fn file_name(guest: &str) -> String {
    let plain = |char: char| if char == '/' || char.is_control() { '_' } else { char };
    let mut name: String = guest.chars().map(plain).collect();
    while name.len() > MAX_NAME {
        name.pop();
    }
    if name.is_empty() || name.starts_with('.') {
        name.insert(0, '_');
    }
    name
}

/// Removes the oldest logs beyond so many.
fn remove_oldest(folder: &Path, most: usize) -> io::Result<()> {
    let mut logs: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let is_log = entry.path().extension().is_some_and(|extension| extension == "log");
        if let (true, Ok(metadata)) = (is_log, entry.metadata()) {
            logs.push((metadata.modified()?, entry.path()));
        }
    }
    let Some(surplus) = logs.len().checked_sub(most).filter(|surplus| *surplus > 0) else {
        return Ok(());
    };
    logs.sort_unstable();
    for (_, path) in logs.into_iter().take(surplus) {
        for path in [path.with_extension("log.1"), path] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_log_has_a_bound() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("logs");
        let mut files = Files::new(folder.clone());
        for _ in 0..5 {
            files.append("a", &[b'x'; MAX_FILE / 2], 0);
        }
        files.append("a", b"end", 7);
        let text = fs::read(folder.join("a.log")).unwrap();
        assert!(
            text.len() <= MAX_FILE
                && text.ends_with(b"xend\r\n[xendevd: 7 bytes are missing here]\r\n")
        );
        assert_eq!(fs::metadata(folder.join("a.log.1")).unwrap().len(), MAX_FILE as u64);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
    }

    /// /dev/full is a disk that is.
    #[test]
    #[ignore = "needs root, to make a device node: the lab runs it"]
    fn a_full_disk_is_told_of_when_there_is_room_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = Files::new(dir.path().to_owned());
        nix::sys::stat::mknod(
            &dir.path().join("a.log"),
            nix::sys::stat::SFlag::S_IFCHR,
            nix::sys::stat::Mode::S_IRWXU,
            nix::sys::stat::makedev(1, 7),
        )
        .unwrap();
        files.append("a", b"12345", 0);
        files.append("a", b"12345", 1);
        fs::remove_file(dir.path().join("a.log")).unwrap();
        files.append("a", b"there", 0);
        let text = fs::read_to_string(dir.path().join("a.log")).unwrap();
        assert_eq!(text, "\r\n[xendevd: 11 bytes are missing here]\r\nthere");
    }

    #[test]
    fn no_link_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("target");
        std::os::unix::fs::symlink(&target, dir.path().join("a.log")).unwrap();
        Files::new(dir.path().to_owned()).append("a", b"x", 0);
        assert!(!target.exists());
    }

    #[test]
    fn the_oldest_logs_go() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = Files::new(dir.path().to_owned());
        for (number, name) in ["a", "b", "c"].into_iter().enumerate() {
            files.append(name, b"x", 0);
            let file =
                File::options().append(true).open(dir.path().join(format!("{name}.log"))).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(number as u64)).unwrap();
        }
        fs::write(dir.path().join("a.log.1"), "x").unwrap();
        remove_oldest(dir.path(), 2).unwrap();
        let mut left: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort_unstable();
        assert_eq!(left, ["b.log", "c.log"]);
    }

    proptest! {
        #[test]
        fn a_name_stays_in_its_folder(name: String) {
            let file = file_name(&name);
            prop_assert!(!file.contains('/') && !file.starts_with('.'));
            prop_assert!(!file.is_empty() && file.len() <= MAX_NAME + 1);
        }
    }
}
