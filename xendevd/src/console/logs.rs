//! What guests print goes to files, one for each name of a guest, by a thread that nobody waits
//! for: a disk may be full, or hang.
//!
//! ```text
//!   Logs --(at most 4 MiB wait; what does not fit is lost, and the log says so)--> the thread --> NAME.log, NAME.log.1
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::files::{Files, MAX_FILE};

/// What may wait for the disk, in bytes.
const MAX_WAITING: usize = 4 << 20;

/// How long the end of the daemon waits for the disk.
const STOP_LIMIT: Duration = Duration::from_secs(3);

/// The logs of all guests.
#[derive(Debug)]
pub(super) struct Logs {
    shared: Arc<Shared>,
    ended: Receiver<()>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// In the order in which guests have begun to wait.
    queue: VecDeque<String>,
    waiting: BTreeMap<String, Waiting>,
    bytes: usize,
    stop: bool,
}

/// What waits for a log.
#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    lost: u64,
}

impl Shared {
    /// Nothing that is done with the lock held can panic but for a lack of memory.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Logs {
    /// Starts the thread, which keeps its files in `folder`.
    pub(super) fn start(folder: PathBuf) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (sender, ended) = channel();
        thread::Builder::new().name("console-logs".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || run(&shared, Files::new(folder), &sender)
        })?;
        Ok(Self { shared, ended })
    }

    /// Adds what a guest has printed to its log, some time or other.
    pub(super) fn write(&self, guest: &str, bytes: &[u8]) {
        let mut state = self.shared.lock();
        let fits = state.bytes + bytes.len() <= MAX_WAITING;
        let State { queue, waiting, bytes: all, .. } = &mut *state;
        if !waiting.contains_key(guest) {
            queue.push_back(guest.to_owned());
        }
        let waiting = waiting.entry(guest.to_owned()).or_default();
        // One that is behind does not take the room of the others, and a log has no use for more
        // than a file of it.
        if fits && waiting.lost == 0 && waiting.bytes.len() + bytes.len() <= MAX_FILE / 2 {
            waiting.bytes.extend_from_slice(bytes);
            *all += bytes.len();
        } else {
            waiting.lost += bytes.len() as u64;
        }
        drop(state);
        self.shared.more.notify_one();
    }

    fn end(&self) {
        self.shared.lock().stop = true;
        self.shared.more.notify_one();
    }

    /// Ends the thread when all is written, but does not wait for ever.
    pub(super) fn stop(self) {
        self.end();
        if self.ended.recv_timeout(STOP_LIMIT).is_err() {
            log::warn!(
                "the disk takes too long: the end of what guests have printed is missing in their \
                 logs"
            );
        }
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        self.end();
    }
}

/// The thread's life.
fn run(shared: &Shared, mut files: Files, ended: &Sender<()>) {
    let mut state = shared.lock();
    loop {
        while let Some(guest) = state.queue.pop_front() {
            let waiting = state.waiting.remove(&guest).unwrap_or_default();
            state.bytes -= waiting.bytes.len();
            drop(state);
            files.append(&guest, &waiting.bytes, waiting.lost);
            state = shared.lock();
        }
        if state.stop {
            // Nobody waits unless the daemon is stopping.
            let _ = ended.send(());
            return;
        }
        state = shared.more.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;
    use std::time::Instant;

    use super::*;

    #[test]
    fn what_is_printed_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let logs = Logs::start(dir.path().to_owned()).unwrap();
        for number in 0..1000 {
            logs.write("a", format!("{number}\n").as_bytes());
            logs.write("b", b"x");
        }
        logs.stop();
        let text = fs::read_to_string(dir.path().join("a.log")).unwrap();
        assert_eq!(text, (0..1000).map(|number| format!("{number}\n")).collect::<String>());
        assert_eq!(fs::read(dir.path().join("b.log")).unwrap(), vec![b'x'; 1000]);
    }

    /// A pipe that nobody reads stands for a disk that hangs.
    #[test]
    fn a_disk_that_hangs_holds_up_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("a.log");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let logs = Logs::start(dir.path().to_owned()).unwrap();
        let start = Instant::now();
        for _ in 0..10_000 {
            logs.write("a", &[b'x'; 2048]);
        }
        assert!(logs.shared.lock().bytes <= MAX_WAITING);
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    }
}
