//! Asking a guest to end, and waiting until it has.
//!
//! ```text
//!  we write "poweroff" to control/shutdown
//!      | the guest's driver takes it, and writes "" back      (not within the bound: GuestDidNotReact)
//!      v
//!  acknowledged
//!      | the guest ends; Xen marks the domain; xenstored fires @releaseDomain
//!      v
//!  shut down (reason), or gone, if another tool destroyed it first
//! ```

use std::time::{Duration, Instant};

use crate::domain::Domain;
use crate::error::Error;
use crate::info::{DomainState, ShutdownReason};
use crate::store::{Watch, nodes};

/// What a guest can be asked for (docs/misc/xenstore-paths.pandoc: control/shutdown).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShutdownRequest {
    /// Shut down and power off.
    PowerOff,
    /// Shut down and ask to be started again.
    Reboot,
}

impl ShutdownRequest {
    /// The word that is written into the node.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PowerOff => "poweroff",
            Self::Reboot => "reboot",
        }
    }
}

/// How long it is waited for an event before the state is looked at without one.
const RECHECK: Duration = Duration::from_secs(5);

/// xenstored sends this event when a domain has ended or is gone.
const RELEASE: &str = "@releaseDomain";

impl Domain {
    /// Asks the guest to end, and returns at once.
    ///
    /// # Errors
    /// [`Error::WrongState`] if it has ended already or is paused, [`Error::NoSuchDomain`] if it is gone, [`Error::Store`] if
    /// xenstored fails.
    pub fn request(&self, request: ShutdownRequest) -> Result<(), Error> {
        self.refuse_dom0("shutting down from here")?;
        match self.info()?.state {
            DomainState::Shutdown(reason) => {
                return Err(Error::WrongState(format!("domain {} has ended already ({reason})", self.id())));
            }
            DomainState::Dying => return Err(Error::WrongState(format!("domain {} is being destroyed", self.id()))),
            DomainState::Paused => {
                return Err(Error::WrongState(format!(
                    "domain {} is paused and cannot react; unpause it first",
                    self.id()
                )));
            }
            DomainState::Running | DomainState::Ready | DomainState::Blocked => {}
        }
        Ok(self.inner().store()?.write(&self.control_node(), request.as_str())?)
    }

    /// Asks the guest to end, and waits until it has. The domain then still exists, without running.
    ///
    /// # Errors
    /// As [`request`](Self::request) and [`wait_after_request`](Self::wait_after_request).
    pub fn shutdown(&self, request: ShutdownRequest, timeout: Duration) -> Result<ShutdownReason, Error> {
        self.request(request)?;
        self.wait_after_request(request, timeout)
    }

    /// Waits until a guest that was asked to end has ended: for callers that ask several guests first.
    ///
    /// # Errors
    /// [`Error::GuestDidNotReact`] if the guest has not taken the request within `timeout` (the request is then
    /// withdrawn), [`Error::Timeout`] if it has and did not end within it, [`Error::Store`] if xenstored fails.
    pub fn wait_after_request(&self, request: ShutdownRequest, timeout: Duration) -> Result<ShutdownReason, Error> {
        let node = self.control_node();
        let store = self.inner().store()?;
        let watch = store.watch(&[&node, RELEASE])?;
        let result = self.wait_until(&watch, Some(timeout), "shutting down", || self.ended());
        match result {
            // An empty node is the acknowledgement. One that is gone: the domain is, too, or soon will be.
            Err(Error::Timeout { .. }) if store.read(&node)?.is_some_and(|value| !value.is_empty()) => {
                // A guest that wakes up later must not act on what its administrator has been told has failed.
                store.write(&node, "")?;
                Err(Error::GuestDidNotReact { request: request.as_str(), timeout })
            }
            result => result,
        }
    }

    /// Waits until the domain has ended, for whatever reason.
    ///
    /// # Errors
    /// [`Error::Timeout`] if it has not within `timeout` (`None` waits for ever), [`Error::Store`] if xenstored fails.
    pub fn wait_for_shutdown(&self, timeout: Option<Duration>) -> Result<ShutdownReason, Error> {
        let watch = self.inner().store()?.watch(&[RELEASE])?;
        self.wait_until(&watch, timeout, "shutting down", || self.ended())
    }

    /// Waits until the domain is gone, or is being destroyed: for guests whose own toolstack destroys them when they have ended.
    ///
    /// # Errors
    /// As [`wait_for_shutdown`](Self::wait_for_shutdown).
    pub fn wait_until_gone(&self, timeout: Option<Duration>) -> Result<(), Error> {
        let watch = self.inner().store()?.watch(&[RELEASE])?;
        // A domain that is being destroyed may take a while to free its memory, and no event tells its last moment.
        self.wait_until(&watch, timeout, "going away", || {
            let gone = self.inner().info(self.id())?.is_none_or(|info| info.state == DomainState::Dying);
            Ok(gone.then_some(()))
        })
    }

    /// Waits for events until something is so. Events tell when to look; [`RECHECK`] bounds the damage of a lost one.
    fn wait_until<T>(
        &self,
        watch: &Watch<'_>,
        timeout: Option<Duration>,
        what: &str,
        done: impl Fn() -> Result<Option<T>, Error>,
    ) -> Result<T, Error> {
        let started = Instant::now();
        loop {
            if let Some(result) = done()? {
                return Ok(result);
            }
            let mut wait = RECHECK;
            if let Some(timeout) = timeout {
                let left = timeout.saturating_sub(started.elapsed());
                if left.is_zero() {
                    return Err(Error::Timeout { what: format!("domain {}'s {what}", self.id()), timeout });
                }
                wait = wait.min(left);
            }
            watch.wait(wait)?;
        }
    }

    /// Why it has ended, if it has; a domain that is gone or going has, too.
    fn ended(&self) -> Result<Option<ShutdownReason>, Error> {
        Ok(match self.inner().info(self.id())?.map(|info| info.state) {
            Some(DomainState::Shutdown(reason)) => Some(reason),
            None | Some(DomainState::Dying) => Some(ShutdownReason::Destroyed),
            Some(_) => None,
        })
    }

    fn control_node(&self) -> String {
        format!("{}/control/shutdown", nodes::home(self.id()))
    }
}
