//! `chaos shutdown`.

use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result};
use h2::config::StopAction;
use h2::lifecycle::InHand;
use h2::{Domain, ErrorKind, GuestConfig, Hypervisor, ShutdownRequest};

use super::simple::refuse_control_domain;
use crate::args::{Guest, ShutdownArgs};
use crate::failure::collected;
use crate::host;
use crate::output::Output;
use crate::views::Ended;

/// How long xl's process may take to remove a domain that has ended.
const REMOVAL_BY_XL: Duration = Duration::from_secs(5);

/// A guest that has been asked.
struct Asked<'a> {
    guest: &'a Guest,
    domain: Domain,
    name: Option<String>,
    /// Its configuration, if chaos made it.
    config: Option<GuestConfig>,
    /// It is paused, so it will not react.
    paused: bool,
    /// Until its end is dealt with here, xendevd leaves it alone.
    _in_hand: Option<InHand>,
}

pub(crate) fn run(args: &ShutdownArgs, output: Output) -> Result<()> {
    let hypervisor = host::open()?;
    let mut failures = Vec::new();
    let mut asked = Vec::new();
    for guest in &args.guests {
        match ask(&hypervisor, guest, args) {
            Ok(one) => asked.push(one),
            Err(error) => failures.push(error),
        }
    }
    let start = Instant::now();
    for one in asked {
        let served =
            if args.no_wait { Ok(one.answer(None, false)) } else { wait(one, args, start) };
        if let Err(error) = served.and_then(|ended| output.print(&ended, Ended::text)) {
            failures.push(error);
        }
    }
    collected(failures)
}

/// Sends the request, so that all guests go down at the same time.
fn ask<'a>(hypervisor: &Hypervisor, guest: &'a Guest, args: &ShutdownArgs) -> Result<Asked<'a>> {
    let domain = host::find(hypervisor, guest)?;
    refuse_control_domain(&domain, "shut down")?;
    let (name, config, info) = (domain.name()?, domain.config()?, domain.info()?);
    let in_hand = if args.no_wait { None } else { Some(domain.take_in_hand()?) };
    let paused = args.force && info.state == h2::DomainState::Paused;
    // One that has ended already needs no request, only what follows.
    if !paused && (args.no_wait || info.shutdown_reason().is_none()) {
        domain
            .request(ShutdownRequest::PowerOff)
            .with_context(|| format!("cannot ask {guest} to shut down"))?;
    }
    Ok(Asked { guest, domain, name, config, paused, _in_hand: in_hand })
}

fn wait(asked: Asked<'_>, args: &ShutdownArgs, start: Instant) -> Result<Ended> {
    let left = args.timeout.saturating_sub(start.elapsed());
    if asked.paused {
        return force(asked);
    }
    match asked.domain.wait_after_request(ShutdownRequest::PowerOff, left) {
        Ok(reason) => clean_up(asked, &reason.to_string(), args.keep),
        Err(error) if args.force && is_silence(&error) => force(asked),
        Err(error) => Err(Error::from(since(error, args.timeout))
            .context(format!("cannot shut down {}", asked.guest))),
    }
}

/// Removes a domain that has ended, unless it is to stay or is xl's to remove.
fn clean_up(asked: Asked<'_>, reason: &str, keep: bool) -> Result<Ended> {
    let Some(config) = &asked.config else {
        let gone = !keep && asked.domain.wait_until_gone(Some(REMOVAL_BY_XL)).is_ok();
        return Ok(asked.answer(Some(reason), gone));
    };
    let keep = keep || config.on_poweroff == StopAction::Preserve;
    if keep {
        asked.domain.preserve().with_context(|| format!("cannot keep {}", asked.guest))?;
    }
    let answer = asked.answer(Some(reason), !keep);
    match if keep { Ok(()) } else { asked.domain.destroy() } {
        // Another tool was faster.
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::from(error)
            .context(format!("{} has shut down, but cannot be destroyed", asked.guest))),
        _ => Ok(answer),
    }
}

/// Ends a guest that does not react.
fn force(asked: Asked<'_>) -> Result<Ended> {
    let answer = asked.answer(Some("forced"), true);
    asked.domain.destroy().with_context(|| format!("cannot destroy {}", asked.guest))?;
    Ok(answer)
}

/// Whether the wait ended because the guest did not end.
fn is_silence(error: &h2::Error) -> bool {
    matches!(error, h2::Error::GuestDidNotReact { .. } | h2::Error::Timeout { .. })
}

/// The failure with the time since the guest was asked: the wait for this one may have begun later.
fn since(error: h2::Error, timeout: Duration) -> h2::Error {
    match error {
        h2::Error::GuestDidNotReact { request, .. } => {
            h2::Error::GuestDidNotReact { request, timeout }
        }
        h2::Error::Timeout { what, .. } => h2::Error::Timeout { what, timeout },
        other => other,
    }
}

impl Asked<'_> {
    fn answer(&self, reason: Option<&str>, destroyed: bool) -> Ended {
        let reason = reason.map(ToOwned::to_owned);
        Ended { domid: self.domain.id().get(), name: self.name.clone(), reason, destroyed }
    }
}
