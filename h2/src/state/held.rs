//! Who has a guest in hand: whoever ends a guest, or starts it again, holds a lock on `held/<uuid>`
//! meanwhile, so that a command that waits for a guest's end and the daemon that carries out its
//! policies never both act on it.
//!
//! The kernel lets go of the lock when its holder dies. A guest that is started again keeps its
//! UUID, so the lock spans both domains.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::process;
use std::rc::{Rc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use uuid::Uuid;

use super::{StateDir, failed};
use crate::error::StateError;

pub(super) const FOLDER: &str = "held";

/// flock(2) has no bound of its own, and a signal to end it would be the program's, not ours.
const LOOK: Duration = Duration::from_millis(20);

/// The locks that one [`Hypervisor`](crate::Hypervisor) holds. To take one again is no conflict.
pub(crate) type Holds = HashMap<Uuid, Weak<Hold>>;

/// A guest is in this process' hands.
#[derive(Debug)]
pub(crate) struct Hold {
    path: PathBuf,
    _file: Flock<File>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        // While it is still locked: whoever gets the lock looks whether the file is still there.
        if let Err(error) = StateDir::remove(&self.path) {
            log::warn!("{error}: {}", error.source);
        }
    }
}

/// Takes a guest in hand, unless another process has it and keeps it for longer than `patience`.
pub(crate) fn take(
    state: &StateDir,
    holds: &mut Holds,
    uuid: Uuid,
    patience: Duration,
) -> Result<Option<Rc<Hold>>, StateError> {
    if let Some(hold) = holds.get(&uuid).and_then(Weak::upgrade) {
        return Ok(Some(hold));
    }
    let path = state.path(FOLDER, &uuid.to_string());
    let start = Instant::now();
    loop {
        if let Some(file) = try_lock(&path)? {
            let hold = Rc::new(Hold { path, _file: file });
            holds.retain(|_, hold| hold.strong_count() > 0);
            holds.insert(uuid, Rc::downgrade(&hold));
            return Ok(Some(hold));
        }
        if start.elapsed() >= patience {
            return Ok(None);
        }
        thread::sleep(LOOK);
    }
}

/// The lock on the file of that name; `None` if another process has it.
fn try_lock(path: &PathBuf) -> Result<Option<Flock<File>>, StateError> {
    let opened = OpenOptions::new().create(true).write(true).truncate(false).mode(0o600).open(path);
    let file = opened.map_err(failed("open", path))?;
    let mut file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(file) => file,
        Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
        Err((_, errno)) => return Err(failed("lock", path)(errno.into())),
    };
    // The last holder removed it before we had the lock: it is nobody's way to find us.
    let ours = file.metadata().map_err(failed("read", path))?.ino();
    if fs::metadata(path).is_ok_and(|now| now.ino() == ours) {
        // For people who wonder who has it.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", process::id()));
        return Ok(Some(file));
    }
    Ok(None)
}

/// Removes the files that dead holders left.
pub(crate) fn sweep(state: &StateDir) -> Result<(), StateError> {
    for name in state.entries(FOLDER)? {
        let path = state.path(FOLDER, &name);
        if let Some(file) = try_lock(&path)? {
            drop(Hold { path, _file: file });
        }
    }
    Ok(())
}

/// The process that has a guest in hand, as far as can be told.
pub(crate) fn holder(state: &StateDir, uuid: Uuid) -> Option<u32> {
    fs::read_to_string(state.path(FOLDER, &uuid.to_string())).ok()?.trim().parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn one_hand_at_a_time() {
        let (_folder, state) = StateDir::temporary();
        let uuid = Uuid::new_v4();
        // Two hypervisors, as in two processes.
        let (mut ours, mut theirs) = (Holds::new(), Holds::new());
        let hold = take(&state, &mut ours, uuid, Duration::ZERO).unwrap().unwrap();
        assert!(take(&state, &mut theirs, uuid, Duration::from_millis(30)).unwrap().is_none());
        assert_eq!(holder(&state, uuid), Some(process::id()));
        let again = take(&state, &mut ours, uuid, Duration::ZERO).unwrap().unwrap();
        drop(hold);
        assert!(take(&state, &mut theirs, uuid, Duration::ZERO).unwrap().is_none());
        drop(again);
        assert!(state.entries(FOLDER).unwrap().is_empty());
        assert!(take(&state, &mut theirs, uuid, Duration::ZERO).unwrap().is_some());
    }
}
