//! Programs that are run within a bound, with their output captured.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// How long a program may run. The emulated host may be slow, and some commands are about a hundred
/// guests; only one that hangs gets here.
pub const LIMIT: Duration = Duration::from_secs(600);

/// What a program said and how it ended.
#[derive(Debug, Clone)]
pub struct Output {
    /// The command line, for messages.
    pub line: String,
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a program to its end.
#[track_caller]
pub fn run(words: &[&str]) -> Output {
    run_within(LIMIT, words, "")
}

/// Runs a program to its end with this standard input; if it takes longer than `limit`, it is
/// killed and the test fails.
#[track_caller]
pub fn run_within(limit: Duration, words: &[&str], input: &str) -> Output {
    let line = words.join(" ");
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A group of its own, so that what it started can be ended with it.
    command.process_group(0);
    let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot run {line}: {error}"));
    let group = Pid::from_raw(i32::try_from(child.id()).unwrap());
    let (sender, receiver) = channel();
    let input = input.to_owned();
    let mut stdin = child.stdin.take().unwrap();
    thread::spawn(move || {
        // A program that does not read its input closes the pipe.
        let _ = std::io::Write::write_all(&mut stdin, input.as_bytes());
        drop(stdin);
        let _ = sender.send(child.wait_with_output());
    });
    let output = match receiver.recv_timeout(limit) {
        Ok(output) => output.unwrap(),
        Err(_) => {
            let _ = killpg(group, Signal::SIGKILL);
            let said = receiver.recv_timeout(Duration::from_secs(10)).ok().and_then(Result::ok);
            panic!("{line}: not over after {limit:?}; said until then: {said:?}");
        }
    };
    Output {
        line,
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl Output {
    /// The exit code; `None` if a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// The signal that ended it.
    pub fn signal(&self) -> Option<i32> {
        self.status.signal()
    }

    /// Its standard output, if it succeeded.
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(self.status.success(), "{}", self.report());
        self.stdout
    }

    /// Its message, if it failed with this code and said why in one line of its own. Warnings
    /// before it do not count.
    #[track_caller]
    pub fn fails(self, code: i32) -> String {
        assert_eq!(self.code(), Some(code), "{}", self.report());
        let message = self.stderr.lines().last().unwrap_or_default().to_owned();
        assert!(message.starts_with("chaos: "), "no message of chaos: {}", self.report());
        message
    }

    /// Fails unless the program said why it failed, and neither crashed nor panicked.
    #[track_caller]
    pub fn fails_with_a_message(&self) {
        let code = self.code().unwrap_or_else(|| panic!("{}", self.report()));
        assert!((1..=8).contains(&code) && self.stderr.contains("chaos: "), "{}", self.report());
    }

    /// All of it, for a message.
    pub fn report(&self) -> String {
        format!(
            "{}: {}\nstdout: {}\nstderr: {}",
            self.line,
            self.status,
            self.stdout.trim_end(),
            self.stderr.trim_end()
        )
    }
}
