//! Requests to a guest through its sysctl device (docs/noxs-abi.md, part 4). They are counted, so
//! that none is lost or taken twice.

use super::noxs::{Noxs, sysctl};
use crate::error::Error;
use crate::id::DomId;
use crate::noxs_backend::{Keys, NoxsError, Which};
use crate::shutdown::ShutdownRequest;

/// What the guest has made of the last request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// There is none that waits.
    None,
    /// It has not taken it.
    Waiting,
    /// It has taken it.
    Taken,
    /// It does not do such things.
    Refused,
}

impl Noxs<'_> {
    fn sysctl_keys(&self, guest: DomId, which: Which) -> Result<Keys, Error> {
        match self.backend.read(sysctl(guest), which)? {
            Some(reading) => Ok(reading.keys),
            None => Err(Error::WrongState(format!(
                "domain {guest} has no sysctl device, by which it could be asked"
            ))),
        }
    }

    /// Asks the guest to end.
    pub(crate) fn request(&self, guest: DomId, request: ShutdownRequest) -> Result<(), Error> {
        let ours = self.sysctl_keys(guest, Which::Backend)?;
        let theirs = self.sysctl_keys(guest, Which::Frontend)?;
        let count = next(&ours, &theirs).to_string();
        let keys = [("shutdown", request.as_str()), ("shutdown-request", count.as_str())];
        Ok(self.backend.set_keys(sysctl(guest), false, &keys)?)
    }

    /// What the guest has made of it. One whose device is gone, as those of a guest that is being
    /// destroyed are, has nothing to say.
    pub(crate) fn answer(&self, guest: DomId) -> Result<Answer, NoxsError> {
        let read = |which| self.backend.read(sysctl(guest), which);
        match (read(Which::Backend)?, read(Which::Frontend)?) {
            (Some(ours), Some(theirs)) => Ok(answer(&ours.keys, &theirs.keys)),
            _ => Ok(Answer::None),
        }
    }

    /// Takes the request back: a guest that wakes up later must not act on it.
    pub(crate) fn withdraw(&self, guest: DomId) -> Result<(), Error> {
        Ok(self.backend.remove_keys(sysctl(guest), false, &["shutdown", "shutdown-request"])?)
    }
}

fn count(keys: &Keys, key: &str) -> Option<u32> {
    keys.get(key)?.parse().ok().filter(|&count| count != 0)
}

/// The count of a new request: one that the guest has not answered, and that was not used for the
/// one before.
fn next(ours: &Keys, theirs: &Keys) -> u32 {
    let answered = count(theirs, "shutdown-ack").max(count(theirs, "shutdown-refused"));
    let last = count(ours, "shutdown-request").or(answered).unwrap_or(0);
    last.checked_add(1).unwrap_or(1)
}

fn answer(ours: &Keys, theirs: &Keys) -> Answer {
    match count(ours, "shutdown-request") {
        None => Answer::None,
        request if count(theirs, "shutdown-ack") == request => Answer::Taken,
        request if count(theirs, "shutdown-refused") == request => Answer::Refused,
        Some(_) => Answer::Waiting,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(keys: &[(&str, &str)]) -> Keys {
        keys.iter().copied().collect()
    }

    #[test]
    fn requests_are_counted() {
        let none = Keys::new();
        assert_eq!(next(&none, &none), 1);
        assert_eq!(next(&keys(&[("shutdown-request", "7")]), &none), 8);
        // One that was withdrawn leaves no count of ours.
        assert_eq!(next(&none, &keys(&[("shutdown-ack", "3"), ("shutdown-refused", "5")])), 6);
        assert_eq!(next(&keys(&[("shutdown-request", "4294967295")]), &none), 1);
        // Guests write what they like.
        assert_eq!(next(&none, &keys(&[("shutdown-ack", "-1"), ("shutdown-refused", "x")])), 1);
    }

    #[test]
    fn answers() {
        let asked = keys(&[("shutdown", "poweroff"), ("shutdown-request", "2")]);
        assert_eq!(answer(&Keys::new(), &keys(&[("shutdown-ack", "2")])), Answer::None);
        assert_eq!(answer(&asked, &Keys::new()), Answer::Waiting);
        assert_eq!(answer(&asked, &keys(&[("shutdown-ack", "1")])), Answer::Waiting);
        assert_eq!(answer(&asked, &keys(&[("shutdown-ack", "2")])), Answer::Taken);
        assert_eq!(
            answer(&asked, &keys(&[("shutdown-ack", "1"), ("shutdown-refused", "2")])),
            Answer::Refused
        );
    }
}
