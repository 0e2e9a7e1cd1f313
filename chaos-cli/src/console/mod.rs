//! A guest's console connected with this process's standard input and output.
//!
//! [`attach`] is the whole of it: what the guest printed before ([`history`]) comes first, then the
//! [`pump`] carries bytes in both directions until the user detaches, the input or the guest ends,
//! or a signal comes.

mod history;
mod pump;

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{Context, Result};
use h2::Domain;

use self::pump::{End, Patience, Pump};
use crate::failure::Interrupted;
use crate::interrupt::Interrupt;
use crate::terminal::RawMode;

/// The most of the earlier output that is shown, in bytes.
const MAX_HISTORY: usize = 64 * 1024;
/// What the help of `chaos console` promises for an input that ends.
const PATIENCE: Patience =
    Patience { quiet: Duration::from_secs(2), linger: Duration::from_secs(10) };

/// Connects the console of `domain` until one side ends it. `history` asks for what was printed
/// before.
pub(crate) fn attach(domain: &Domain, history: bool) -> Result<()> {
    let console = domain.console()?;
    let guest = console.open()?;
    let before = if history { console.history()? } else { Vec::new() };
    let before = before.get(before.len().saturating_sub(MAX_HISTORY)..).unwrap_or_default();
    pump::set_nonblocking(&guest).context("cannot use the guest's console")?;

    let interrupt = Interrupt::catch()?;
    let interactive = io::stdin().is_terminal();
    let waiting = history::drain(&guest)?;
    let mut first = history::older(before, &waiting).to_vec();
    first.extend_from_slice(&waiting);
    log::info!("connected to the console of domain {}; Ctrl-] detaches", domain.id());

    let raw = interactive.then(|| RawMode::enter(io::stdin())).transpose()?;
    let (input, output) = (io::stdin(), io::stdout());
    let pump = Pump {
        input: input.as_fd(),
        output: output.as_fd(),
        guest: guest.as_fd(),
        signals: interrupt.as_fd(),
        interactive,
        patience: PATIENCE,
        ended: &mut || has_ended(domain),
    };
    let end = pump.run(first);
    drop(raw);
    finish(end?, &interrupt, domain)
}

fn finish(end: End, interrupt: &Interrupt, domain: &Domain) -> Result<()> {
    match end {
        End::Detached | End::InputEnded | End::ReaderGone => Ok(()),
        End::GuestEnded => {
            log::info!("domain {} has ended", domain.id());
            Ok(())
        }
        End::Signal => Err(interrupt.caught().unwrap_or_else(|| Interrupted::by(15)).into()),
    }
}

/// Whether nothing more can come from the guest: it has stopped, or is gone.
fn has_ended(domain: &Domain) -> bool {
    match domain.info() {
        Ok(info) => matches!(info.state, h2::DomainState::Shutdown(_) | h2::DomainState::Dying),
        Err(error) => error.kind() == h2::ErrorKind::NotFound,
    }
}
