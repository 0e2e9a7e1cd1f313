//! Looks for guests that have ended, and acts when it is time.

use std::collections::HashMap;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use h2::config::StopAction;
use h2::error::{ErrorKind, OpenError};
use h2::lifecycle::{Ended, Outcome};
use h2::store::Store;
use h2::{Error, Hypervisor};
use uuid::Uuid;

use super::left::{LOOK as LOOK_AT_LEFT, Left};
use super::pace::{Pace, Plan};
use super::{LOOK, SAFE_LOOK, SHORT_LOOK};
use crate::guests::Guests;
use crate::protocol::RestartStatus;
use crate::xenstore::{chain, daemon_listens};

/// xenstored's own watch for domains that have ended (docs/misc/xenstore.txt).
const DOMAIN_ENDED: &str = "@releaseDomain";

/// How long until the next try to reach xenstored; then twice as long, up to the last.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// Unfinished guests are looked for this often, where ended ones are looked for all the time.
const REAP: Duration = Duration::from_secs(10);

/// What keeps guests alive that are to be.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    session: Option<Session>,
    guests: Guests,
    reaped: Option<Instant>,
    pace: Pace,
    /// What went wrong with whom the last time.
    errors: HashMap<Uuid, String>,
    restarts: Vec<(RestartStatus, Option<Instant>)>,
}

/// What it is done with.
#[derive(Debug)]
struct Session {
    hypervisor: Hypervisor,
    /// xenstored need not be there: then it is asked for again after a while.
    store: Option<Store>,
    retry_at: Instant,
    retry: Duration,
    left: Left,
}

impl Keeper {
    /// Connects to the hypervisor, if that is not done. Whether it was done now.
    pub(super) fn open(&mut self) -> Result<bool, OpenError> {
        if self.session.is_some() {
            return Ok(false);
        }
        let hypervisor = Hypervisor::open()?;
        // Records of guests that others destroyed are forgotten by this, and its own connection is
        // made now and not with the first guest.
        if let Err(error) = hypervisor.list() {
            log::warn!("domains cannot be listed: {}", chain(&error));
        }
        let left = Left::open()?;
        self.session = Some(Session {
            hypervisor,
            store: None,
            retry_at: Instant::now(),
            retry: FIRST_RETRY,
            left,
        });
        self.reaped = None;
        Ok(true)
    }

    /// Connects to xenstored, if that is not done, it seems to be there, and it is time to.
    pub(super) fn connect(&mut self, now: Instant) {
        let Some(session) = self
            .session
            .as_mut()
            .filter(|session| session.store.is_none() && now >= session.retry_at)
        else {
            return;
        };
        // Behind the kernel's driver there may be one in another domain. Without one there, too,
        // this takes its time.
        if !daemon_listens() && session.left.can_be() {
            session.retry_at = now + FIRST_RETRY;
            return;
        }
        let connected = Store::open().and_then(|store| {
            let watched = store.add_watch(DOMAIN_ENDED, "ended");
            watched
                .map(|()| store)
                .map_err(|error| OpenError::StoreNotAnswering { reason: chain(&error) })
        });
        match connected {
            Ok(store) => (session.store, session.retry) = (Some(store), FIRST_RETRY),
            Err(error) => {
                if session.retry == FIRST_RETRY {
                    log::warn!(
                        "guests with Xenstore that end are not looked after now: {}",
                        chain(&error)
                    );
                }
                session.retry_at = Instant::now() + session.retry;
                session.retry = (session.retry * 2).min(LAST_RETRY);
            }
        }
    }

    /// How long to wait at most until guests are looked at again.
    pub(super) fn longest_pause(&self) -> Duration {
        match &self.session {
            Some(session) if session.left.has_suspects() => LOOK_AT_LEFT,
            Some(session) if session.store.is_some() && !session.left.can_be() => LOOK,
            Some(session) if session.left.tells() => SAFE_LOOK,
            _ => SHORT_LOOK,
        }
    }

    /// What to poll for the kernel's news.
    pub(super) fn node(&self) -> Option<BorrowedFd<'_>> {
        self.session.as_ref()?.left.descriptor()
    }

    pub(super) fn descriptor(&self) -> Option<OwnedFd> {
        self.session.as_ref()?.store.as_ref()?.descriptor().ok()
    }

    /// Takes the events that have come. Whether there were some.
    pub(super) fn take_events(&mut self) -> bool {
        let mut any = self.session.as_mut().is_some_and(|session| session.left.take_news());
        while let Some(session) = &mut self.session {
            let Some(store) = &session.store else { break };
            match store.next_event(Duration::ZERO) {
                Ok(Some(_)) => any = true,
                Ok(None) => break,
                Err(error) => {
                    log::warn!("{}", chain(&error));
                    // The library's own connection is broken as well.
                    self.session = None;
                }
            }
        }
        any
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.pace.next()
    }

    pub(super) fn retry(&mut self, now: Instant) {
        self.pace.retry(now);
    }

    pub(super) fn restarts(&self) -> Vec<(RestartStatus, Option<Instant>)> {
        self.restarts.clone()
    }

    /// Looks at all guests that have ended, and does what is due. `woken` says that something has
    /// happened, `stop` that there is no time for another one.
    pub(super) fn look(&mut self, woken: bool, stop: impl Fn() -> bool) {
        let Some(session) = &mut self.session else { return };
        let (hypervisor, now) = (&session.hypervisor, Instant::now());
        session.left.remove(hypervisor, now);
        let reaps = woken || self.reaped.is_none_or(|at| now >= at + REAP);
        if reaps {
            self.reaped = Some(now);
            reap(hypervisor);
        }
        let ended = match hypervisor.ended() {
            Ok(ended) => ended,
            Err(error) => {
                log::error!("guests that have ended cannot be listed: {}", chain(&error));
                // A connection that is broken is made anew; one that is not does no harm by that.
                self.session = None;
                return;
            }
        };
        if !reaps && !ended.is_empty() {
            reap(hypervisor);
        }
        let has_store = session.store.is_some();
        let uuids: Vec<Uuid> = ended.iter().map(Ended::uuid).collect();
        self.pace.forget(&uuids, now);
        self.errors.retain(|uuid, _| uuids.contains(uuid));
        self.restarts.clear();
        for guest in ended {
            let plan = self.plan(&guest, now);
            let is_due = plan.at.is_some_and(|at| at <= now) && !stop();
            if is_due && (has_store || !self.needs_store(&guest)) {
                self.carry_out(guest, plan);
            } else {
                if is_due {
                    self.pace.busy(guest.uuid(), now);
                    self.errors.insert(guest.uuid(), "xenstored is not there".to_owned());
                }
                self.note(guest.name().to_owned(), guest.uuid(), guest.reason().to_string(), plan);
            }
        }
    }

    /// Whether nothing can be done about a guest without xenstored.
    fn needs_store(&self, guest: &Ended) -> bool {
        let record = self.guests.read(guest.domain()).ok().flatten();
        record.is_some_and(|record| record.uuid == guest.uuid() && !record.has_console)
    }

    fn plan(&mut self, guest: &Ended, now: Instant) -> Plan {
        let mut plan = self.pace.plan(guest.uuid(), guest.domain(), guest.reason(), now);
        // Only a restart may come too soon.
        if plan.is_new && guest.action() != StopAction::Restart {
            plan.at = Some(now);
        }
        if plan.is_new {
            let wait = plan.at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
            let then = match guest.action() {
                StopAction::Restart if wait.is_zero() => "it is started again".to_owned(),
                StopAction::Restart => {
                    format!(
                        "it is started again in {} s: {} quick ends in a row",
                        wait.as_secs(),
                        plan.in_a_row
                    )
                }
                StopAction::Preserve => "its domain is kept".to_owned(),
                _ => "it is destroyed".to_owned(),
            };
            log::info!(
                "{} (domain {}) has ended: {}; {then}",
                guest.name(),
                guest.domain(),
                guest.reason()
            );
        }
        plan
    }

    fn carry_out(&mut self, guest: Ended, plan: Plan) {
        let (name, uuid, reason) =
            (guest.name().to_owned(), guest.uuid(), guest.reason().to_string());
        let result = guest.carry_out();
        let now = Instant::now();
        match result {
            Ok(Outcome::Restarted(domain)) => {
                log::info!("{name} runs again as domain {domain}");
                self.pace.started(uuid, now);
            }
            Ok(Outcome::Busy) => self.pace.busy(uuid, now),
            Ok(outcome) => log::debug!("{name}: {outcome:?}"),
            Err(error) => {
                let text = chain(&error);
                let again = self.pace.failed(uuid, may_pass(&error), now);
                match again {
                    Some(at) => {
                        let wait = at.saturating_duration_since(now).as_secs();
                        log::warn!(
                            "{name} could not be dealt with: {text}; another try in {wait} s"
                        );
                    }
                    None => log::error!(
                        "{name} could not be dealt with, and is not tried again until xendevd is \
                         reloaded: {text}"
                    ),
                }
                self.errors.insert(uuid, text);
                self.note(name, uuid, reason, Plan { at: again, ..plan });
                // Its connection to xenstored may be what is broken.
                self.session = None;
            }
        }
    }

    fn note(&mut self, guest: String, uuid: Uuid, reason: String, plan: Plan) {
        let error = self.errors.get(&uuid).cloned();
        let status =
            RestartStatus { guest, uuid, reason, in_a_row: plan.in_a_row, in_ms: None, error };
        self.restarts.push((status, plan.at));
    }
}

/// Removes what a dead builder left of a guest: it would be in the way of its next start, and the
/// builder may have been this daemon.
fn reap(hypervisor: &Hypervisor) {
    match hypervisor.reap() {
        Ok(reaped) => {
            for guest in reaped {
                let name = guest.name.as_deref().unwrap_or("without a name");
                log::info!("removed the unfinished guest {name}, whose builder has died");
            }
        }
        Err(error) => log::warn!("unfinished guests cannot be removed: {}", chain(&error)),
    }
}

/// Whether the same might work a little later.
fn may_pass(error: &Error) -> bool {
    !matches!(error.kind(), ErrorKind::Input | ErrorKind::NotFound)
}
