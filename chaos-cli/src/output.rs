//! What goes to standard output: lines of text, or one JSON value a line.
//!
//! A reader that has gone away is no failure: what is left to print is dropped, and the command
//! goes on with its work.

use std::io::{self, Write};

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::Serialize;

/// How data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// Tables and lines for people
    #[default]
    Table,
    /// JSON for programs, one value a line; see docs/chaos-json.md
    Json,
}

/// Standard output in the format that the user chose.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    format: Format,
}

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        Self { format }
    }

    /// Prints `value` as JSON, or what `text` makes of it.
    pub(crate) fn print<T: Serialize>(
        self,
        value: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<()> {
        let mut line = match self.format {
            Format::Table => text(value),
            Format::Json => {
                serde_json::to_string(value).context("cannot write the answer as JSON")?
            }
        };
        if !line.is_empty() && !line.ends_with('\n') {
            line.push('\n');
        }
        accept_missing_reader(write_all(line.as_bytes())).context("cannot write to standard output")
    }
}

fn write_all(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

fn accept_missing_reader(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_missing_reader_is_accepted() {
        assert!(accept_missing_reader(Err(io::ErrorKind::BrokenPipe.into())).is_ok());
        assert!(accept_missing_reader(Err(io::ErrorKind::StorageFull.into())).is_err());
    }
}
