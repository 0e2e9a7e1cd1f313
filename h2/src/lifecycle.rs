//! What becomes of a guest that has ended: its `on_poweroff`, `on_reboot` and `on_crash`, carried
//! out.
//!
//! ```text
//!  the domain shuts down (reason)
//!      |
//!      v          destroy                                preserve
//!  [`Ended`] ----------------> gone                 +---------------> stays, dead
//!      |  carry_out                                 |
//!      |                restart                     |
//!      +--------------------------------------------+
//!      v
//!  noted under restarts/  --destroy-->  no domain  --create, boot-->  a new domain; the note is removed
//! ```
//!
//! A guest that died between the two domains, with the process that was at it, is found by its
//! note: [`Hypervisor::ended`] lists it again. Whoever acts on a guest holds its lock
//! (`state::held`).

use std::rc::Rc;
use std::time::Duration;

use uuid::Uuid;

use crate::boot_image::BootImage;
use crate::config::{GuestConfig, StopAction};
use crate::domain::Domain;
use crate::error::{CreateError, Error};
use crate::hypervisor::Hypervisor;
use crate::id::DomId;
use crate::info::{DomainInfo, DomainState, ShutdownReason};
use crate::inner::Inner;
use crate::state::guests::{self, GuestRecord};
use crate::state::held::{self, Hold};
use crate::state::restarts::{self, Restart};

/// How long a command waits for another process that has the guest in hand: as long as that may
/// take to start a guest.
const PATIENCE: Duration = Duration::from_secs(60);

/// A guest of ours that has ended, and about which nobody has done anything yet.
#[derive(Debug)]
pub struct Ended {
    inner: Rc<Inner>,
    restart: Restart,
    action: StopAction,
}

/// What was done about a guest that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It is gone.
    Destroyed,
    /// It runs again, in this domain.
    Restarted(DomId),
    /// Its domain stays for inspection.
    Preserved,
    /// Another process has it in hand.
    Busy,
    /// Somebody else has dealt with it.
    Gone,
}

impl Hypervisor {
    /// The guests that this library made and that have ended by themselves, and those whose restart
    /// was interrupted. Suspended ones are not among them. One hypercall for a thousand
    /// domains, and nothing else for those that run.
    ///
    /// # Errors
    /// [`Error::Call`] if the hypercall (`XEN_SYSCTL_getdomaininfolist`) fails, [`Error::State`] if
    /// records cannot be read.
    pub fn ended(&self) -> Result<Vec<Ended>, Error> {
        let inner = self.inner();
        let mut ended = Vec::new();
        let all = inner.all()?;
        for info in &all {
            let Some(reason) =
                info.shutdown_reason().filter(|reason| *reason != ShutdownReason::Suspend)
            else {
                continue;
            };
            if let Some(guest) =
                guests::read(&inner.state, info.id, info.handle)?.filter(|guest| !guest.preserved)
            {
                ended.push(Ended::new(inner, Restart { guest, domain: info.id, reason })?);
            }
        }
        for restart in restarts::all(&inner.state)? {
            let uuid = restart.guest.uuid;
            match all.iter().find(|info| info.handle == uuid && info.state != DomainState::Dying) {
                None => ended.push(Ended {
                    inner: Rc::clone(inner),
                    restart,
                    action: StopAction::Restart,
                }),
                // Whoever made the new domain died before it could remove the note, or is about to.
                Some(new) if new.id != restart.domain => restarts::remove(&inner.state, uuid)?,
                // The old domain is there yet, and listed above if it has ended.
                Some(_) => {}
            }
        }
        Ok(ended)
    }

    /// Forgets that a guest was to be started again, by its name. Whether there was such a guest.
    ///
    /// # Errors
    /// [`Error::WrongState`] if another process keeps it in hand, [`Error::State`] if the note
    /// cannot be read or removed.
    pub fn cancel_restart(&self, name: &str) -> Result<bool, Error> {
        let inner = self.inner();
        for restart in restarts::all(&inner.state)? {
            let uuid = restart.guest.uuid;
            if restart.guest.name == name {
                let _hold =
                    inner.hold(uuid, PATIENCE)?.ok_or_else(|| in_hand(inner, name, uuid))?;
                let pending = restarts::read(&inner.state, uuid)?.is_some();
                restarts::remove(&inner.state, uuid)?;
                return Ok(pending);
            }
        }
        Ok(false)
    }
}

fn in_hand(inner: &Inner, name: &str, uuid: Uuid) -> Error {
    let who = held::holder(&inner.state, uuid).map_or_else(String::new, |pid| format!(" {pid}"));
    Error::WrongState(format!("process{who} has {name} in hand: it ends it, or starts it again"))
}

impl Ended {
    fn new(inner: &Rc<Inner>, restart: Restart) -> Result<Self, Error> {
        let config = restart.guest.config()?;
        let action = match restart.reason {
            ShutdownReason::PowerOff => config.on_poweroff,
            ShutdownReason::Reboot => config.on_reboot,
            // A guest that wants its memory kept over a reboot cannot have that, and what else ends
            // one is not its own wish.
            _ => config.on_crash,
        };
        Ok(Self { inner: Rc::clone(inner), restart, action })
    }

    /// The domain that it had.
    #[must_use]
    pub fn domain(&self) -> DomId {
        self.restart.domain
    }

    /// The guest's UUID, which stays the same over restarts.
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        self.restart.guest.uuid
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.restart.guest.name
    }

    /// How it ended.
    #[must_use]
    pub fn reason(&self) -> ShutdownReason {
        self.restart.reason
    }

    /// What its configuration wants done.
    #[must_use]
    pub fn action(&self) -> StopAction {
        self.action
    }

    /// Does it, and takes as long as starting a guest does.
    ///
    /// # Errors
    /// [`Error`], by cause. A guest whose kernel cannot be read stays as it is, dead; one that
    /// could not be made again has no domain any more. Both are listed by [`Hypervisor::ended`]
    /// until it works, or until somebody destroys the guest or cancels its restart.
    pub fn carry_out(self) -> Result<Outcome, Error> {
        let Some(_hold) = self.inner.hold(self.uuid(), Duration::ZERO)? else {
            return Ok(Outcome::Busy);
        };
        let there =
            |info: &DomainInfo| info.handle == self.uuid() && info.state != DomainState::Dying;
        let domain = match self.inner.info(self.domain())?.filter(there) {
            Some(info) if info.shutdown_reason() != Some(self.reason()) => {
                return Ok(Outcome::Gone);
            }
            // Whoever had it in hand until now may have decided that it stays.
            Some(_) => match guests::read(&self.inner.state, self.domain(), self.uuid())? {
                Some(guest) if guest.preserved => return Ok(Outcome::Preserved),
                _ => Some(Domain::new(Rc::clone(&self.inner), self.domain())),
            },
            // Its restart was interrupted, unless somebody has cancelled it or gone on with it.
            None if restarts::read(&self.inner.state, self.uuid())?.is_none() => {
                return Ok(Outcome::Gone);
            }
            None => None,
        };
        match (self.action, domain) {
            (StopAction::Preserve, Some(domain)) => domain.preserve().map(|()| Outcome::Preserved),
            (StopAction::Destroy, Some(domain)) => domain.destroy().map(|()| Outcome::Destroyed),
            (_, domain) => {
                let config = self.restart.guest.config()?;
                let image = BootImage::open(&config).map_err(boxed)?;
                let started = start_again(&self.inner, domain, &self.restart, &image)?;
                Ok(Outcome::Restarted(started.id()))
            }
        }
    }
}

fn boxed(error: impl Into<CreateError>) -> Error {
    Error::Create(Box::new(error.into()))
}

/// Destroys what is left of a guest's last life, and starts it again.
fn start_again(
    inner: &Rc<Inner>,
    old: Option<Domain>,
    restart: &Restart,
    image: &BootImage,
) -> Result<Domain, Error> {
    let config = GuestConfig { paused: false, ..restart.guest.config()? };
    restarts::write(&inner.state, restart)?;
    if let Some(old) = old {
        old.destroy_keeping_note(restart.guest.uuid)?;
    }
    let started = Hypervisor::over_inner(inner)
        .create(&config)
        .and_then(|shell| shell.boot(image))
        .map_err(boxed)?;
    restarts::remove(&inner.state, restart.guest.uuid)?;
    Ok(started)
}

/// A guest that is in this process' hands: while this lives, nobody else ends it or starts it
/// again, whatever happens to it.
#[derive(Debug)]
pub struct InHand {
    _hold: Rc<Hold>,
}

impl Domain {
    /// Takes the guest in hand: the daemon that carries out guests' policies leaves it alone until
    /// the result is dropped. For those who wait for its end and then do something about it.
    ///
    /// # Errors
    /// [`Error::WrongState`] if another process keeps it in hand for longer than a minute,
    /// [`Error::NoSuchDomain`] if it is gone.
    pub fn take_in_hand(&self) -> Result<InHand, Error> {
        let uuid = self.info()?.handle;
        match self.inner().hold(uuid, PATIENCE)? {
            Some(hold) => Ok(InHand { _hold: hold }),
            None => Err(in_hand(self.inner(), &format!("domain {}", self.id()), uuid)),
        }
    }

    /// Keeps the domain when the guest has ended, whatever its configuration says, until somebody
    /// destroys it or starts it again. Of a guest that this library has not made its own
    /// toolstack decides.
    ///
    /// # Errors
    /// [`Error::NoSuchDomain`] if it is gone, [`Error::State`] if its record cannot be changed.
    pub fn preserve(&self) -> Result<(), Error> {
        match self.record(self.info()?.handle)? {
            Some(record) => {
                let preserved = GuestRecord { preserved: true, ..record };
                Ok(guests::write(&self.inner().state, self.id(), &preserved)?)
            }
            None => Ok(()),
        }
    }

    /// Destroys a guest that has ended and starts it again from `config` and `image`: `chaos
    /// reboot`. It keeps its UUID.
    ///
    /// # Errors
    /// [`Error`], by cause. When the new domain cannot be made, the restart stays noted for
    /// [`Hypervisor::ended`].
    pub fn start_again(self, config: &GuestConfig, image: &BootImage) -> Result<Domain, Error> {
        self.refuse_dom0("starting again")?;
        let _in_hand = self.take_in_hand()?;
        let info = self.info()?;
        let config = GuestConfig { uuid: Some(info.handle), ..config.clone() };
        let guest = GuestRecord::new(info.handle, &config)?;
        let reason = info.shutdown_reason().unwrap_or(ShutdownReason::Destroyed);
        let inner = Rc::clone(self.inner_rc());
        let domain = self.id();
        start_again(&inner, Some(self), &Restart { guest, domain, reason }, image)
    }
}
