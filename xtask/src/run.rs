//! Child processes: how we start one, and what we say when it fails.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail};

/// How many lines of a failed command's output are worth showing.
pub(crate) const TAIL: usize = 40;

/// A command to be run to its end.
#[derive(Debug)]
pub(crate) struct Tool {
    command: Command,
    input: Option<Vec<u8>>,
}

impl Tool {
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program);
        command.stdin(Stdio::null());
        Tool { command, input: None }
    }

    /// A command that ends when this process does, however that comes about.
    pub(crate) fn tied(program: impl AsRef<OsStr>) -> Self {
        Tool { command: tied_command(program, "TERM"), input: None }
    }

    pub(crate) fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(args);
        self
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// What the command reads; it must be small enough for a pipe.
    pub(crate) fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.command.stdin(Stdio::piped());
        self.input = Some(input.into());
        self
    }

    /// Runs it with our own stdout and stderr.
    pub(crate) fn run(mut self) -> Result<()> {
        let shown = self.shown();
        let status = self.command.status().with_context(|| format!("cannot run {shown}"))?;
        if !status.success() {
            bail!("`{shown}` failed ({status})");
        }
        Ok(())
    }

    /// Runs it with its stdout going to `output`, as it comes.
    pub(crate) fn run_to(mut self, output: &mut dyn Write) -> Result<()> {
        let shown = self.shown();
        let mut child = self
            .command
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {shown}"))?;
        let mut copied = Ok(());
        if let Some(mut pipe) = child.stdout.take() {
            copied = std::io::copy(&mut pipe, output).map(drop);
        }
        let status = child.wait().with_context(|| format!("cannot run {shown}"))?;
        copied.with_context(|| format!("cannot pass on the output of {shown}"))?;
        if !status.success() {
            bail!("`{shown}` failed ({status})");
        }
        Ok(())
    }

    /// Runs it silently; what it said last goes into the error if it fails.
    pub(crate) fn log_on_failure(self) -> Result<()> {
        self.output().map(drop)
    }

    /// Runs it and returns what it printed on stdout.
    pub(crate) fn output(self) -> Result<String> {
        let shown = self.shown();
        let ended = self.ended()?;
        if !ended.status.success() {
            bail!("`{shown}` failed ({}):\n{}", ended.status, tail(&ended.said(), TAIL));
        }
        String::from_utf8(ended.stdout)
            .with_context(|| format!("`{shown}` printed something that is not UTF-8"))
    }

    /// Runs it silently and returns how it ended, success or not.
    pub(crate) fn ended(mut self) -> Result<Ended> {
        let shown = self.shown();
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().with_context(|| format!("cannot run {shown}"))?;
        if let (Some(input), Some(mut pipe)) = (self.input.take(), child.stdin.take()) {
            pipe.write_all(&input).with_context(|| format!("cannot write to {shown}"))?;
        }
        let output = child.wait_with_output().with_context(|| format!("cannot run {shown}"))?;
        Ok(Ended { status: output.status, stdout: output.stdout, stderr: output.stderr })
    }

    /// The command as a person would type it, cut off where it gets long.
    pub(crate) fn shown(&self) -> String {
        let words: Vec<OsString> = [self.command.get_program()]
            .into_iter()
            .chain(self.command.get_args())
            .map(OsStr::to_owned)
            .collect();
        let line = words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        let short: String = line.chars().take(160).collect();
        if short.len() < line.len() { format!("{short}...") } else { short }
    }
}

/// How a command ended, and what it printed.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Ended {
    /// Both outputs as text.
    pub(crate) fn said(&self) -> String {
        [&self.stdout, &self.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
    }
}

/// A command that gets `signal` when the thread that starts it is gone: nothing that we start
/// outlives us, not even when we are killed. (The thread, not the process: start it from one that
/// lasts.)
pub(crate) fn tied_command(program: impl AsRef<OsStr>, signal: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", signal, "--"]).arg(program).stdin(Stdio::null());
    command
}

/// The last `count` lines of `text`.
pub(crate) fn tail(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
