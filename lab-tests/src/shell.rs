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
        // No echo, so that what comes back is the commands' output alone; and no kernel messages between its lines.
        shell.run("stty -echo; dmesg -n 1");
        shell
    }

    /// Runs a command line in the guest, and returns its status and output.
    #[track_caller]
    pub fn status(&mut self, command: &str) -> (i32, String) {
        self.commands += 1;
        let mark = format!("end-{}", self.commands);
        // The mark is made by the shell, so that an echo of the command does not have it.
        self.terminal.send(format!("{command}; echo 'end'-{}-$?-\n", self.commands).as_bytes());
        self.terminal.expect(&format!("{mark}-"));
        self.terminal.expect("-");
        let seen = self.terminal.taken();
        let (output, status) = seen.rsplit_once(&format!("{mark}-")).unwrap_or_default();
        let status = status.trim_end_matches('-').parse();
        let status = status.unwrap_or_else(|_| panic!("{}: no status of {command:?} in {seen:?}", self.name));
        (status, output.replace('\r', "").trim().to_owned())
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
