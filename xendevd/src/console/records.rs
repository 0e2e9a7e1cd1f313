//! The folder of guests' records, watched (inotify(7)).

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use h2::DomId;
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::guests::domain_of;

/// The folder.
#[derive(Debug)]
pub(super) struct Watched {
    inotify: Inotify,
}

/// What has changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Changes {
    /// The records of these.
    Some(Vec<DomId>),
    /// More than was told.
    Many,
}

impl Default for Changes {
    fn default() -> Self {
        Self::Some(Vec::new())
    }
}

impl Watched {
    /// Watches a folder that is there.
    pub(super) fn new(folder: &Path) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let flags = AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_ONLYDIR;
        inotify.add_watch(folder, flags)?;
        Ok(Self { inotify })
    }

    /// Takes what has changed.
    ///
    /// # Errors
    /// [`io::Error`] if the folder is gone; watch it anew.
    pub(super) fn take(&mut self) -> io::Result<Changes> {
        let (mut domains, mut many) = (Vec::new(), false);
        loop {
            let events = match self.inotify.read_events() {
                Ok(events) => events,
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            };
            for event in events {
                many |= event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW);
                if event.mask.contains(AddWatchFlags::IN_IGNORED) {
                    return Err(io::Error::new(
                        io::ErrorKind::NotFound,
                        "the folder of guests' records is gone",
                    ));
                }
                domains.extend(event.name.as_ref().and_then(|name| domain_of(name.to_str()?)));
            }
        }
        domains.sort_unstable();
        domains.dedup();
        Ok(if many { Changes::Many } else { Changes::Some(domains) })
    }
}

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn changes_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut watched = Watched::new(dir.path()).unwrap();
        let domain = |number| DomId::new(number).unwrap();
        assert_eq!(watched.take().unwrap(), Changes::default());
        fs::write(dir.path().join("new"), "x").unwrap();
        fs::rename(dir.path().join("new"), dir.path().join("6.json")).unwrap();
        fs::write(dir.path().join("5.json"), "x").unwrap();
        assert_eq!(watched.take().unwrap(), Changes::Some(vec![domain(5), domain(6)]));
        fs::remove_file(dir.path().join("5.json")).unwrap();
        assert_eq!(watched.take().unwrap(), Changes::Some(vec![domain(5)]));
        drop(dir);
        assert!(watched.take().is_err());
    }
}
