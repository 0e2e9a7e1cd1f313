//! The exit codes of `chaos`: the one table, its text for --help and the manual page, and the way
//! from an error to its code.

use std::process::ExitCode;

use anyhow::Error;
use h2::ErrorKind;

use crate::failure::{Interrupted, Several, Usage};

/// How `chaos` ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    Failed,
    Usage,
    NotFound,
    InUse,
    NoResources,
    NoReaction,
    NoXen,
    NoDaemon,
    /// Ended by this signal.
    Signal(u8),
}

/// Each code and what it means, in the order of the manual page.
pub const TABLE: &[(&str, &str)] = &[
    ("0", "success"),
    ("1", "the operation failed"),
    ("2", "the command line, the guest configuration or an image is wrong"),
    ("3", "there is no such guest, or it has no such device"),
    ("4", "the name is in use, or the guest has such a device already"),
    ("5", "the host has too little memory"),
    ("6", "the guest did not do in time what it was asked"),
    (
        "7",
        "no usable Xen: not under Xen, not in its dom0, no permission, wrong version, or no NoXS \
         for a guest that needs it",
    ),
    ("8", "a daemon of the host, such as xenstored or xendevd, does not answer"),
    ("128+N", "stopped by signal N: 130 by SIGINT, 143 by SIGTERM"),
];

/// The table as the help text shows it.
pub(crate) fn help() -> String {
    let mut text = String::from("Exit status:\n");
    for (code, meaning) in TABLE {
        text.push_str(&format!("  {code:<8}  {meaning}\n"));
    }
    text
}

/// The code for an error: that of the first error in its chain that has one.
pub(crate) fn code_of(error: &Error) -> Code {
    error.chain().find_map(code_of_one).unwrap_or(Code::Failed)
}

fn code_of_one(error: &(dyn std::error::Error + 'static)) -> Option<Code> {
    if let Some(several) = error.downcast_ref::<Several>() {
        return several.first().map(code_of);
    }
    if let Some(interrupted) = error.downcast_ref::<Interrupted>() {
        return Some(Code::Signal(interrupted.signal()));
    }
    if error.is::<Usage>()
        || error.is::<h2::config::ConfigError>()
        || error.is::<h2::config::ValueError>()
        || error.is::<h2::image::ImageError>()
    {
        return Some(Code::Usage);
    }
    if let Some(h2::Error::Timeout { .. }) = error.downcast_ref() {
        return Some(Code::NoReaction);
    }
    let kind = error
        .downcast_ref::<h2::Error>()
        .map(h2::Error::kind)
        .or_else(|| error.downcast_ref::<h2::CreateError>().map(h2::CreateError::kind))
        .or_else(|| error.downcast_ref::<h2::OpenError>().map(h2::OpenError::kind))
        .or_else(|| error.downcast_ref::<h2::DeviceError>().map(h2::DeviceError::kind))?;
    Some(Code::from(kind))
}

impl From<ErrorKind> for Code {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Input => Self::Usage,
            ErrorKind::NoXen => Self::NoXen,
            ErrorKind::NoDaemon => Self::NoDaemon,
            ErrorKind::NotFound => Self::NotFound,
            ErrorKind::InUse => Self::InUse,
            ErrorKind::NoResources => Self::NoResources,
            ErrorKind::GuestDidNotReact => Self::NoReaction,
            // Kinds that h2 may gain are failures until they get a code of their own.
            _ => Self::Failed,
        }
    }
}

impl Code {
    /// The number that the process ends with.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::InUse => 4,
            Self::NoResources => 5,
            Self::NoReaction => 6,
            Self::NoXen => 7,
            Self::NoDaemon => 8,
            Self::Signal(signal) => signal.saturating_add(128),
        }
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code.number())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use anyhow::{Context, anyhow};

    use super::*;

    fn number(error: impl Into<Error>) -> u8 {
        code_of(&error.into()).number()
    }

    #[test]
    fn each_kind_has_its_code() {
        let table = [
            (ErrorKind::Failed, 1),
            (ErrorKind::Input, 2),
            (ErrorKind::NotFound, 3),
            (ErrorKind::InUse, 4),
            (ErrorKind::NoResources, 5),
            (ErrorKind::GuestDidNotReact, 6),
            (ErrorKind::NoXen, 7),
            (ErrorKind::NoDaemon, 8),
        ];
        for (kind, number) in table {
            assert_eq!(Code::from(kind).number(), number, "{kind:?}");
            assert!(
                TABLE.iter().any(|(code, _)| *code == number.to_string()),
                "{number} is not in the table"
            );
        }
    }

    #[test]
    fn errors_of_the_library() {
        assert_eq!(number(h2::Error::NoSuchDomain("web0".into())), 3);
        assert_eq!(number(h2::OpenError::NotXen), 7);
        assert_eq!(number(h2::OpenError::StoreNotAnswering { reason: String::new() }), 8);
        assert_eq!(
            number(h2::Error::GuestDidNotReact { request: "poweroff", timeout: Duration::ZERO }),
            6
        );
        let taken = h2::CreateError::NameInUse { name: "web0".into(), domain: h2::DomId::DOM0 };
        assert_eq!(number(h2::Error::Create(Box::new(taken))), 4);
    }

    #[test]
    fn context_does_not_hide_the_code() {
        let error = Err::<(), _>(h2::OpenError::NotXen).context("cannot list").unwrap_err();
        assert_eq!(number(error), 7);
        assert_eq!(number(anyhow!("something else")), 1);
        assert_eq!(number(Usage::new("-c with -n 2")), 2);
    }

    #[test]
    fn interruption_tells_the_signal() {
        assert_eq!(number(Interrupted::by(2)), 130);
        assert_eq!(number(Interrupted::by(15)), 143);
    }

    #[test]
    fn of_several_errors_the_first_counts() {
        let several = Several::new(vec![h2::Error::NoSuchDomain("a".into()).into(), anyhow!("b")]);
        assert_eq!(number(several), 3);
    }
}
