//! A lab host that did not do its job: not the script's failure, and told apart from it by the exit
//! code.

use std::fmt;

/// The exit code for a lab that failed; a script that uses it itself cannot be told apart.
pub(crate) const LAB_FAILED: u8 = 125;

#[derive(Debug)]
pub(crate) struct Failure {
    what: String,
    console: Vec<String>,
    code: u8,
}

impl Failure {
    /// The host died, hung or took too long; `console` is what it said last.
    pub(crate) fn of_host(what: &str, console: Vec<String>) -> Self {
        Failure { what: what.to_owned(), console, code: LAB_FAILED }
    }

    /// We were told to stop; the shells' convention for the code.
    pub(crate) fn interrupted(signal: i32) -> Self {
        let code = u8::try_from(128 + signal).unwrap_or(LAB_FAILED);
        Failure { what: format!("stopped by signal {signal}"), console: Vec::new(), code }
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
        self.console.iter().try_for_each(|line| write!(formatter, "\n  | {line}"))
    }
}

impl std::error::Error for Failure {}
