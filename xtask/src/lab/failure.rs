//! A lab host that did not do its job: not the script's failure, and told apart from it by the exit
//! code.

use std::fmt;
use std::path::PathBuf;

/// The exit code for a lab that failed; a script that uses it itself cannot be told apart.
pub(crate) const LAB_FAILED: u8 = 125;

#[derive(Debug)]
pub(crate) struct Failure {
    what: String,
    console: Vec<String>,
    logs: Option<PathBuf>,
    code: u8,
}

impl Failure {
    /// The host died, hung or took too long; `console` is what it said last.
    pub(crate) fn of_host(what: &str, console: Vec<String>) -> Self {
        Failure { what: what.to_owned(), console, logs: None, code: LAB_FAILED }
    }

    /// We were told to stop; the shells' convention for the code.
    pub(crate) fn interrupted(signal: i32) -> Self {
        let code = u8::try_from(128 + signal).unwrap_or(LAB_FAILED);
        let what = format!("stopped by signal {signal}");
        Failure { what, console: Vec::new(), logs: None, code }
    }

    /// The same, with the folder that has the host's logs.
    pub(crate) fn with_logs(self, logs: PathBuf) -> Self {
        Failure { logs: Some(logs), ..self }
    }

    /// Whether we were told to stop: no result at all.
    pub(crate) fn is_interrupt(&self) -> bool {
        self.code != LAB_FAILED
    }

    pub(crate) fn code(&self) -> u8 {
        self.code
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "lab: {}", self.what)?;
        if !self.console.is_empty() {
            write!(formatter, "\nthe host's console said last:")?;
        }
        self.console.iter().try_for_each(|line| write!(formatter, "\n  | {line}"))?;
        match &self.logs {
            Some(logs) => write!(formatter, "\nits logs are in {}", logs.display()),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}
