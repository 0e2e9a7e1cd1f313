//! The way in: a [`Hypervisor`] opens Xen, finds domains, and makes guests.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use crate::config::GuestConfig;
use crate::domain::Domain;
use crate::error::{CreateError, Error, OpenError};
use crate::host::HostInfo;
use crate::id::DomId;
use crate::info::DomainInfo;
use crate::inner::Inner;
use crate::raw;
use crate::raw::xenctrl::Xenctrl;
use crate::reap::{self, Reaped};
use crate::seam::{Hypercalls, NoxsNode, StoreCalls};
use crate::shell::{self, Shell};
use crate::state::names::{self, Owner};
use crate::state::{StateDir, guests};
use crate::stats::Counters;

/// Where records are kept unless an option says otherwise: a tmpfs, since domain ids do not outlive
/// the host's boot.
const STATE_DIR: &str = "/run/lightvm";

/// How long backends may take to become ready: libxl's value.
const DEVICE_LIMIT: Duration = Duration::from_secs(10);

/// How to open the hypervisor.
#[derive(Debug, Clone)]
pub struct Options {
    state_dir: PathBuf,
    device_limit: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { state_dir: PathBuf::from(STATE_DIR), device_limit: DEVICE_LIMIT }
    }
}

impl Options {
    /// Keeps the records of guests in this directory instead of /run/lightvm. All programs that
    /// manage guests on a host must use the same one.
    #[must_use]
    pub fn state_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.state_dir = path.into();
        self
    }

    /// Waits so long, instead of 10 s, until the backends of a guest's devices are ready, all of
    /// them together.
    #[must_use]
    pub fn device_limit(mut self, limit: Duration) -> Self {
        self.device_limit = limit;
        self
    }

    /// Opens the hypervisor.
    ///
    /// # Errors
    /// [`OpenError::NotXen`] if there is none below this kernel, [`OpenError::NotControlDomain`] in
    /// a guest, [`OpenError::Permission`] if the caller may not use it,
    /// [`OpenError::VersionMismatch`] if it speaks another interface version than the
    /// library (libxenctrl is not a stable ABI), [`OpenError::State`] if the state directory cannot
    /// be made.
    pub fn open(&self) -> Result<Hypervisor, OpenError> {
        crate::detect::control_domain()?;
        self.over(Box::new(Xenctrl::open()?), None)
    }

    /// Opens something else in the place of Xen: see [`crate::seam`].
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn over(
        &self,
        calls: Box<dyn Hypercalls>,
        store: Option<Box<dyn StoreCalls>>,
    ) -> Result<Hypervisor, OpenError> {
        self.build(calls, store, None, false)
    }

    /// As [`over`](Self::over), with something else in the place of the kernel's NoXS node, too.
    /// What is `None` the host does not have.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn over_all(
        &self,
        calls: Box<dyn Hypercalls>,
        store: Option<Box<dyn StoreCalls>>,
        noxs: Option<Box<dyn NoxsNode>>,
    ) -> Result<Hypervisor, OpenError> {
        let no_store = store.is_none();
        self.build(calls, store, Some(noxs), no_store)
    }

    fn build(
        &self,
        calls: Box<dyn Hypercalls>,
        store: Option<Box<dyn StoreCalls>>,
        noxs: Option<Option<Box<dyn NoxsNode>>>,
        no_store: bool,
    ) -> Result<Hypervisor, OpenError> {
        let state = StateDir::new(&self.state_dir);
        state.prepare()?;
        let inner = Inner::new(calls, store, noxs, state, self.device_limit, no_store)?;
        Ok(Hypervisor { inner: Rc::new(inner) })
    }
}

/// A domain and its name.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GuestSummary {
    /// What Xen knows of it.
    pub info: DomainInfo,
    /// Its name, unless nobody gave it one.
    pub name: Option<String>,
}

/// An open hypervisor. It is cheap to keep and cheap to open, and belongs to one thread, as
/// libxenctrl does.
#[derive(Debug)]
pub struct Hypervisor {
    inner: Rc<Inner>,
}

impl Hypervisor {
    /// Opens the hypervisor that this machine runs under, with the default [`Options`].
    ///
    /// # Errors
    /// As [`Options::open`].
    pub fn open() -> Result<Self, OpenError> {
        Options::default().open()
    }

    /// What the host is and has at this moment.
    ///
    /// # Errors
    /// [`Error::Call`] if one of the hypercalls fails.
    pub fn host_info(&self) -> Result<HostInfo, Error> {
        Ok(self.inner.calls.host_info()?)
    }

    /// What Xen knows of all domains, whoever made them, in the order of their ids; asks nobody
    /// else (`XEN_SYSCTL_getdomaininfolist`).
    ///
    /// # Errors
    /// [`Error::Call`] if the hypercall fails.
    pub fn domains(&self) -> Result<Vec<DomainInfo>, Error> {
        Ok(self.inner.all()?)
    }

    /// All domains, whoever made them, with the control domain first.
    ///
    /// # Errors
    /// [`Error::Call`] if a hypercall fails, [`Error::Open`] or [`Error::Store`] if xenstored does
    /// not answer on a host that has no NoXS. On one that has, guests with Xenstore go without
    /// a name that only xenstored knows.
    pub fn list(&self) -> Result<Vec<GuestSummary>, Error> {
        let all = self.inner.all()?;
        self.forget_gone(&all);
        all.into_iter()
            .map(|info| {
                let domain = self.domain_of(info.id);
                let name = self.inner.name_of(info.id, info.handle)?;
                if let Some(name) = &name
                    && let Err(error) = domain.follow_name(info.handle, name)
                {
                    log::warn!("cannot follow the new name of domain {}: {error}", info.id);
                }
                Ok(GuestSummary { info, name })
            })
            .collect()
    }

    /// The domain with this id.
    ///
    /// # Errors
    /// [`Error::NoSuchDomain`] if there is none.
    pub fn domain(&self, id: DomId) -> Result<Domain, Error> {
        match self.inner.info(id)? {
            Some(_) => Ok(self.domain_of(id)),
            None => Err(Error::NoSuchDomain(id.to_string())),
        }
    }

    /// The domain that a user means: a decimal number is an id, all else a name.
    ///
    /// A guest that this library made is found at once; for others, the names of all domains are
    /// read from Xenstore.
    ///
    /// # Errors
    /// [`Error::NoSuchDomain`] if there is none, [`Error::AmbiguousName`] if more than one has the
    /// name.
    pub fn find(&self, guest: &str) -> Result<Domain, Error> {
        if !guest.is_empty() && guest.bytes().all(|byte| byte.is_ascii_digit()) {
            let id = guest.parse().map_err(|_| Error::NoSuchDomain(guest.to_owned()))?;
            return self.domain(id);
        }
        if let Some(Owner::Guest { domain, uuid }) = names::owner(&self.inner.state, guest)?
            && self.inner.info(domain)?.is_some_and(|info| info.handle == uuid)
        {
            // Another tool may have renamed it, and only Xenstore knows.
            if self.inner.name_of(domain, uuid)?.as_deref() == Some(guest) {
                return Ok(self.domain_of(domain));
            }
        }
        let mut ids = Vec::new();
        for info in self.inner.all()? {
            if self.inner.name_of(info.id, info.handle)?.as_deref() == Some(guest) {
                ids.push(info.id);
            }
        }
        match ids.as_slice() {
            [] => Err(Error::NoSuchDomain(format!("named {guest:?}"))),
            [id] => Ok(self.domain_of(*id)),
            _ => Err(Error::AmbiguousName { name: guest.to_owned(), ids }),
        }
    }

    /// Whether a name is taken, and by which domain: what [`create`](Self::create) would say,
    /// without creating.
    ///
    /// # Errors
    /// As [`find`](Self::find), but that nobody has the name is no error.
    pub fn name_owner(&self, name: &str) -> Result<Option<DomId>, Error> {
        match self.find(name) {
            Ok(domain) => Ok(Some(domain.id())),
            Err(Error::NoSuchDomain(_)) => Ok(None),
            Err(Error::AmbiguousName { ids, .. }) => Ok(ids.first().copied()),
            Err(error) => Err(error),
        }
    }

    /// What [`create`](Self::create) checks before it makes anything: the configuration, the host's
    /// limits, its free memory, what its devices need on this host, and that the name and the
    /// UUID are free.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn check(&self, config: &GuestConfig) -> Result<(), CreateError> {
        shell::check(&self.inner, config)?;
        match names::owner(&self.inner.state, config.name.as_str())? {
            Some(owner) => shell::refuse_owner(&self.inner, config.name.as_str(), owner),
            None => Ok(()),
        }
    }

    /// Starts a guest: makes a paused domain with its vcpus, memory and ports. [`Shell::boot`]
    /// gives it a kernel. A `Shell` that is dropped is undone.
    ///
    /// # Errors
    /// [`CreateError`], by cause. Nothing is left behind on the host.
    pub fn create(&self, config: &GuestConfig) -> Result<Shell, CreateError> {
        Shell::new(Rc::clone(&self.inner), config)
    }

    /// Destroys the unfinished guests that dead builders left: domains, nodes, records. Never
    /// touches one whose builder lives.
    ///
    /// # Errors
    /// [`Error`] for the first one that cannot be undone; it is tried again at the next call.
    pub fn reap(&self) -> Result<Vec<Reaped>, Error> {
        reap::reap(&self.inner)
    }

    /// What was counted so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let counts = raw::counts();
        let (xenstore_operations, noxs_operations) = self.inner.operations();
        Counters {
            hypercalls: counts.map(|(hypercalls, _)| hypercalls),
            ioctls: counts.map(|(_, ioctls)| ioctls),
            xenstore_operations,
            noxs_operations,
            bytes_copied: self.inner.bytes_copied(),
        }
    }

    pub(crate) fn inner(&self) -> &Rc<Inner> {
        &self.inner
    }

    pub(crate) fn over_inner(inner: &Rc<Inner>) -> Self {
        Self { inner: Rc::clone(inner) }
    }

    fn domain_of(&self, id: DomId) -> Domain {
        Domain::new(Rc::clone(&self.inner), id)
    }

    /// Forgets the records of guests that others destroyed; `all` is every domain there is.
    fn forget_gone(&self, all: &[DomainInfo]) {
        let forget = || {
            for domain in guests::domains(&self.inner.state)? {
                // `all` is of a moment ago: the domain may have been made since.
                if !all.iter().any(|info| info.id == domain) && self.inner.info(domain)?.is_none() {
                    self.inner.forget_devices(domain)?;
                    reap::forget(&self.inner.state, domain)?;
                }
            }
            Ok::<(), Error>(())
        };
        if let Err(error) = forget() {
            log::warn!("cannot forget the guests that are gone: {error}");
        }
    }
}
