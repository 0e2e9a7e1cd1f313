//! Threads for what may block on a disk, so that the event loop never does.
//!
//! A call that hangs keeps its thread, and nothing can be done about that from here: the caller
//! stops waiting for it by itself. So that a guest whose disk hangs cannot take all threads, each
//! guest has a few at a time, and what else it needs waits in the queue.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use h2::DomId;
use nix::sys::eventfd::{EfdFlags, EventFd};

/// The most threads.
const MAX_THREADS: usize = 256;

/// The most threads that work for one guest at a time.
const MAX_PER_GUEST: usize = 4;

/// A job opens files and makes ioctls.
const STACK: usize = 256 << 10;

/// Tells a job's result from another's.
pub type Ticket = u64;

type Work<T> = Box<dyn FnOnce() -> T + Send>;

/// The threads, and what they have done.
#[derive(Debug)]
pub struct Workers<T> {
    shared: Arc<Shared<T>>,
    results: Receiver<(Ticket, T)>,
    last: Ticket,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    more: Condvar,
    done: EventFd,
    sender: Sender<(Ticket, T)>,
}

struct State<T> {
    queue: VecDeque<(Ticket, DomId, Work<T>)>,
    running: HashMap<DomId, usize>,
    threads: usize,
    idle: usize,
}

/// How much is going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Jobs that threads are at.
    pub running: usize,
    /// Jobs that wait for a thread.
    pub queued: usize,
}

impl<T: Send + 'static> Workers<T> {
    /// None yet: threads are made when there is work.
    ///
    /// # Errors
    /// [`io::Error`] if there is no descriptor left.
    pub fn new() -> io::Result<Self> {
        let (sender, results) = channel();
        let done = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let state = State { queue: VecDeque::new(), running: HashMap::new(), threads: 0, idle: 0 };
        let shared = Shared { state: Mutex::new(state), more: Condvar::new(), done, sender };
        Ok(Self { shared: Arc::new(shared), results, last: 0 })
    }

    /// Has `work` done on behalf of a guest. Its result comes under the ticket, or never.
    pub fn submit(&mut self, guest: DomId, work: impl FnOnce() -> T + Send + 'static) -> Ticket {
        self.last += 1;
        let mut state = self.shared.lock();
        state.queue.push_back((self.last, guest, Box::new(work)));
        if state.idle == 0 && state.threads < MAX_THREADS {
            let shared = Arc::clone(&self.shared);
            let thread = thread::Builder::new().name("worker".to_owned()).stack_size(STACK);
            match thread.spawn(move || shared.work()) {
                Ok(_) => state.threads += 1,
                // One that exists takes it later; if there is none, whoever waits for the result
                // stops waiting.
                Err(error) => log::error!("no thread for work on a disk: {error}"),
            }
        }
        drop(state);
        self.shared.more.notify_one();
        self.last
    }

    /// The results that have come. To be called when the descriptor is readable.
    pub fn results(&mut self) -> Vec<(Ticket, T)> {
        // Nothing to read is fine: the results are what counts.
        let _ = self.shared.done.read();
        self.results.try_iter().collect()
    }

    /// How much is going on.
    #[must_use]
    pub fn load(&self) -> Load {
        let state = self.shared.lock();
        Load { running: state.running.values().sum(), queued: state.queue.len() }
    }
}

impl<T> AsFd for Workers<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.done.as_fd()
    }
}

impl<T> Shared<T> {
    /// A panic with the lock held is impossible but for a lack of memory, and leaves nothing half
    /// done.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread's life.
    fn work(&self) {
        loop {
            let (ticket, guest, work) = self.next();
            match catch_unwind(AssertUnwindSafe(work)) {
                // Nobody listens when the program ends.
                Ok(result) => _ = self.sender.send((ticket, result)),
                Err(_) => log::error!("work for domain {guest} has failed in an unforeseen way"),
            }
            let mut state = self.lock();
            if let Some(count) = state.running.get_mut(&guest) {
                *count -= 1;
                if *count == 0 {
                    state.running.remove(&guest);
                }
            }
            drop(state);
            // What waited because of this guest's share may start now.
            self.more.notify_one();
            let _ = self.done.write(1);
        }
    }

    /// The next job of a guest that has its share not yet.
    fn next(&self) -> (Ticket, DomId, Work<T>) {
        let mut state = self.lock();
        loop {
            let State { queue, running, .. } = &mut *state;
            let ready = |guest: &DomId| running.get(guest).copied().unwrap_or(0) < MAX_PER_GUEST;
            if let Some(job) =
                queue.iter().position(|(_, guest, _)| ready(guest)).and_then(|at| queue.remove(at))
            {
                *running.entry(job.1).or_default() += 1;
                return job;
            }
            state.idle += 1;
            state = self.more.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }
}

impl<T> std::fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Barrier;
    use std::time::{Duration, Instant};

    use nix::poll::{PollFd, PollFlags, poll};

    use super::*;

    fn wait<T: Send + 'static>(workers: &mut Workers<T>, count: usize) -> Vec<(Ticket, T)> {
        let mut all = Vec::new();
        let end = Instant::now() + Duration::from_secs(60);
        while all.len() < count {
            assert!(Instant::now() < end, "results did not come");
            poll(&mut [PollFd::new(workers.as_fd(), PollFlags::POLLIN)], 1000u16).unwrap();
            all.extend(workers.results());
        }
        all
    }

    #[test]
    fn a_guest_that_hangs_leaves_the_others_alone() {
        let mut workers = Workers::new().unwrap();
        let [bad, good] = [5, 6].map(|id| DomId::new(id).unwrap());
        let gate = Arc::new(Barrier::new(MAX_PER_GUEST + 1));
        for _ in 0..MAX_PER_GUEST {
            let gate = Arc::clone(&gate);
            workers.submit(bad, move || {
                gate.wait();
                0
            });
        }
        let late = workers.submit(bad, || 1);
        let ticket = workers.submit(good, || 2);
        assert_eq!(wait(&mut workers, 1), [(ticket, 2)]);
        assert_eq!(workers.load(), Load { running: MAX_PER_GUEST, queued: 1 });
        gate.wait();
        assert!(wait(&mut workers, MAX_PER_GUEST + 1).contains(&(late, 1)));
    }

    #[test]
    fn a_panic_ends_one_job_only() {
        let mut workers = Workers::new().unwrap();
        let guest = DomId::DOM0;
        #[allow(clippy::panic)]
        workers.submit(guest, || panic!("on purpose"));
        let ticket = workers.submit(guest, || 7);
        assert_eq!(wait(&mut workers, 1), [(ticket, 7)]);
    }
}
