//! How `xendevd` ends: the exit codes of `chaos`, as far as they apply.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Error;
use h2::ErrorKind;

use crate::client::ClientError;
use crate::config::ConfigError;

/// Each code and what it means, in the order of the manual page.
pub const TABLE: &[(&str, &str)] = &[
    ("0", "success; for the daemon: stopped by SIGTERM or SIGINT"),
    ("1", "something failed"),
    ("2", "the command line or the configuration is wrong"),
    ("4", "another xendevd runs already"),
    ("7", "not under Xen"),
    ("8", "xendevd cannot be reached, or does not answer"),
];

/// Another daemon serves this host.
#[derive(Debug)]
pub(crate) struct AlreadyRuns(pub(crate) PathBuf);

impl fmt::Display for AlreadyRuns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "another xendevd serves on {} already; xendevd status shows it", self.0.display())
    }
}

impl std::error::Error for AlreadyRuns {}

/// The table as the help text shows it.
pub(crate) fn help() -> String {
    let mut text = String::from("Exit status:\n");
    for (code, meaning) in TABLE {
        text.push_str(&format!("  {code}  {meaning}\n"));
    }
    text
}

/// The code for a command line that is not understood.
pub(crate) const USAGE: u8 = 2;

/// The code for an error: that of the first in its chain that has one.
pub(crate) fn code_of(error: &Error) -> ExitCode {
    ExitCode::from(error.chain().find_map(number).unwrap_or(1))
}

fn number(error: &(dyn std::error::Error + 'static)) -> Option<u8> {
    if error.is::<ConfigError>() {
        return Some(USAGE);
    }
    if error.is::<AlreadyRuns>() {
        return Some(4);
    }
    if let Some(error) = error.downcast_ref::<ClientError>() {
        return Some(if matches!(error, ClientError::Refused(_)) { 1 } else { 8 });
    }
    match error.downcast_ref::<h2::OpenError>()?.kind() {
        ErrorKind::NoXen => Some(7),
        ErrorKind::NoDaemon => Some(8),
        _ => Some(1),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use anyhow::Context;

    use super::*;
    use crate::client::Client;
    use crate::config::Config;

    #[test]
    fn each_error_has_its_code() {
        let code = |error: Error| error.chain().find_map(number);
        assert_eq!(code(Config::from_json("[", Path::new("x")).unwrap_err().into()), Some(2));
        assert_eq!(code(AlreadyRuns(PathBuf::new()).into()), Some(4));
        assert_eq!(code(Err::<(), _>(h2::OpenError::NotXen).context("x").unwrap_err()), Some(7));
        assert_eq!(code(Client::connect_to(Path::new("/nowhere")).unwrap_err().into()), Some(8));
        assert_eq!(code(anyhow::anyhow!("x")), None);
    }
}
