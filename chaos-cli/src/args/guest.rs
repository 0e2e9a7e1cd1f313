//! Guests as they are named on the command line, and the other values that several commands take.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Error, bail};
use clap::Args;

/// A domain id or a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Guest(String);

impl Guest {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Guest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.is_empty() {
            bail!("a guest is named by its domain id or its name");
        }
        Ok(Self(text.to_owned()))
    }
}

/// One or more guests.
#[derive(Debug, Args)]
pub(crate) struct GuestsArgs {
    /// The guests, by domain id or name; one that fails does not keep the others from being served
    #[arg(value_name = "GUEST", required = true)]
    pub(crate) guests: Vec<Guest>,
}

/// A time in seconds, with a fraction where needed.
pub(super) fn seconds(text: &str) -> Result<Duration, Error> {
    let seconds: f64 = text.parse()?;
    match Duration::try_from_secs_f64(seconds) {
        // An hour more or less is a mistyped number; a year is surely one.
        Ok(time) if time <= Duration::from_secs(365 * 24 * 3600) => Ok(time),
        _ => bail!("give seconds from 0 to one year"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(seconds("60").ok(), Some(Duration::from_secs(60)));
        assert_eq!(seconds("0.25").ok(), Some(Duration::from_millis(250)));
        for wrong in ["", "-1", "inf", "NaN", "1e30", "5s"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn guests() {
        assert_eq!(
            "web0".parse::<Guest>().map(|guest| guest.to_string()).ok().as_deref(),
            Some("web0")
        );
        assert!("".parse::<Guest>().is_err());
    }
}
