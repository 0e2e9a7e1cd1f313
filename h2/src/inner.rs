//! What a hypervisor and its domains share: the seam, opened as far as it is needed, and the
//! records.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use uuid::Uuid;

use crate::config::Plane;
use crate::error::{CallError, Error, OpenError, StateError};
use crate::host::HostInfo;
use crate::id::DomId;
use crate::info::DomainInfo;
use crate::noxs_backend::Backend;
use crate::plane::{Control, Noxs};
use crate::seam::{Hypercalls, NoxsNode, StoreCalls};
use crate::state::held::{self, Hold, Holds};
use crate::state::{StateDir, guests};
use crate::store::{Store, nodes};

/// More domains than this are fetched in several hypercalls.
const CHUNK: usize = 1024;

/// The control domain's name where no xenstored has one.
const CONTROL_DOMAIN: &str = "Domain-0";

/// What a hypervisor's guests share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) calls: Box<dyn Hypercalls>,
    store: OnceCell<Store>,
    /// There is no xenstored, and none is needed: nobody waits for it again.
    no_store: Cell<bool>,
    noxs: OnceCell<Option<Backend>>,
    noxs_hypervisor: OnceCell<bool>,
    pub(crate) state: StateDir,
    /// The host as it was when it was opened: its memory figures are of that moment.
    pub(crate) host: HostInfo,
    /// How long the backends of a guest's devices may take to become ready.
    pub(crate) device_limit: Duration,
    bytes_copied: Cell<u64>,
    holds: RefCell<Holds>,
}

impl Inner {
    pub(crate) fn new(
        calls: Box<dyn Hypercalls>,
        store: Option<Box<dyn StoreCalls>>,
        noxs: Option<Option<Box<dyn NoxsNode>>>,
        state: StateDir,
        device_limit: Duration,
        no_store: bool,
    ) -> Result<Self, OpenError> {
        let host = calls.host_info()?;
        Ok(Self {
            calls,
            store: store.map(Store::over).map_or_else(OnceCell::new, OnceCell::from),
            no_store: Cell::new(no_store),
            noxs: noxs
                .map(|node| node.map(Backend::over))
                .map_or_else(OnceCell::new, OnceCell::from),
            noxs_hypervisor: OnceCell::new(),
            state,
            host,
            device_limit,
            bytes_copied: Cell::new(0),
            holds: RefCell::default(),
        })
    }

    /// Takes a guest in hand; `None` if another process has it for longer than `patience`.
    pub(crate) fn hold(
        &self,
        uuid: Uuid,
        patience: Duration,
    ) -> Result<Option<Rc<Hold>>, StateError> {
        held::take(&self.state, &mut self.holds.borrow_mut(), uuid, patience)
    }

    /// Xenstore, opened when it is first needed: a host may have none.
    pub(crate) fn store(&self) -> Result<&Store, OpenError> {
        if let Some(store) = self.store.get() {
            return Ok(store);
        }
        if self.no_store.get() {
            return Err(OpenError::StoreNotAnswering {
                reason: "there is none on this host".to_owned(),
            });
        }
        let store = Store::open()?;
        Ok(self.store.get_or_init(|| store))
    }

    /// Xenstore, where nothing depends on it: `None` on a host that has NoXS and no xenstored. One
    /// without NoXS needs xenstored.
    pub(crate) fn store_if_any(&self) -> Result<Option<&Store>, OpenError> {
        if self.store.get().is_some() {
            return self.store().map(Some);
        }
        if self.noxs_backend()?.is_none() {
            return self.store().map(Some);
        }
        if self.no_store.get() {
            return Ok(None);
        }
        let store = if Store::is_here() { self.store().map(Some) } else { Ok(None) };
        match store {
            Ok(found) => {
                self.no_store.set(found.is_none());
                Ok(found)
            }
            Err(error) => {
                log::warn!("{error}");
                self.no_store.set(true);
                Ok(None)
            }
        }
    }

    /// The kernel's end of NoXS devices, if this kernel has NoXS.
    pub(crate) fn noxs_backend(&self) -> Result<Option<&Backend>, OpenError> {
        if self.noxs.get().is_none() {
            let backend = Backend::open()?;
            let _ = self.noxs.set(backend);
        }
        Ok(self.noxs.get().and_then(Option::as_ref))
    }

    /// Whether the hypervisor has NoXS.
    pub(crate) fn hypervisor_has_noxs(&self) -> Result<bool, CallError> {
        if let Some(&has) = self.noxs_hypervisor.get() {
            return Ok(has);
        }
        let has = self.calls.noxs_abi()?.is_some();
        Ok(*self.noxs_hypervisor.get_or_init(|| has))
    }

    /// The plane of a domain with this handle: that of its record. Guests that this library has not
    /// made have Xenstore.
    pub(crate) fn plane_of(&self, domain: DomId, handle: Uuid) -> Result<Plane, StateError> {
        Ok(guests::read(&self.state, domain, handle)?
            .map_or(Plane::Xenstore, |record| record.plane()))
    }

    /// The same, open.
    pub(crate) fn control_of(&self, domain: DomId, handle: Uuid) -> Result<Control<'_>, Error> {
        Ok(self.control(self.plane_of(domain, handle)?)?)
    }

    /// The name of a domain: a guest's without Xenstore is in its record, all others' are in
    /// Xenstore.
    pub(crate) fn name_of(&self, domain: DomId, handle: Uuid) -> Result<Option<String>, Error> {
        let record = guests::read(&self.state, domain, handle)?;
        if let Some(record) = record.as_ref().filter(|record| record.plane() == Plane::Noxs) {
            return Ok(Some(record.name.clone()));
        }
        match self.store_if_any()? {
            Some(store) => Ok(store_name(store, domain)?),
            None if domain.is_dom0() => Ok(Some(CONTROL_DOMAIN.to_owned())),
            None => Ok(record.map(|record| record.name)),
        }
    }

    /// Removes what is left of the devices of a domain that is gone.
    pub(crate) fn forget_devices(&self, domain: DomId) -> Result<(), Error> {
        match self.noxs_backend()? {
            Some(_) => Ok(Noxs::open(self)?.remove_all(domain)?),
            None => Ok(()),
        }
    }

    /// Whether the kernel has NoXS devices for a domain of which there is no record.
    pub(crate) fn has_noxs_devices(&self, domain: DomId) -> Result<bool, Error> {
        match self.noxs_backend()? {
            Some(backend) => Ok(!backend.list(Some(domain))?.is_empty()),
            None => Ok(false),
        }
    }

    /// Requests to xenstored, and operations of the kernel's on NoXS devices, so far.
    pub(crate) fn operations(&self) -> (u64, u64) {
        let noxs = self.noxs.get().and_then(Option::as_ref).map_or(0, Backend::operations);
        (self.store.get().map_or(0, Store::operations), noxs)
    }

    pub(crate) fn bytes_copied(&self) -> u64 {
        self.bytes_copied.get()
    }

    pub(crate) fn add_bytes_copied(&self, bytes: u64) {
        self.bytes_copied.set(self.bytes_copied.get() + bytes);
    }

    /// What Xen knows of one domain; `None` if there is no such domain.
    pub(crate) fn info(&self, domain: DomId) -> Result<Option<DomainInfo>, CallError> {
        Ok(self.calls.domains(domain, 1)?.into_iter().next().filter(|info| info.id == domain))
    }

    /// All domains, in the order of their ids.
    pub(crate) fn all(&self) -> Result<Vec<DomainInfo>, CallError> {
        let mut all: Vec<DomainInfo> = Vec::new();
        let mut first = Some(DomId::DOM0);
        while let Some(start) = first {
            let chunk = self.calls.domains(start, CHUNK)?;
            let whole = chunk.len() == CHUNK;
            all.extend(chunk);
            first = if whole {
                all.last().and_then(|info| DomId::new(info.id.get().saturating_add(1)))
            } else {
                None
            };
        }
        Ok(all)
    }
}

/// The name that Xenstore has for a domain.
pub(crate) fn store_name(
    store: &Store,
    domain: DomId,
) -> Result<Option<String>, crate::error::StoreError> {
    store.read(&format!("{}/name", nodes::home(domain)))
}
