//! One life of a lab host, from power-on until the job is done or the host is beyond hope.
//!
//! ```text
//!   booting --"ready"--> running --"exit STATUS"--> draining --end marks--> done
//!      |                    |                          |
//!      +--------------------+------ panic, silence, timeout, full disk, QEMU gone,
//!                                   signal, deadline: Failure
//! ```
//!
//! One loop takes the events of all sockets and keys in the order of their arrival; each source has
//! a thread that only reads. Times are by [`Clock`], but for those that are shown.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use signal_hook::consts::SIGINT;

use super::clock::Clock;
use super::console::Console;
use super::failure::Failure;
use super::qemu::{self, CONSOLE, Machine, PORTS, Qemu, TTY};
use super::stream::Marked;
use super::{logs, room, tty};
use crate::plain::plain;
use crate::stop::{self, Notice, Reason};

/// How long a dying host may go on talking: the stack trace comes after the panic.
const LAST_WORDS: Duration = Duration::from_secs(8);

/// How often dom0 is asked whether it lives, and how long it may take to answer. A dom0 that swaps
/// or is starved of its processors is slow.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_LIMIT: Duration = Duration::from_secs(120);

/// How long what is still on its way may take after the job's end.
const DRAIN_LIMIT: Duration = Duration::from_secs(60);

/// How often we look what QEMU says, and whether there is space left for what the host writes.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The file in the host's folder with the tar of what is copied out.
pub(crate) const OUT: &str = "out.tar";

/// What the loop waits for.
#[derive(Debug)]
pub(crate) enum Event {
    Bytes(&'static str, Vec<u8>),
    Connected(&'static str, UnixStream),
    Resized,
    /// We are told to stop; why is with [`stop::reason`].
    Stopped,
    Typed(Vec<u8>),
    Escape,
}

/// Where the job's output goes.
pub(crate) struct Outputs<'a> {
    pub(crate) stdout: &'a mut dyn Write,
    pub(crate) stderr: &'a mut dyn Write,
}

impl std::fmt::Debug for Outputs<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Outputs").finish_non_exhaustive()
    }
}

/// The session's state.
pub(crate) struct Session<'a> {
    machine: &'a Machine<'a>,
    /// The host's folder.
    dir: &'a Path,
    outputs: Outputs<'a>,
    qemu: Qemu,
    events: Receiver<Event>,
    sender: SyncSender<Event>,
    console: Console,
    /// When the host was powered on, and when it was up; to be shown.
    start: Instant,
    up: Option<Instant>,
    clock: Clock,
    status: Option<(i32, Duration)>,
    dying: Option<(String, Duration)>,
    control: Option<UnixStream>,
    control_line: Vec<u8>,
    tty: Option<UnixStream>,
    raw: Option<tty::Raw>,
    streams: [(&'static str, Marked); 3],
    out: File,
    /// stdout and stderr, to be kept.
    log: File,
    asked: Duration,
    heard: Duration,
    looked: Duration,
}

/// Powers the host on in `dir` and returns the status of its job.
pub(crate) fn run<'a>(
    machine: &'a Machine<'a>,
    dir: &'a Path,
    mark: &str,
    outputs: Outputs<'a>,
) -> Result<i32> {
    let (sender, events) = sync_channel(64);
    let mut names = vec![CONSOLE];
    names.extend(PORTS);
    if machine.shell {
        names.push(TTY);
    }
    for name in names {
        read_socket(name, qemu::listen(dir, name)?, sender.clone());
    }
    let notices = sender.clone();
    let _subscription = stop::subscribe(move |notice| {
        // If there is no place for it now, the loop is awake, and looks for a reason to stop
        // itself.
        let _ = notices.try_send(match notice {
            Notice::Resized => Event::Resized,
            Notice::Stop(_) => Event::Stopped,
        });
    })?;
    let now = Instant::now();
    let mark = format!("\0{mark}\0");
    let stream = |name| (name, Marked::new(mark.as_bytes()));
    let mut session = Session {
        machine,
        dir,
        console: Console::new(&dir.join(logs::CONSOLE))?,
        out: File::create(dir.join(OUT))?,
        log: File::create(dir.join(logs::OUTPUT))?,
        outputs,
        qemu: machine.start(dir)?,
        events,
        sender,
        start: now,
        up: None,
        clock: Clock::new(now),
        status: None,
        dying: None,
        control: None,
        control_line: Vec::new(),
        tty: None,
        raw: None,
        streams: [stream("stdout"), stream("stderr"), stream("out")],
        asked: Duration::ZERO,
        heard: Duration::ZERO,
        looked: Duration::ZERO,
    };
    let ended = session.live();
    session.raw = None;
    ended
}

impl Session<'_> {
    fn live(&mut self) -> Result<i32> {
        loop {
            let event = self.events.recv_timeout(Duration::from_millis(500));
            self.clock.turn(Instant::now());
            match event {
                Ok(event) => self.take(event)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(self.failure("nothing is left to wait for"));
                }
            }
            if let Some((status, _)) = self.status
                && self.streams.iter().all(|(_, stream)| stream.ended())
            {
                return Ok(status);
            }
            self.check()?;
        }
    }

    fn take(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Bytes(CONSOLE, bytes) => self.console.feed(&bytes),
            Event::Bytes("control", bytes) => self.control(&bytes),
            Event::Bytes(TTY, bytes) => pass(&mut self.outputs.stdout, &bytes),
            Event::Bytes(name, bytes) => self.output(name, &bytes),
            Event::Connected("control", stream) => {
                self.control = Some(stream);
                Ok(())
            }
            Event::Connected(name, stream) => {
                if name == TTY {
                    self.tty = Some(stream);
                }
                Ok(())
            }
            Event::Resized => {
                let (rows, columns) = tty::size();
                self.tell(&format!("winsize {rows} {columns}"));
                Ok(())
            }
            // The next look finds out why.
            Event::Stopped => Ok(()),
            Event::Typed(bytes) => {
                // A terminal that dom0 does not read is like a hung line: nothing more can be done
                // about it here.
                let _ = self.tty.as_mut().map(|tty| tty.write_all(&bytes));
                Ok(())
            }
            Event::Escape => Err(Failure::interrupted(SIGINT).into()),
        }
    }

    fn output(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let Some((_, stream)) = self.streams.iter_mut().find(|(stream, _)| *stream == name) else {
            return Ok(());
        };
        let passed = stream.feed(bytes);
        let to: &mut dyn Write = match name {
            "stdout" => &mut self.outputs.stdout,
            "stderr" => &mut self.outputs.stderr,
            _ => return self.out.write_all(&passed).context("cannot keep what is copied out"),
        };
        self.log.write_all(&passed).context("cannot keep the job's output")?;
        pass(to, &passed)
    }

    fn control(&mut self, bytes: &[u8]) -> Result<()> {
        self.heard = self.clock.now();
        self.control_line.extend_from_slice(bytes);
        while let Some(end) = self.control_line.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.control_line.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line).trim().to_owned();
            match line.split_once(' ') {
                None if line == "ready" => self.is_ready()?,
                Some(("exit", status)) => {
                    let status = status
                        .parse()
                        .with_context(|| format!("the agent reports the status {status:?}"))?;
                    self.status = Some((status, self.clock.now()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn is_ready(&mut self) -> Result<()> {
        let now = Instant::now();
        self.up = Some(now);
        let mut phases = String::new();
        let mut before = self.start;
        for (name, end) in self.console.phases().iter().copied().chain([("systemd", now)]) {
            phases.push_str(&format!(
                "{}{name} {:.1}",
                if phases.is_empty() { "" } else { ", " },
                (end - before).as_secs_f64()
            ));
            before = end;
        }
        eprintln!("lab: host is up after {:.1} s ({phases})", (now - self.start).as_secs_f64());
        if self.machine.shell {
            self.raw = Some(tty::Raw::enter()?);
            tty::read_keys(self.sender.clone());
        }
        Ok(())
    }

    /// Looks for what no event tells: time that has passed, a QEMU that is gone.
    fn check(&mut self) -> Result<()> {
        match stop::reason() {
            Some(Reason::Signal(number)) => return Err(Failure::interrupted(number).into()),
            Some(Reason::Deadline) => {
                let what = format!("the time for everything was over {}", self.stage());
                return Err(self.failure(&what));
            }
            None => {}
        }
        if self.dying.is_none()
            && let Some(death) = self.console.death()
        {
            self.dying = Some((death.to_owned(), self.clock.now()));
        }
        let off = self.qemu.ended()?;
        if let Some((what, since)) = &self.dying
            && (off || self.clock.since(*since) > LAST_WORDS)
        {
            let what = what.clone();
            return Err(self.failure(&what));
        }
        if off {
            let what = match self.up {
                Some(_) => "the host powered off before the job was done",
                None => "the host powered off while it was starting",
            };
            return Err(self.failure(&format!("{what}{}", self.qemu_log())));
        }
        if self.clock.since(self.looked) >= LOOK_EVERY {
            self.looked = self.clock.now();
            self.check_qemu()?;
        }
        self.check_time()
    }

    /// QEMU stops a host whose disk it cannot write to, or whose instructions KVM cannot execute:
    /// it would be found to hang, and nobody would hear why.
    fn check_qemu(&mut self) -> Result<()> {
        if let Some(what) = room::full(self.dir)? {
            return Err(self.failure(&what));
        }
        let said = self.qemu_said();
        match said.lines().find(|line| line.starts_with("KVM internal error")) {
            Some(line) => Err(self.failure(&format!("this machine's KVM cannot run Xen: {line}"))),
            None => Ok(()),
        }
    }

    fn check_time(&mut self) -> Result<()> {
        let options = self.machine.options;
        let elapsed = self.clock.now();
        if options.timeout.is_some_and(|limit| elapsed > Duration::from_secs(limit)) {
            return Err(self.failure(&format!(
                "timed out after {} s {}",
                elapsed.as_secs(),
                self.stage()
            )));
        }
        match (self.up, self.status) {
            (None, _) if elapsed > options.boot_limit() => {
                Err(self.failure(&format!("the host hung: not up after {} s", elapsed.as_secs())))
            }
            (Some(_), Some((_, since))) if self.clock.since(since) > DRAIN_LIMIT => {
                Err(self.failure("the job's output did not end with the job"))
            }
            // With --icount a ping would come at another instruction in each run.
            (Some(_), _) if !options.icount => self.ping(),
            _ => Ok(()),
        }
    }

    fn ping(&mut self) -> Result<()> {
        let silent = self.clock.since(self.heard);
        if silent > PING_LIMIT {
            return Err(self.failure(&format!(
                "dom0 hung: no answer for {} s {}",
                silent.as_secs(),
                self.stage()
            )));
        }
        if self.clock.since(self.asked) > PING_EVERY {
            self.asked = self.clock.now();
            self.tell("ping");
        }
        Ok(())
    }

    fn tell(&mut self, line: &str) {
        // A control port that is broken shows itself by the missing answer.
        let _ = self.control.as_mut().map(|control| writeln!(control, "{line}"));
    }

    fn stage(&self) -> &'static str {
        match (self.up, self.status) {
            (None, _) => "while the host was starting",
            (Some(_), None) => "while the job was running",
            (Some(_), Some(_)) => "while its output was being copied",
        }
    }

    fn qemu_log(&self) -> String {
        let said = self.qemu_said();
        if said.is_empty() { String::new() } else { format!("; QEMU says: {said}") }
    }

    fn qemu_said(&self) -> String {
        let said = std::fs::read(self.dir.join(logs::QEMU)).unwrap_or_default();
        let lines: Vec<String> = String::from_utf8_lossy(&said).lines().map(plain).collect();
        lines.join("\n").trim().to_owned()
    }

    fn failure(&mut self, what: &str) -> anyhow::Error {
        // What came in meanwhile belongs to the picture.
        while let Ok(event) = self.events.try_recv() {
            if matches!(event, Event::Bytes(..)) {
                let _ = self.take(event);
            }
        }
        Failure::of_host(what, self.console.tail()).into()
    }
}

/// Writes through at once: a person is watching.
fn pass(to: &mut dyn Write, bytes: &[u8]) -> Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    to.write_all(bytes).and_then(|()| to.flush()).context("cannot write the job's output")
}

/// Passes on what comes in at `listener`, which QEMU alone connects to.
fn read_socket(name: &'static str, listener: UnixListener, events: SyncSender<Event>) {
    thread::spawn(move || {
        let Ok((mut stream, _)) = listener.accept() else {
            return;
        };
        if let Ok(writer) = stream.try_clone()
            && events.send(Event::Connected(name, writer)).is_err()
        {
            return;
        }
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count) = stream.read(&mut buffer) {
            if count == 0 || events.send(Event::Bytes(name, buffer[..count].to_vec())).is_err() {
                break;
            }
        }
    });
}
