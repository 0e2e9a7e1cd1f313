//! Why everything has to end: a signal, or a deadline.
//!
//! Whoever has something to put in order first (a host to switch off, a folder to remove)
//! subscribes, and looks at [`reason`] before it begins anything new. While nobody has subscribed,
//! a signal does what it does to any program. The second one does so in any case.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGWINCH};

/// What ends us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    Signal(i32),
    /// The time for everything is over.
    Deadline,
}

/// What a subscriber hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notice {
    Stop(Reason),
    /// The terminal has another size.
    Resized,
}

type Tell = Box<dyn Fn(Notice) + Send>;

struct Registry {
    listening: bool,
    reason: Option<Reason>,
    next: u64,
    subscribers: Vec<(u64, Tell)>,
}

static REGISTRY: Mutex<Registry> =
    Mutex::new(Registry { listening: false, reason: None, next: 0, subscribers: Vec::new() });

fn registry() -> MutexGuard<'static, Registry> {
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Dropped, it hears no more.
#[derive(Debug)]
pub(crate) struct Subscription(u64);

/// Has `tell` called with each notice, from another thread; it must not block.
pub(crate) fn subscribe(tell: impl Fn(Notice) + Send + 'static) -> Result<Subscription> {
    let mut registry = registry();
    if !registry.listening {
        listen()?;
        registry.listening = true;
    }
    let id = registry.next;
    registry.next += 1;
    registry.subscribers.push((id, Box::new(tell)));
    Ok(Subscription(id))
}

impl Drop for Subscription {
    fn drop(&mut self) {
        registry().subscribers.retain(|(id, _)| *id != self.0);
    }
}

/// Why everything has to end, if it has to.
pub(crate) fn reason() -> Option<Reason> {
    registry().reason
}

/// Ends everything after `limit`.
pub(crate) fn after(limit: Duration) {
    let deadline = Instant::now() + limit;
    thread::spawn(move || {
        while let Some(left) = deadline.checked_duration_since(Instant::now()) {
            thread::sleep(left.max(Duration::from_millis(1)));
        }
        registry().stop(Reason::Deadline);
    });
}

impl Registry {
    fn tell(&self, notice: Notice) {
        self.subscribers.iter().for_each(|(_, tell)| tell(notice));
    }

    /// False if nobody takes care of it.
    fn stop(&mut self, reason: Reason) -> bool {
        let first = self.reason.is_none();
        if first && !self.subscribers.is_empty() {
            self.reason = Some(reason);
            self.tell(Notice::Stop(reason));
        }
        first && !self.subscribers.is_empty()
    }
}

fn listen() -> Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP, SIGWINCH])
        .context("cannot catch signals")?;
    thread::spawn(move || {
        for signal in &mut signals {
            let mut registry = registry();
            if signal == SIGWINCH {
                registry.tell(Notice::Resized);
            } else if !registry.stop(Reason::Signal(signal)) {
                let _ = signal_hook::low_level::emulate_default_handler(signal);
            }
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::{Notice, Reason, Registry};

    #[test]
    fn all_hear_of_the_first_signal_and_nobody_of_the_second() {
        let (sender, heard) = channel();
        let mut registry =
            Registry { listening: true, reason: None, next: 0, subscribers: Vec::new() };
        assert!(!registry.stop(Reason::Signal(2)));
        for id in 0..3 {
            let sender = sender.clone();
            registry.subscribers.push((id, Box::new(move |notice| sender.send(notice).unwrap())));
        }
        // One of several is over: the others are told all the same.
        drop(registry.subscribers.remove(1));
        assert!(registry.stop(Reason::Signal(2)));
        assert!(!registry.stop(Reason::Signal(2)));
        assert_eq!(registry.reason, Some(Reason::Signal(2)));
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), [Notice::Stop(Reason::Signal(2)); 2]);
    }
}
