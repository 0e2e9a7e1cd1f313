//! What becomes of the guests of `chaos` that end: they are destroyed, started again, or kept, as
//! their configuration says.
//!
//! A thread of its own, because starting a guest takes as long as it takes, with a connection of
//! its own to the hypervisor and to xenstored, which wakes it when a domain ends (the watch
//! `@releaseDomain`). xenstored knows nothing of NoXS guests and need not be there: of those
//! the kernel's NoXS node tells. Where neither tells of all guests, the hypervisor is asked every
//! half a second. [`pace`] says when; [`h2::lifecycle`] does it, and keeps away from guests that a
//! command has in hand.

mod keeper;
mod left;
pub mod pace;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use self::keeper::Keeper;
use crate::protocol::RestartStatus;
use crate::xenstore::chain;

/// How long until the next try to reach the hypervisor and xenstored; then twice as long, up to the
/// last.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// Without any event, ended guests are looked for after so long.
const LOOK: Duration = Duration::from_secs(60);

/// The same where the kernel tells, which has done so for less long than xenstored.
const SAFE_LOOK: Duration = Duration::from_secs(5);

/// The same where guests may end of which nobody tells.
const SHORT_LOOK: Duration = Duration::from_millis(500);

/// A guest that is just being started is waited for this long when the daemon stops. What is broken
/// off then, the next daemon finishes.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// The thread.
#[derive(Debug)]
pub struct Lifecycle {
    shared: Arc<Shared>,
    ended: Receiver<()>,
}

/// What the thread and its owner share.
#[derive(Debug)]
struct Shared {
    wake: EventFd,
    stop: AtomicBool,
    retry: AtomicBool,
    restarts: Mutex<Vec<(RestartStatus, Option<Instant>)>>,
}

impl Lifecycle {
    /// Starts the thread.
    ///
    /// # Errors
    /// [`io::Error`] if there is no descriptor or no thread left.
    pub fn start() -> io::Result<Self> {
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let shared = Shared {
            wake,
            stop: AtomicBool::new(false),
            retry: AtomicBool::new(false),
            restarts: Mutex::default(),
        };
        let shared = Arc::new(shared);
        let (sender, ended) = channel();
        thread::Builder::new().name("lifecycle".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || {
                run(&shared);
                // Nobody waits unless the daemon is stopping.
                let _ = sender.send(());
            }
        })?;
        Ok(Self { shared, ended })
    }

    /// Guests that have ended and are to be started again, or could not be.
    #[must_use]
    pub fn restarts(&self) -> Vec<RestartStatus> {
        let now = Instant::now();
        let milliseconds = |at: Instant| {
            u64::try_from(at.saturating_duration_since(now).as_millis()).unwrap_or(u64::MAX)
        };
        let restarts = self.shared.restarts.lock().unwrap_or_else(PoisonError::into_inner);
        restarts
            .iter()
            .map(|(status, at)| RestartStatus { in_ms: at.map(milliseconds), ..status.clone() })
            .collect()
    }

    /// Tries again what has failed for good.
    pub fn retry(&self) {
        self.shared.retry.store(true, Ordering::Release);
        let _ = self.shared.wake.write(1);
    }

    /// Ends the thread; a guest that is being started is waited for, but not for ever.
    pub fn stop(self) {
        self.shared.stop.store(true, Ordering::Release);
        let _ = self.shared.wake.write(1);
        if self.ended.recv_timeout(STOP_LIMIT).is_err() {
            log::warn!(
                "a guest is still being started or destroyed; what is not done is done at the \
                 next start"
            );
        }
    }
}

/// The thread's life.
fn run(shared: &Shared) {
    let mut keeper = Keeper::default();
    let mut retry = FIRST_RETRY;
    let mut woken = true;
    while !shared.stop.load(Ordering::Acquire) {
        match keeper.open() {
            Ok(true) => {
                log::info!("guests that end are looked after");
                retry = FIRST_RETRY;
            }
            Ok(false) => {}
            Err(error) => {
                if retry == FIRST_RETRY {
                    log::warn!("guests that end cannot be looked after now: {}", chain(&error));
                }
                wait(shared, [None, None], retry);
                retry = (retry * 2).min(LAST_RETRY);
                continue;
            }
        }
        if shared.retry.swap(false, Ordering::AcqRel) {
            keeper.retry(Instant::now());
        }
        keeper.connect(Instant::now());
        keeper.look(woken, || shared.stop.load(Ordering::Acquire));
        *shared.restarts.lock().unwrap_or_else(PoisonError::into_inner) = keeper.restarts();
        let longest = keeper.longest_pause();
        let pause = keeper
            .next()
            .map_or(longest, |at| at.saturating_duration_since(Instant::now()).min(longest));
        woken = keeper.take_events();
        if woken {
            continue;
        }
        let descriptor = keeper.descriptor();
        let tellers = [descriptor.as_ref().map(AsFd::as_fd), keeper.node()];
        woken = wait(shared, tellers, pause);
    }
}

/// Waits until something happens, or `limit` is over. Whether something has happened.
fn wait(shared: &Shared, tellers: [Option<BorrowedFd<'_>>; 2], limit: Duration) -> bool {
    let mut fds = vec![PollFd::new(shared.wake.as_fd(), PollFlags::POLLIN)];
    fds.extend(tellers.into_iter().flatten().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
    // Rounded up, so that what is due is due then.
    let limit = PollTimeout::try_from(limit + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
    let woken = match poll(&mut fds, limit) {
        Ok(ready) => ready > 0,
        Err(nix::errno::Errno::EINTR) => true,
        Err(error) => {
            log::error!("cannot wait for guests to end: {error}");
            thread::sleep(FIRST_RETRY);
            true
        }
    };
    let _ = shared.wake.read();
    woken
}
