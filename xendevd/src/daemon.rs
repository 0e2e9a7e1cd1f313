//! The event loop: waits for all that can happen, and hands each event to whom it concerns. Nothing
//! in it waits for anything else.
//!
//! | source | what comes | goes to |
//! |---|---|---|
//! | netlink | the kernel's messages about devices | [`Hotplug`] |
//! | eventfd | workers have finished something | [`Hotplug`] |
//! | xenstored | events of watches, the end of the connection | [`Hotplug`] |
//! | signalfd | stop, reload, a script has ended | here |
//! | socket | clients and their requests | `server`, then here |
//! | clock | what is due | all of them |

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use h2::OpenError;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use crate::config::Config;
use crate::console::Consoles;
use crate::device::DeviceId;
use crate::exit::AlreadyRuns;
use crate::hotplug::Hotplug;
use crate::lifecycle::Lifecycle;
use crate::protocol::{Answer, Command, Status};
use crate::server::{ClientId, SETTLE_LIMIT, Server};
use crate::service::Service;
use crate::signals::Signals;
use crate::uevents::Uevents;
use crate::xenstore::chain;

/// How the daemon was started.
#[derive(Debug)]
pub(crate) struct Options {
    /// The configuration file that was named.
    pub(crate) config: Option<PathBuf>,
    /// Where it listens.
    pub(crate) socket: PathBuf,
    /// How much it logs, whatever the configuration says.
    pub(crate) level: Option<log::LevelFilter>,
}

/// The daemon.
#[derive(Debug)]
pub(crate) struct Daemon {
    options: Options,
    started: Instant,
    hotplug: Hotplug,
    lifecycle: Option<Lifecycle>,
    consoles: Option<Consoles>,
    server: Server,
    service: Service,
    signals: Signals,
    uevents: Uevents,
    /// Clients who wait for a device, or for all of them, and until when.
    waiting: Vec<(ClientId, Option<DeviceId>, Instant)>,
    /// Somebody has just begun to wait, perhaps for what is done already.
    asked: bool,
    /// Nobody hears twice that xenstored is not there.
    mourned: bool,
    _lock: Flock<File>,
}

impl Daemon {
    /// Gets everything ready. xenstored need not be there yet.
    pub(crate) fn start(options: Options) -> Result<Self> {
        let config = Config::load(options.config.as_deref())?;
        set_level(&options, &config);
        if !Path::new("/sys/hypervisor/type").exists() && !Path::new("/proc/xen").exists() {
            return Err(OpenError::NotXen.into());
        }
        let lock = lock(&options.socket)?;
        // Before there is another thread.
        let signals = Signals::catch().context("cannot catch signals")?;
        // Before anything is looked at, so that nothing is missed.
        let uevents =
            Uevents::listen().context("cannot listen to the kernel's messages about devices")?;
        let server = Server::listen(&options.socket)
            .with_context(|| format!("cannot listen on {}", options.socket.display()))?;
        let lifecycle = match config.lifecycle {
            true => Some(Lifecycle::start().context("cannot start a thread")?),
            false => None,
        };
        let consoles = match config.consoles {
            true => Some(Consoles::start().context("cannot start a thread")?),
            false => None,
        };
        let hotplug =
            Hotplug::new(config).context("cannot talk to the kernel about network interfaces")?;
        Ok(Self {
            options,
            started: Instant::now(),
            hotplug,
            lifecycle,
            consoles,
            server,
            service: Service::new(),
            signals,
            uevents,
            waiting: Vec::new(),
            asked: false,
            mourned: false,
            _lock: lock,
        })
    }

    /// Serves until a signal says that it is enough.
    pub(crate) fn run(mut self) -> Result<()> {
        log::info!(
            "xendevd {} serves on {}",
            env!("CARGO_PKG_VERSION"),
            self.options.socket.display()
        );
        // Those who start after us find their guests' devices served.
        let connected = self.hotplug.connect();
        self.connected(connected);
        self.service.ready();
        loop {
            let more = self.take_uevents();
            let stop = self.round(more)?;
            if stop {
                break;
            }
        }
        self.service.stopping();
        if let Some(lifecycle) = self.lifecycle.take() {
            lifecycle.stop();
        }
        if let Some(consoles) = self.consoles.take() {
            consoles.stop();
        }
        log::info!("stopped; guests keep their devices");
        Ok(())
    }

    /// Waits, and deals with what has come. Whether it is time to stop.
    fn round(&mut self, more_uevents: bool) -> Result<bool> {
        self.hotplug.take_results();
        self.hotplug.take_store_events();
        let now = Instant::now();
        let connected = self.hotplug.reach(now);
        self.connected(connected);
        self.hotplug.tick(now);
        self.answer_waiting(more_uevents);
        self.server.expire(now);
        self.service.pulse(now);
        self.tell();

        let buffered = self.server.buffered();
        let at_once = more_uevents || !buffered.is_empty() || std::mem::take(&mut self.asked);
        let pause = if at_once { Duration::ZERO } else { self.pause() };
        let (ready_clients, signals, accept) = self.wait(pause)?;
        if signals && self.take_signals() {
            return Ok(true);
        }
        let now = Instant::now();
        for id in buffered.into_iter().chain(ready_clients) {
            if let Some(command) = self.server.ready(id, now) {
                self.request(id, command, now);
            }
        }
        if accept {
            self.server.accept(now);
        }
        Ok(false)
    }

    /// Waits for an event, but not beyond what is due. The clients that are ready, whether there
    /// are signals, and whether clients have come.
    fn wait(&self, pause: Duration) -> Result<(Vec<ClientId>, bool, bool)> {
        let xenstored = self.hotplug.xenstored();
        let mut fds = vec![
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.server.listener(), PollFlags::POLLIN),
            PollFd::new(self.uevents.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.hotplug.workers(), PollFlags::POLLIN),
        ];
        fds.extend(xenstored.as_ref().map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)));
        let first_client = fds.len();
        let mut ids = Vec::new();
        for (id, fd, flags) in self.server.clients() {
            ids.push(id);
            fds.push(PollFd::new(fd, flags));
        }
        // Rounded up, so that what is due is due then.
        let limit = match pause {
            Duration::ZERO => PollTimeout::ZERO,
            pause => {
                PollTimeout::try_from(pause + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
            }
        };
        match poll(&mut fds, limit) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok((Vec::new(), false, false)),
            Err(error) => return Err(error).context("cannot wait for events"),
        }
        let ready = |at: usize| fds.get(at).and_then(PollFd::any).unwrap_or(false);
        let clients = ids
            .iter()
            .enumerate()
            .filter(|(at, _)| ready(first_client + at))
            .map(|(_, id)| *id)
            .collect();
        Ok((clients, ready(0), ready(1)))
    }

    /// How long nothing is due.
    fn pause(&self) -> Duration {
        let waiting = self.waiting.iter().map(|(_, _, end)| *end).min();
        let due =
            [self.hotplug.next_tick(), self.server.next_end(), self.service.next_pulse(), waiting];
        let due = due.into_iter().flatten().min();
        due.map_or(Duration::from_secs(3600), |due| due.saturating_duration_since(Instant::now()))
    }

    /// Takes what the kernel has said. Whether there is more.
    fn take_uevents(&mut self) -> bool {
        let taken = self.uevents.take();
        if taken.lost {
            self.hotplug.lost_uevents();
        }
        for event in &taken.events {
            self.hotplug.uevent(event);
        }
        !taken.all
    }

    /// Whether it is time to stop.
    fn take_signals(&mut self) -> bool {
        let mut stop = false;
        for signal in self.signals.take() {
            match signal {
                Signal::SIGHUP => {
                    if let Err(error) = self.reload() {
                        log::error!("the old configuration stays: {error:#}");
                    }
                }
                Signal::SIGCHLD => self.hotplug.reap(Instant::now()),
                _ => stop = true,
            }
        }
        stop
    }

    fn reload(&mut self) -> Result<()> {
        self.service.reloading();
        let config = Config::load(self.options.config.as_deref());
        // Devices are looked at whatever became of the file.
        self.hotplug.want_sweep(true);
        self.service.ready();
        let config = config?;
        set_level(&self.options, &config);
        match (config.lifecycle, self.lifecycle.take()) {
            (true, None) => {
                self.lifecycle = Some(Lifecycle::start().context("cannot start a thread")?)
            }
            (true, Some(lifecycle)) => {
                lifecycle.retry();
                self.lifecycle = Some(lifecycle);
            }
            (false, Some(lifecycle)) => lifecycle.stop(),
            (false, None) => {}
        }
        match (config.consoles, self.consoles.take()) {
            (true, None) => {
                self.consoles = Some(Consoles::start().context("cannot start a thread")?)
            }
            (true, Some(consoles)) => self.consoles = Some(consoles),
            (false, Some(consoles)) => consoles.stop(),
            (false, None) => {}
        }
        self.hotplug.configure(config);
        log::info!("reloaded");
        Ok(())
    }

    fn connected(&mut self, result: Result<bool, OpenError>) {
        match result {
            Ok(true) => {
                log::info!("connected to xenstored");
                self.mourned = false;
            }
            Ok(false) => {}
            Err(error) if !self.mourned => {
                log::warn!("{}; it is tried again until it works", chain(&error));
                self.mourned = true;
            }
            Err(_) => {}
        }
    }

    fn tell(&mut self) {
        let status = match (self.hotplug.is_connected(), self.hotplug.has_noxs()) {
            (true, _) => self.hotplug.summary(),
            (false, true) => format!("{}; without xenstored", self.hotplug.summary()),
            (false, false) => "waiting for xenstored".to_owned(),
        };
        self.service.status(&status);
    }

    fn request(&mut self, id: ClientId, command: Command, now: Instant) {
        self.asked = true;
        let answer = match command {
            Command::Settle => return self.waiting.push((id, None, now + SETTLE_LIMIT)),
            Command::Wait(device) => {
                return self.waiting.push((id, Some(device), now + SETTLE_LIMIT));
            }
            Command::Reload => match self.reload() {
                Ok(()) => Answer::Done,
                Err(error) => Answer::Error { message: format!("{error:#}") },
            },
            Command::Status => Answer::Status(Box::new(self.status())),
        };
        self.server.answer(id, answer, now);
    }

    /// Answers those for whom it is time. The kernel was asked for more since they came.
    fn answer_waiting(&mut self, more_uevents: bool) {
        if self.waiting.is_empty() {
            return;
        }
        let now = Instant::now();
        let (server, hotplug) = (&mut self.server, &self.hotplug);
        self.waiting.retain(|(id, device, end)| {
            let outcome = match device {
                _ if more_uevents => None,
                Some(device) => hotplug.outcome(*device),
                None => hotplug.is_settled().then_some(Ok(())),
            };
            let answer = match outcome {
                Some(Ok(())) => Answer::Done,
                Some(Err(message)) => Answer::Error { message },
                None if now >= *end => {
                    let message = format!(
                        "not done within {} s: {}",
                        SETTLE_LIMIT.as_secs(),
                        hotplug.summary()
                    );
                    Answer::Error { message }
                }
                None => return true,
            };
            server.answer(*id, answer, now);
            false
        });
    }

    fn status(&mut self) -> Status {
        let load = self.hotplug.load();
        Status {
            daemon: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_s: self.started.elapsed().as_secs(),
            xenstore: self.hotplug.is_connected(),
            noxs: self.hotplug.has_noxs(),
            settled: self.hotplug.is_settled(),
            counters: self.hotplug.counters(),
            jobs_running: load.running,
            jobs_queued: load.queued,
            devices: self.hotplug.view(),
            restarts: self.lifecycle.as_ref().map(Lifecycle::restarts).unwrap_or_default(),
            consoles: self.consoles.as_ref().map(Consoles::status).unwrap_or_default(),
        }
    }
}

fn set_level(options: &Options, config: &Config) {
    log::set_max_level(options.level.unwrap_or(config.log_level));
}

/// Makes sure that there is no other daemon. The kernel lets go of the lock with the process.
fn lock(socket: &Path) -> Result<Flock<File>> {
    let folder = socket.parent().unwrap_or(Path::new("/"));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("cannot make {}", folder.display()))?;
    let path = socket.with_extension("lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = file.with_context(|| format!("cannot open {}", path.display()))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(lock),
        Err((_, Errno::EWOULDBLOCK)) => Err(AlreadyRuns(socket.to_owned()).into()),
        Err((_, error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
}
