//! The shell on a Linux guest's console, for what can only be seen from within.

use crate::terminal::{ESCAPE, Terminal};
use crate::{console, wait};

/// A shell in a guest. It is driven over `chaos console`.
#[derive(Debug)]
pub struct Shell {
    name: String,
    terminal: Terminal,
    commands: u32,
}

impl Shell {
    /// Waits until the guest has booted, and attaches to its console.
    #[track_caller]
    pub fn open(name: &str) -> Self {
        console::wait_for(name, "GUEST-UP");
        let terminal = Terminal::start(&["chaos", "console", name]);
        let mut shell = Self { name: name.to_owned(), terminal, commands: 0 };
        // No echo, so that what comes back is the commands' output alone; and no kernel messages
        // between its lines.
        shell.run("stty -echo; dmesg -n 1");
        shell
    }

    /// Runs a command line in the guest, and returns its status and output.
    #[track_caller]
    pub fn status(&mut self, command: &str) -> (i32, String) {
        self.commands += 1;
        let (begin, end) = (format!("begin-{}", self.commands), format!("end-{}-", self.commands));
        // The shell makes the marks, so that an echo of the command does not have them; before the
        // first is its prompt.
        let number = self.commands;
        self.terminal.send(
            format!("echo 'begin'-{number}; {command}; echo 'end'-{number}-$?-\n").as_bytes(),
        );
        self.terminal.expect(&end);
        self.terminal.expect("-");
        let seen = self.terminal.taken().replace('\r', "");
        let parsed = || {
            let (_, rest) = seen.split_once(&format!("{begin}\n"))?;
            let (output, status) = rest.rsplit_once(&end)?;
            Some((status.trim_end_matches('-').parse().ok()?, output.trim().to_owned()))
        };
        parsed().unwrap_or_else(|| panic!("{}: no end of {command:?} in {seen:?}", self.name))
    }

    /// Runs a command line that must succeed, and returns its output.
    #[track_caller]
    pub fn run(&mut self, command: &str) -> String {
        let (status, output) = self.status(command);
        assert_eq!(status, 0, "{}: {command:?} printed {output:?}", self.name);
        output
    }

    /// Runs a command line again and again until it succeeds.
    #[track_caller]
    pub fn until(&mut self, command: &str) -> String {
        let what = format!("{}: {command:?} does not succeed", self.name);
        wait::wait_until(&what, || {
            let (status, output) = self.status(command);
            (status == 0).then_some(output)
        })
    }

    /// Types a command line whose end nobody sees.
    #[track_caller]
    pub fn send(mut self, command: &str) {
        self.terminal.send(format!("{command}\n").as_bytes());
        // What was typed is taken before the console is left.
        self.terminal.expect("\n");
        self.close();
    }

    /// Leaves the console.
    #[track_caller]
    pub fn close(mut self) {
        self.terminal.send(ESCAPE);
        self.terminal.wait();
    }
}
