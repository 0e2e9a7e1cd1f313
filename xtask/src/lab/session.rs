//! One life of a lab host, from power-on until the job is done or the host is beyond hope.
//!
//! ```text
//!   booting --"ready"--> running --"exit STATUS"--> draining --end marks--> done
//!      |                    |                          |
//!      +--------------------+------ panic, silence, timeout, signal, QEMU gone: Failure
//! ```
//!
//! One loop takes the events of all sockets, signals and keys in the order of their arrival; each
//! source has a thread that only reads.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGWINCH};

use super::console::Console;
use super::failure::Failure;
use super::qemu::{CONSOLE, Machine, PORTS, Qemu, TTY};
use super::stream::Marked;
use super::tty;

/// How long a dying host may go on talking: the stack trace comes after the panic.
const LAST_WORDS: Duration = Duration::from_secs(8);

/// How often dom0 is asked whether it lives, and how long it may take to answer. A dom0 that swaps
/// or is starved of its processors is slow.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_LIMIT: Duration = Duration::from_secs(120);

/// How long what is still on its way may take after the job's end.
const DRAIN_LIMIT: Duration = Duration::from_secs(60);

/// What the loop waits for.
#[derive(Debug)]
pub(crate) enum Event {
    Bytes(&'static str, Vec<u8>),
    Connected(&'static str, UnixStream),
    Signal(i32),
    Typed(Vec<u8>),
    Escape,
}

/// Where the job's output goes.
pub(crate) struct Outputs<'a> {
    pub(crate) stdout: &'a mut dyn Write,
    pub(crate) stderr: &'a mut dyn Write,
    /// The tar of what is copied out.
    pub(crate) out: PathBuf,
}

impl std::fmt::Debug for Outputs<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Outputs").field("out", &self.out).finish_non_exhaustive()
    }
}

/// The session's state.
pub(crate) struct Session<'a> {
    machine: &'a Machine<'a>,
    outputs: Outputs<'a>,
    qemu: Qemu,
    events: Receiver<Event>,
    sender: SyncSender<Event>,
    console: Console,
    start: Instant,
    ready: Option<Instant>,
    status: Option<(i32, Instant)>,
    dying: Option<(String, Instant)>,
    control: Option<UnixStream>,
    control_line: Vec<u8>,
    tty: Option<UnixStream>,
    raw: Option<tty::Raw>,
    streams: [(&'static str, Marked); 3],
    out: File,
    asked: Instant,
    heard: Instant,
}

/// Powers the host on and returns the status of its job.
pub(crate) fn run<'a>(machine: &'a Machine<'a>, mark: &str, outputs: Outputs<'a>) -> Result<i32> {
    let (sender, events) = sync_channel(64);
    let mut names = vec![CONSOLE];
    names.extend(PORTS);
    if machine.shell {
        names.push(TTY);
    }
    for name in names {
        read_socket(name, machine.listen(name)?, sender.clone());
    }
    read_signals(sender.clone())?;
    let now = Instant::now();
    let mark = format!("\0{mark}\0");
    let stream = |name| (name, Marked::new(mark.as_bytes()));
    let mut session = Session {
        machine,
        console: Console::new(&machine.dir.join("console.log"))?,
        out: File::create(&outputs.out)?,
        outputs,
        qemu: machine.start()?,
        events,
        sender,
        start: now,
        ready: None,
        status: None,
        dying: None,
        control: None,
        control_line: Vec::new(),
        tty: None,
        raw: None,
        streams: [stream("stdout"), stream("stderr"), stream("out")],
        asked: now,
        heard: now,
    };
    let ended = session.live();
    session.raw = None;
    ended
}

impl Session<'_> {
    fn live(&mut self) -> Result<i32> {
        loop {
            match self.events.recv_timeout(Duration::from_millis(500)) {
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
            Event::Signal(SIGWINCH) => {
                let (rows, columns) = tty::size();
                self.tell(&format!("winsize {rows} {columns}"));
                Ok(())
            }
            Event::Signal(number) => Err(Failure::interrupted(number).into()),
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
        match name {
            "stdout" => pass(&mut self.outputs.stdout, &passed),
            "stderr" => pass(&mut self.outputs.stderr, &passed),
            _ => self.out.write_all(&passed).context("cannot keep what is copied out"),
        }
    }

    fn control(&mut self, bytes: &[u8]) -> Result<()> {
        self.heard = Instant::now();
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
                    self.status = Some((status, Instant::now()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn is_ready(&mut self) -> Result<()> {
        let now = Instant::now();
        self.ready = Some(now);
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
        if self.dying.is_none()
            && let Some(death) = self.console.death()
        {
            self.dying = Some((death.to_owned(), Instant::now()));
        }
        let off = self.qemu.ended()?;
        if let Some((what, since)) = &self.dying
            && (off || since.elapsed() > LAST_WORDS)
        {
            let what = what.clone();
            return Err(self.failure(&what));
        }
        if off {
            let what = match self.ready {
                Some(_) => "the host powered off before the job was done",
                None => "the host powered off while it was starting",
            };
            return Err(self.failure(&format!("{what}{}", self.qemu_log())));
        }
        let options = self.machine.options;
        let elapsed = self.start.elapsed();
        if options.timeout.is_some_and(|limit| elapsed > Duration::from_secs(limit)) {
            return Err(self.failure(&format!(
                "timed out after {} s {}",
                elapsed.as_secs(),
                self.stage()
            )));
        }
        match (self.ready, self.status) {
            (None, _) if elapsed > options.boot_limit() => {
                Err(self.failure(&format!("the host hung: not up after {} s", elapsed.as_secs())))
            }
            (Some(_), Some((_, since))) if since.elapsed() > DRAIN_LIMIT => {
                Err(self.failure("the job's output did not end with the job"))
            }
            // With --icount a ping would come at another instruction in each run.
            (Some(_), _) if !options.icount => self.ping(),
            _ => Ok(()),
        }
    }

    fn ping(&mut self) -> Result<()> {
        let silent = self.heard.elapsed();
        if silent > PING_LIMIT {
            return Err(self.failure(&format!(
                "dom0 hung: no answer for {} s {}",
                silent.as_secs(),
                self.stage()
            )));
        }
        if self.asked.elapsed() > PING_EVERY {
            self.asked = Instant::now();
            self.tell("ping");
        }
        Ok(())
    }

    fn tell(&mut self, line: &str) {
        // A control port that is broken shows itself by the missing answer.
        let _ = self.control.as_mut().map(|control| writeln!(control, "{line}"));
    }

    fn stage(&self) -> &'static str {
        match (self.ready, self.status) {
            (None, _) => "while the host was starting",
            (Some(_), None) => "while the job was running",
            (Some(_), Some(_)) => "while its output was being copied",
        }
    }

    fn qemu_log(&self) -> String {
        let said = std::fs::read_to_string(self.machine.dir.join("qemu.log")).unwrap_or_default();
        if said.trim().is_empty() { String::new() } else { format!("; QEMU says: {}", said.trim()) }
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

fn read_signals(events: SyncSender<Event>) -> Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP, SIGWINCH])
        .context("cannot catch signals")?;
    thread::spawn(move || {
        for signal in &mut signals {
            if events.send(Event::Signal(signal)).is_err() {
                // The session is over, and what comes next expects to be stopped as any program is.
                let _ = signal_hook::low_level::emulate_default_handler(signal);
            }
        }
    });
    Ok(())
}
