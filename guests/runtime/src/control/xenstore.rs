//! Requests in `control/shutdown` in Xenstore.

use crate::Exit;
use crate::store::{Claim, Store, StoreError, Token};

const NODE: &str = "control/shutdown";

/// The watch for them.
#[derive(Debug)]
pub(super) struct Requests {
    claim: Claim,
    advertised: bool,
}

impl Requests {
    /// An xenstored that does not answer yet is no failure: it is told when it does.
    pub(super) fn open(store: &mut Store) -> Result<Requests, StoreError> {
        let mut requests = Requests { claim: store.claim()?, advertised: false };
        requests.advertise(store);
        match store.watch_for(NODE, requests.claim.token()) {
            Err(error) if !error.is_temporary() => Err(error),
            _ => Ok(requests),
        }
    }

    pub(super) fn token(&self) -> Token {
        self.claim.token()
    }

    pub(super) fn take(&mut self, store: &mut Store) -> Option<Exit> {
        if !store.take_fired_at(NODE, self.claim.token()) {
            return None;
        }
        self.advertise(store);
        let mut buffer = [0; 16];
        let exit = Exit::requested(store.read(NODE, &mut buffer).ok()?)?;
        // Emptied: seen. If that fails the toolstack sees the domain stop all the same.
        let _ = store.write(NODE, b"");
        Some(exit)
    }

    /// Tells what this guest answers, once.
    fn advertise(&mut self, store: &mut Store) {
        if self.advertised {
            return;
        }
        // The toolstack makes these nodes, or does not ask: a refusal is no failure.
        let mut tell = |node| !store.write(node, b"1").is_err_and(StoreError::is_temporary);
        self.advertised = tell("control/feature-poweroff") && tell("control/feature-reboot");
    }
}
