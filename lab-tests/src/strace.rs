//! strace: a witness of what a program asks of the kernel, and the hand that makes it fail or die
//! there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::chaos::chaos;
use crate::command::{Output, run};
use crate::lab::Lab;
use crate::wait;

/// System calls of one program, in the order in which it made them.
#[derive(Debug)]
pub struct Trace {
    pub output: Output,
    pub calls: Vec<String>,
}

/// Runs a program and notes its calls of these kinds (strace's -e trace=).
#[track_caller]
pub fn trace(lab: &Lab, calls: &str, words: &[&str]) -> Trace {
    let path = lab.path("trace").to_str().unwrap().to_owned();
    let set = format!("trace={calls}");
    // Whole strings: a write to xenstored may have dozens of requests.
    let strace = ["strace", "-f", "-qq", "--seccomp-bpf", "-s", "65536", "-o", &path, "-e", &set];
    let output = run(&[&strace, words].concat());
    Trace { output, calls: calls_in(Path::new(&path)) }
}

fn calls_in(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    // Each line begins with the thread's id.
    let lines = text
        .lines()
        .map(|line| line.trim_start_matches(|char: char| char.is_ascii_digit() || char == ' '));
    lines.filter(|line| line.contains('(')).map(str::to_owned).collect()
}

/// A process that is being traced.
#[derive(Debug)]
pub struct Followed {
    strace: Child,
    path: PathBuf,
}

/// Traces a process that runs already: what is traced, and what happens then, is what strace's
/// `-e` takes, separated by spaces.
#[track_caller]
pub fn follow(lab: &Lab, process: Pid, what: &str) -> Followed {
    let path = lab.path("followed");
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-p", &process.to_string(), "-o"]).arg(&path);
    what.split(' ').for_each(|expression| _ = command.args(["-e", expression]));
    let strace = command.spawn().unwrap();
    let is_traced = |thread: &Path| {
        // One that has ended meanwhile needs no tracing.
        let status = fs::read_to_string(thread.join("status")).unwrap_or_default();
        !status.lines().any(|line| line.split_whitespace().eq(["TracerPid:", "0"]))
    };
    wait::until("strace does not attach", || {
        let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap();
        threads.flatten().all(|thread| is_traced(&thread.path()))
    });
    Followed { strace, path }
}

impl Followed {
    /// Lets go of the process. The calls that it has made meanwhile.
    #[track_caller]
    pub fn end(mut self) -> Vec<String> {
        kill(Pid::from_raw(i32::try_from(self.strace.id()).unwrap()), Signal::SIGINT).unwrap();
        self.strace.wait().unwrap();
        calls_in(&self.path)
    }
}

/// The positions, counted from 1, of the calls of this kind that a create of /guests/BASE.json
/// makes and that are wanted.
#[track_caller]
pub fn calls_of_create(lab: &Lab, base: &str, call: &str, wanted: fn(&str) -> bool) -> Vec<usize> {
    let config = lab.config(base, "counted", &serde_json::json!({}));
    let trace = trace(lab, call, &["chaos", "create", &config]);
    trace.output.ok();
    chaos(&["destroy", &lab.name("counted")]).ok();
    let calls = trace.calls.iter().enumerate();
    calls.filter(|(_, call)| wanted(call)).map(|(at, _)| at + 1).collect()
}

/// What happens to a call.
#[derive(Debug, Clone, Copy)]
pub enum Fault<'a> {
    /// It fails with this errno and is not made.
    Error(&'a str),
    /// The program gets this signal when it enters the call.
    Signal(&'a str),
}

/// Runs a program whose `number`th call of this kind, counted from 1, meets a fault.
#[track_caller]
pub fn inject(call: &str, fault: Fault<'_>, number: usize, words: &[&str]) -> Output {
    // With --seccomp-bpf, strace sees only the calls that it is to see, which is much faster, but
    // cannot send signals from there.
    let (fault, fast): (_, &[&str]) = match fault {
        Fault::Error(errno) => (format!("error={errno}"), &["--seccomp-bpf"]),
        Fault::Signal(signal) => (format!("signal={signal}"), &[]),
    };
    let inject = format!("inject={call}:{fault}:when={number}");
    let set = format!("trace={call}");
    let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &set, "-e", &inject];
    run(&[&strace, fast, words].concat())
}

/// Whether a call is a hypercall. strace knows the numbers of privcmd's requests and not their
/// names: 0x50 is 'P', and the request 0 is a hypercall.
pub fn is_hypercall(call: &str) -> bool {
    call.starts_with("ioctl(") && call.contains("0x50, 0,")
        || call.contains("IOCTL_PRIVCMD_HYPERCALL")
}

/// Whether a call sends requests to xenstored.
pub fn is_store_request(call: &str) -> bool {
    store_requests(call) > 0
}

/// How many requests to xenstored a write sends (struct xsd_sockmsg): each begins with four words,
/// of which the first is a small number, the third, the transaction, is zero, and the last is the
/// length of what follows, at most 4096.
pub fn store_requests(call: &str) -> usize {
    let text =
        call.strip_prefix("write(").and_then(|rest| rest.split_once(", \"")).map(|(_, text)| text);
    let bytes = unescaped(text.unwrap_or_default());
    let (mut rest, mut count) = (bytes.as_slice(), 0);
    while let Some((header, behind)) = rest.split_first_chunk::<16>() {
        let word = |at: usize| {
            u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let (kind, transaction, length) = (word(0), word(8), word(12));
        if !(1..=24).contains(&kind) || transaction != 0 || length > 4096 {
            return 0;
        }
        count += 1;
        rest = behind.get(usize::try_from(length).unwrap()..).unwrap_or_default();
    }
    count
}

/// The bytes that strace shows in a string, up to its closing quote.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes().peekable();
    while let Some(byte) = rest.next().filter(|byte| *byte != b'"') {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let escape = rest.next().unwrap_or_default();
        let mut value = match escape {
            b'0'..=b'7' => escape - b'0',
            b't' => b'\t',
            b'n' => b'\n',
            b'v' => 0x0b,
            b'f' => 0x0c,
            b'r' => b'\r',
            other => other,
        };
        if escape.is_ascii_digit() {
            // At most three octal digits.
            for _ in 0..2 {
                let Some(digit) = rest.next_if(|byte| (b'0'..=b'7').contains(byte)) else { break };
                value = value.wrapping_mul(8).wrapping_add(digit - b'0');
            }
        }
        bytes.push(value);
    }
    bytes
}

/// Some of these: the first and the last `edge` ones, and every `stride`th between.
pub fn pick(all: &[usize], edge: usize, stride: usize) -> Vec<usize> {
    let chosen = all
        .iter()
        .enumerate()
        .filter(|(at, _)| *at < edge || *at + edge >= all.len() || at.is_multiple_of(stride));
    chosen.map(|(_, number)| *number).collect()
}
