//! Asking a guest to end, and waiting until it has.
//!
//! ```text
//!  we write "poweroff" to control/shutdown           without Xenstore: "poweroff" and a count into the sysctl device
//!      | the guest's driver takes it, and writes "" back      (not within the bound: GuestDidNotReact)
//!      v                                              without Xenstore: the count
//!  acknowledged
//!      | the guest ends; Xen marks the domain; xenstored fires @releaseDomain
//!      v                                              without Xenstore: /dev/xen/noxs_backend tells it, or we look again and again
//!  shut down (reason), or gone, if another tool destroyed it first
//! ```
//!
//! Xen tells one listener of the end of domains, and that is xenstored, which knows nothing of
//! guests without Xenstore.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::domain::Domain;
use crate::error::Error;
use crate::id::DomId;
use crate::info::{DomainState, ShutdownReason};
use crate::noxs_backend::Backend;
use crate::plane::{Answer, Control, Noxs};
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

/// How soon a guest without Xenstore is looked at again, at first and at last.
const FIRST_LOOK: Duration = Duration::from_millis(20);
const LAST_LOOK: Duration = Duration::from_millis(250);

/// xenstored sends this event when a domain has ended or is gone.
const RELEASE: &str = "@releaseDomain";

/// What tells when to look at a domain.
enum Signal<'a> {
    Store(Watch<'a>),
    /// The time, longer and longer, and what the guest's devices do: they close before it ends.
    Clock {
        devices: Backend,
        next: Cell<Duration>,
        last: Duration,
    },
}

impl Signal<'_> {
    fn clock(noxs: Noxs<'_>, domain: DomId) -> Result<Self, Error> {
        let devices = noxs.watching(domain)?;
        // Where hypervisor and kernel tell the ends of domains, the time is there for what may be
        // lost.
        let last = if devices.watch_ends()? { RECHECK } else { LAST_LOOK };
        Ok(Self::Clock { devices, next: Cell::new(FIRST_LOOK), last })
    }

    fn wait(&self, longest: Duration) -> Result<(), Error> {
        match self {
            Self::Store(watch) => {
                watch.wait(longest)?;
            }
            Self::Clock { devices, next, last } => {
                if devices.wait(next.get().min(longest))? {
                    devices.news()?;
                } else {
                    next.set((next.get() * 3 / 2).min(*last));
                }
            }
        }
        Ok(())
    }
}

impl Domain {
    /// Asks the guest to end, and returns at once.
    ///
    /// # Errors
    /// [`Error::WrongState`] if it has ended already or is paused, [`Error::NoSuchDomain`] if it is
    /// gone, [`Error::Store`] if xenstored fails.
    pub fn request(&self, request: ShutdownRequest) -> Result<(), Error> {
        self.refuse_dom0("shutting down from here")?;
        let info = self.info()?;
        match info.state {
            DomainState::Shutdown(reason) => {
                return Err(Error::WrongState(format!(
                    "domain {} has ended already ({reason})",
                    self.id()
                )));
            }
            DomainState::Dying => {
                return Err(Error::WrongState(format!("domain {} is being destroyed", self.id())));
            }
            DomainState::Paused => {
                return Err(Error::WrongState(format!(
                    "domain {} is paused and cannot react; unpause it first",
                    self.id()
                )));
            }
            DomainState::Running | DomainState::Ready | DomainState::Blocked => {}
        }
        match self.inner().control_of(self.id(), info.handle)? {
            Control::Xenstore(store) => Ok(store.write(&self.control_node(), request.as_str())?),
            Control::Noxs(noxs) => noxs.request(self.id(), request),
        }
    }

    /// Asks the guest to end, and waits until it has. The domain then still exists, without
    /// running.
    ///
    /// # Errors
    /// As [`request`](Self::request) and [`wait_after_request`](Self::wait_after_request).
    pub fn shutdown(
        &self,
        request: ShutdownRequest,
        timeout: Duration,
    ) -> Result<ShutdownReason, Error> {
        self.request(request)?;
        self.wait_after_request(request, timeout)
    }

    /// Waits until a guest that was asked to end has ended: for callers that ask several guests
    /// first.
    ///
    /// # Errors
    /// [`Error::GuestDidNotReact`] if the guest has not taken the request within `timeout` (the
    /// request is then withdrawn), [`Error::Timeout`] if it has and did not end within it,
    /// [`Error::Store`] if xenstored fails.
    pub fn wait_after_request(
        &self,
        request: ShutdownRequest,
        timeout: Duration,
    ) -> Result<ShutdownReason, Error> {
        let node = self.control_node();
        match self.control_or_gone()? {
            None => Ok(ShutdownReason::Destroyed),
            Some(Control::Xenstore(store)) => {
                let watch = Signal::Store(store.watch(&[&node, RELEASE])?);
                let result =
                    self.wait_until(&watch, Some(timeout), "shutting down", || self.ended());
                match result {
                    // An empty node is the acknowledgement. One that is gone: the domain is, too,
                    // or soon will be.
                    Err(Error::Timeout { .. })
                        if store.read(&node)?.is_some_and(|value| !value.is_empty()) =>
                    {
                        // A guest that wakes up later must not act on what its administrator has
                        // been told has failed.
                        store.write(&node, "")?;
                        Err(Error::GuestDidNotReact { request: request.as_str(), timeout })
                    }
                    result => result,
                }
            }
            Some(Control::Noxs(noxs)) => {
                let signal = Signal::clock(noxs, self.id())?;
                let refused = || -> Result<_, Error> {
                    let refused = noxs.answer(self.id())? == Answer::Refused;
                    Ok(if refused {
                        Some(Err(Error::GuestRefused { request: request.as_str() }))
                    } else {
                        None
                    })
                };
                let done = || self.ended()?.map_or_else(refused, |reason| Ok(Some(Ok(reason))));
                match self.wait_until(&signal, Some(timeout), "shutting down", done) {
                    Err(Error::Timeout { .. }) if noxs.answer(self.id())? == Answer::Waiting => {
                        noxs.withdraw(self.id())?;
                        Err(Error::GuestDidNotReact { request: request.as_str(), timeout })
                    }
                    Err(error) => Err(error),
                    Ok(result) => result,
                }
            }
        }
    }

    /// Waits until the domain has ended, for whatever reason.
    ///
    /// # Errors
    /// [`Error::Timeout`] if it has not within `timeout` (`None` waits for ever), [`Error::Store`]
    /// if xenstored fails.
    pub fn wait_for_shutdown(&self, timeout: Option<Duration>) -> Result<ShutdownReason, Error> {
        match self.control_or_gone()? {
            Some(control) => {
                self.wait_until(&self.signal(control)?, timeout, "shutting down", || self.ended())
            }
            None => Ok(ShutdownReason::Destroyed),
        }
    }

    /// Waits until the domain is gone, or is being destroyed: for guests whose own toolstack
    /// destroys them when they have ended.
    ///
    /// # Errors
    /// As [`wait_for_shutdown`](Self::wait_for_shutdown).
    pub fn wait_until_gone(&self, timeout: Option<Duration>) -> Result<(), Error> {
        let Some(control) = self.control_or_gone()? else { return Ok(()) };
        let signal = self.signal(control)?;
        // A domain that is being destroyed may take a while to free its memory, and no event tells
        // its last moment.
        self.wait_until(&signal, timeout, "going away", || {
            let gone =
                self.inner().info(self.id())?.is_none_or(|info| info.state == DomainState::Dying);
            Ok(gone.then_some(()))
        })
    }

    /// Waits for events until something is so. Events tell when to look; [`RECHECK`] bounds the
    /// damage of a lost one.
    fn wait_until<T>(
        &self,
        signal: &Signal<'_>,
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
                    return Err(Error::Timeout {
                        what: format!("domain {}'s {what}", self.id()),
                        timeout,
                    });
                }
                wait = wait.min(left);
            }
            signal.wait(wait)?;
        }
    }

    /// The domain's plane; `None` if the domain is gone.
    fn control_or_gone(&self) -> Result<Option<Control<'_>>, Error> {
        match self.inner().info(self.id())? {
            Some(info) => self.inner().control_of(self.id(), info.handle).map(Some),
            None => Ok(None),
        }
    }

    /// What tells when to look whether the domain has ended.
    fn signal<'a>(&self, control: Control<'a>) -> Result<Signal<'a>, Error> {
        match control {
            Control::Xenstore(store) => Ok(Signal::Store(store.watch(&[RELEASE])?)),
            Control::Noxs(noxs) => Signal::clock(noxs, self.id()),
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
