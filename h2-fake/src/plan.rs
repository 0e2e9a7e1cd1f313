//! The count of calls, and what happens at which.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Whether a fault comes before or after the call has taken effect: a connection may break on the
/// way there or back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// The call has no effect (`populate` has half of it).
    Before,
    /// The call has its effect, and the caller does not hear of it.
    After,
}

/// What happens at a call.
#[non_exhaustive]
pub enum Fault {
    /// It fails with this errno.
    Fail(When, i32),
    /// This call and all that follow fail with this errno, before they have an effect.
    FailFromHere(i32),
    /// From this call on the connections to xenstored that are open now are dead, until
    /// `reconnect`.
    BreakStore,
    /// The process writes the host's state to this file and is killed.
    Die(When, PathBuf),
    /// Somebody else does something, right after the call has taken effect.
    Meanwhile(Box<dyn FnOnce()>),
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fail(when, errno) => f.debug_tuple("Fail").field(when).field(errno).finish(),
            Self::FailFromHere(errno) => f.debug_tuple("FailFromHere").field(errno).finish(),
            Self::BreakStore => f.write_str("BreakStore"),
            Self::Die(when, path) => f.debug_tuple("Die").field(when).field(path).finish(),
            Self::Meanwhile(_) => f.write_str("Meanwhile"),
        }
    }
}

/// A call that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The method of the seam.
    pub operation: &'static str,
    /// The domain or the node that it was about.
    pub subject: String,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.operation, self.subject)
    }
}

/// Calls since the last [`clear`](Self::clear), numbered from 1, and the faults that wait for
/// theirs.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    log: Vec<Call>,
    faults: BTreeMap<u64, Vec<Fault>>,
    all_fail: Option<i32>,
}

impl Plan {
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn add(&mut self, n: u64, fault: Fault) {
        self.faults.entry(n).or_default().push(fault);
    }

    pub(crate) fn calls(&self) -> u64 {
        u64::try_from(self.log.len()).unwrap_or(u64::MAX)
    }

    pub(crate) fn log(&self) -> &[Call] {
        &self.log
    }

    /// Counts a call; what is to happen at it.
    pub(crate) fn step(&mut self, operation: &'static str, subject: String) -> Vec<Fault> {
        self.log.push(Call { operation, subject });
        let mut faults = self.faults.remove(&self.calls()).unwrap_or_default();
        for fault in &faults {
            if let Fault::FailFromHere(errno) = fault {
                self.all_fail = Some(*errno);
            }
        }
        if let Some(errno) = self.all_fail {
            faults.push(Fault::Fail(When::Before, errno));
        }
        faults
    }
}
