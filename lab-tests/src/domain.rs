//! The domains of the host, asked in this process: for loops that wait for something, where `xl`
//! or `chaos` each time would take the processor that it needs. What comes of it is then asked of
//! them.

use h2::{DomainState, Hypervisor};

use crate::wait;

/// The domain of this name, if there is one, and its state.
#[track_caller]
pub fn find(name: &str) -> Option<(u16, DomainState)> {
    let hypervisor = Hypervisor::open().unwrap();
    let found = hypervisor.list().unwrap().into_iter();
    found
        .filter(|domain| domain.name.as_deref() == Some(name))
        .map(|domain| (domain.info.id.get(), domain.info.state))
        .next()
}

/// Waits until there is no domain of this name.
#[track_caller]
pub fn wait_until_gone(name: &str) {
    wait::until(&format!("{name} is still there"), || find(name).is_none());
}

/// Waits until the domain of this name is in a state that is wanted, and returns its id.
#[track_caller]
pub fn wait_for(name: &str, what: &str, wanted: impl Fn(u16, DomainState) -> bool) -> u16 {
    wait::wait_until(&format!("{name} {what}"), || {
        find(name).filter(|(id, state)| wanted(*id, *state)).map(|(id, _)| id)
    })
}
