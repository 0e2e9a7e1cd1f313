//! Runs hosts side by side, as many as processors keep busy and memory holds.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};

/// How long until we look again whether others have left us memory.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// What bounds the number of hosts.
pub(super) struct Bounds<'a> {
    /// How many may run at a time.
    pub(super) slots: usize,
    /// MiB that are available now.
    pub(super) memory: &'a (dyn Fn() -> Result<u64> + Sync),
    /// Whether nothing more may start.
    pub(super) stopped: &'a (dyn Fn() -> bool + Sync),
}

/// A host in line.
pub(super) trait Host {
    fn name(&self) -> &str;
    /// MiB that it takes.
    fn needs(&self) -> u64;
}

#[derive(Debug, Default)]
struct Running {
    hosts: usize,
    /// MiB that they may grow to.
    reserved: u64,
    /// MiB that were available before the first of them.
    budget: u64,
}

/// Runs `hosts` in this order, and returns what became of each; none: it was not started.
pub(super) fn run<H: Host + Sync, T: Send>(
    hosts: &[H],
    bounds: &Bounds<'_>,
    run: impl Fn(&H) -> T + Sync,
) -> Result<Vec<Option<T>>> {
    let running = Mutex::new(Running::default());
    let ended = Condvar::new();
    let (running, ended, run) = (&running, &ended, &run);
    thread::scope(|scope| {
        let mut started = Vec::new();
        for host in hosts {
            if !reserve(host, bounds, running, ended)? {
                break;
            }
            started.push(scope.spawn(move || {
                // Given back also if it panics: the others would wait for ever.
                let _reserved = Reserved { needs: host.needs(), running, ended };
                run(host)
            }));
        }
        let mut results = Vec::new();
        for thread in started {
            let result = thread.join().map_err(|_| anyhow!("the runner of a host panicked"))?;
            results.push(Some(result));
        }
        results.resize_with(hosts.len(), || None);
        Ok(results)
    })
}

/// Waits until there is a place for `host`, and takes it; false if nothing more may start.
fn reserve<H: Host>(
    host: &H,
    bounds: &Bounds<'_>,
    running: &Mutex<Running>,
    ended: &Condvar,
) -> Result<bool> {
    let mut state = lock(running);
    let mut said = false;
    loop {
        if (bounds.stopped)() {
            return Ok(false);
        }
        let available = (bounds.memory)()?;
        if state.hosts == 0 {
            state.budget = available;
        }
        // A host that has just started has not touched most of its memory yet.
        let left = available.min(state.budget.saturating_sub(state.reserved));
        let fits = host.needs() <= left;
        // One that does not fit alone never will: its start says so.
        if state.hosts == 0 || fits && state.hosts < bounds.slots {
            state.hosts += 1;
            state.reserved += host.needs();
            return Ok(true);
        }
        if !fits && state.hosts < bounds.slots && !said {
            let (name, needs) = (host.name(), host.needs());
            println!("[{name}] waits for memory: it needs {needs} MiB, and {left} MiB are left");
            said = true;
        }
        state = ended.wait_timeout(state, LOOK_AGAIN).unwrap_or_else(PoisonError::into_inner).0;
    }
}

struct Reserved<'a> {
    needs: u64,
    running: &'a Mutex<Running>,
    ended: &'a Condvar,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        let mut state = lock(self.running);
        state.hosts -= 1;
        state.reserved -= self.needs;
        self.ended.notify_all();
    }
}

fn lock(running: &Mutex<Running>) -> MutexGuard<'_, Running> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;
    use std::time::Duration;

    use super::{Bounds, Host, run};

    impl Host for u64 {
        fn name(&self) -> &str {
            "test"
        }

        fn needs(&self) -> u64 {
            *self
        }
    }

    /// The most that ran at a time.
    fn most(hosts: &[u64], slots: usize, memory: u64) -> usize {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let memory = || Ok(memory);
        let bounds = Bounds { slots, memory: &memory, stopped: &|| false };
        let results = run(hosts, &bounds, |needs| {
            let running = now.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(running, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(50));
            now.fetch_sub(1, Ordering::SeqCst);
            *needs
        });
        let ran: Vec<u64> = results.unwrap().into_iter().flatten().collect();
        assert_eq!(ran, hosts);
        most.into_inner()
    }

    #[test]
    fn no_more_run_than_there_are_slots() {
        assert_eq!(most(&[1; 6], 3, 1000), 3);
        assert_eq!(most(&[1; 2], 3, 1000), 2);
    }

    #[test]
    fn no_more_run_than_memory_holds() {
        // Available memory does not fall while they run: they have not touched theirs yet.
        assert_eq!(most(&[400; 6], 6, 1000), 2);
        // What never fits is started alone, and tells what is wrong by itself.
        assert_eq!(most(&[2000, 2000], 6, 1000), 1);
    }

    #[test]
    fn after_a_stop_nothing_starts() {
        let began = AtomicUsize::new(0);
        let stopped = || began.load(Ordering::SeqCst) > 0;
        let bounds = Bounds { slots: 1, memory: &|| Ok(1000), stopped: &stopped };
        let results = run(&[1, 1, 1], &bounds, |_| began.fetch_add(1, Ordering::SeqCst));
        assert_eq!(results.unwrap(), [Some(0), None, None]);
    }
}
