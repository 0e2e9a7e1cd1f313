//! How a failure is reported: one line on standard error, `chaos: MESSAGE: cause: cause`. And the
//! errors that arise in this crate itself and not in the library.

use std::fmt;
use std::io::Write;

use anyhow::Error;
use nix::sys::signal::Signal;

/// The user asked for something that does not go together.
#[derive(Debug)]
pub(crate) struct Usage(String);

impl Usage {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// A signal asked this process to stop before its work was done.
#[derive(Debug)]
pub(crate) struct Interrupted(u8);

impl Interrupted {
    /// By the signal of this number.
    pub(crate) fn by(signal: u8) -> Self {
        Self(signal)
    }

    /// The signal's number.
    pub(crate) fn signal(&self) -> u8 {
        self.0
    }
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Signal::try_from(i32::from(self.0)) {
            Ok(Signal::SIGINT) => f.write_str("interrupted"),
            Ok(Signal::SIGTERM) => f.write_str("terminated"),
            Ok(signal) => write!(f, "stopped by {signal}"),
            Err(_) => write!(f, "stopped by signal {}", self.0),
        }
    }
}

impl std::error::Error for Interrupted {}

/// The errors of a command that works on several guests and goes on after a failure.
#[derive(Debug)]
pub(crate) struct Several(Vec<Error>);

impl Several {
    pub(crate) fn new(errors: Vec<Error>) -> Self {
        Self(errors)
    }

    pub(crate) fn first(&self) -> Option<&Error> {
        self.0.first()
    }
}

impl fmt::Display for Several {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of the guests failed", self.0.len())
    }
}

impl std::error::Error for Several {}

/// Runs `work` for each item and goes on after a failure.
///
/// # Errors
/// The only failure as it is, or all of them as [`Several`].
pub(crate) fn for_each<T>(
    items: impl IntoIterator<Item = T>,
    mut work: impl FnMut(T) -> Result<(), Error>,
) -> Result<(), Error> {
    let errors: Vec<Error> = items.into_iter().filter_map(|item| work(item).err()).collect();
    collected(errors)
}

/// What a command ends with that met these failures.
pub(crate) fn collected(mut errors: Vec<Error>) -> Result<(), Error> {
    match errors.pop() {
        None => Ok(()),
        Some(only) if errors.is_empty() => Err(only),
        Some(last) => {
            errors.push(last);
            Err(Several::new(errors).into())
        }
    }
}

/// Writes a line about the error to standard error; several errors get a line each.
pub(crate) fn report(error: &Error) {
    if let Some(several) = error.downcast_ref::<Several>() {
        several.0.iter().for_each(report);
    } else {
        // Without a standard error there is nobody left to tell.
        let _ = writeln!(std::io::stderr(), "chaos: {}", line(error));
    }
}

/// The error and its causes in one line. A cause that only repeats what stands before it is left
/// out.
pub(crate) fn line(error: &Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if text.is_empty() || line.ends_with(&text) {
            continue;
        }
        if !line.is_empty() {
            line.push_str(": ");
        }
        line.push_str(&text);
    }
    line
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn chain_is_one_line() {
        let error = Err::<(), _>(anyhow!("no such\nfile"))
            .context("cannot read x")
            .context("cannot create web0")
            .unwrap_err();
        assert_eq!(line(&error), "cannot create web0: cannot read x: no such file");
    }

    #[test]
    fn repetition_is_left_out() {
        let error = Err::<(), _>(anyhow!("no such file"))
            .context("cannot read x: no such file")
            .unwrap_err();
        assert_eq!(line(&error), "cannot read x: no such file");
    }

    #[test]
    fn goes_on_after_a_failure() {
        let mut seen = Vec::new();
        let result = for_each([1, 2, 3], |number| {
            seen.push(number);
            if number == 2 { Err(anyhow!("two")) } else { Ok(()) }
        });
        assert_eq!(seen, [1, 2, 3]);
        assert_eq!(result.map_err(|error| error.to_string()), Err("two".to_owned()));
        let both = for_each([1, 2], |_| Err(anyhow!("no"))).map_err(|error| error.to_string());
        assert_eq!(both, Err("2 of the guests failed".to_owned()));
        assert!(for_each([1, 2], |_| Ok(())).is_ok());
    }
}
