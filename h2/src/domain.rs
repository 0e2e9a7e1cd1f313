//! A domain that exists, whoever made it.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use uuid::Uuid;

use crate::config::{GuestConfig, GuestName, Plane};
use crate::console::Console;
use crate::error::Error;
use crate::host::SchedulerParams;
use crate::id::{DomId, MiB};
use crate::info::{DomainInfo, DomainState};
use crate::inner::{Inner, store_name};
use crate::plane::Control;
use crate::reap;
use crate::shell;
use crate::state::guests::{self, ConsolePlace, GuestRecord};
use crate::state::names::{self, Owner};
use crate::state::restarts;
use crate::store::nodes;

/// The highest count of pauses that Xen keeps for a domain.
const MAX_PAUSES: u32 = 255;

/// A handle to a domain. Dropping it does nothing to the domain: only [`destroy`](Self::destroy)
/// ends one.
///
/// A domain can end at any time by itself or by another tool's hand; then the methods fail with
/// [`Error::NoSuchDomain`] or with the hypercall's error.
#[derive(Debug)]
pub struct Domain {
    inner: Rc<Inner>,
    id: DomId,
    phases: Vec<(&'static str, Duration)>,
}

impl Domain {
    pub(crate) fn new(inner: Rc<Inner>, id: DomId) -> Self {
        Self { inner, id, phases: Vec::new() }
    }

    pub(crate) fn with_phases(mut self, phases: Vec<(&'static str, Duration)>) -> Self {
        self.phases = phases;
        self
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }

    pub(crate) fn inner_rc(&self) -> &Rc<Inner> {
        &self.inner
    }

    /// The domain's id.
    #[must_use]
    pub fn id(&self) -> DomId {
        self.id
    }

    /// How long each phase of its creation took; empty unless [`Shell::boot`](crate::Shell::boot)
    /// returned this handle.
    #[must_use]
    pub fn phases(&self) -> &[(&'static str, Duration)] {
        &self.phases
    }

    /// Its name: what Xenstore has for it, or its record if it is a guest without Xenstore.
    ///
    /// # Errors
    /// [`Error::Open`] or [`Error::Store`] if xenstored does not answer.
    pub fn name(&self) -> Result<Option<String>, Error> {
        match self.inner.info(self.id)? {
            Some(info) => self.inner.name_of(self.id, info.handle),
            None => Ok(self
                .inner
                .store_if_any()?
                .map(|store| store_name(store, self.id))
                .transpose()?
                .flatten()),
        }
    }

    /// The plane that connects it to its devices. Guests that this library has not made have
    /// Xenstore.
    ///
    /// # Errors
    /// [`Error::NoSuchDomain`] if it is gone, [`Error::State`] if its record cannot be read.
    pub fn plane(&self) -> Result<Plane, Error> {
        Ok(self.inner.plane_of(self.id, self.info()?.handle)?)
    }

    /// The same, open.
    pub(crate) fn control(&self) -> Result<Control<'_>, Error> {
        self.inner.control_of(self.id, self.info()?.handle)
    }

    /// What Xen knows of it at this moment.
    ///
    /// # Errors
    /// [`Error::NoSuchDomain`] if it is gone, [`Error::Call`] if the hypercall fails.
    pub fn info(&self) -> Result<DomainInfo, Error> {
        self.inner.info(self.id)?.ok_or_else(|| Error::NoSuchDomain(self.id.to_string()))
    }

    /// Stops all its vcpus (`XEN_DOMCTL_pausedomain`). One that is paused already stays as it is.
    ///
    /// # Errors
    /// [`Error::WrongState`] for the control domain, [`Error::Call`] if the hypercall fails.
    pub fn pause(&self) -> Result<(), Error> {
        self.refuse_dom0("pausing")?;
        if self.info()?.state != DomainState::Paused {
            self.inner.calls.pause(self.id)?;
        }
        Ok(())
    }

    /// Lets its vcpus run (`XEN_DOMCTL_unpausedomain`), however often it was paused: Xen counts
    /// pauses. One that runs goes on.
    ///
    /// # Errors
    /// As [`pause`](Self::pause).
    pub fn unpause(&self) -> Result<(), Error> {
        self.refuse_dom0("unpausing")?;
        for _ in 0..MAX_PAUSES {
            if self.info()?.state != DomainState::Paused {
                return Ok(());
            }
            self.inner.calls.unpause(self.id)?;
        }
        Err(Error::WrongState(format!("domain {} is being paused again and again", self.id)))
    }

    /// Ends the domain at once, and removes its nodes and records. The guest is not asked.
    ///
    /// The domain itself goes last: whatever fails or dies before, it can still be found and
    /// destroyed again.
    ///
    /// # Errors
    /// [`Error::Store`] or [`Error::State`] if nodes or records cannot be removed, [`Error::Call`]
    /// if the hypercall fails, [`Error::WrongState`] if another process has the guest in hand
    /// for longer than a minute.
    pub fn destroy(self) -> Result<(), Error> {
        self.refuse_dom0("destroying")?;
        let _in_hand = self.take_in_hand()?;
        let uuid = self.info()?.handle;
        // Whoever destroys a guest does not want it to come back.
        restarts::remove(&self.inner.state, uuid)?;
        self.destroy_keeping_note(uuid)
    }

    /// As [`destroy`](Self::destroy), for whoever has the guest in hand and starts it again.
    pub(crate) fn destroy_keeping_note(self, uuid: Uuid) -> Result<(), Error> {
        // A guest that runs on could use its devices' nodes while they go, or find itself without a
        // name.
        self.inner.calls.pause(self.id)?;
        self.control_by_devices(uuid)?.remove(self.id, Some(uuid))?;
        reap::destroy(&self.inner, self.id)?;
        Ok(reap::forget(&self.inner.state, self.id)?)
    }

    /// The plane of a guest that is to go, also of one whose record is lost: what the kernel has of
    /// it tells.
    fn control_by_devices(&self, uuid: Uuid) -> Result<Control<'_>, Error> {
        let unknown = self.record(uuid)?.is_none();
        let plane = if unknown && self.inner.has_noxs_devices(self.id)? {
            Plane::Noxs
        } else {
            self.inner.plane_of(self.id, uuid)?
        };
        Ok(self.inner.control(plane)?)
    }

    /// Gives it another name, in Xenstore and in the index.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what cannot be a name, [`Error::NameInUse`] for a taken one, else as
    /// the steps fail.
    pub fn rename(&self, name: &str) -> Result<(), Error> {
        self.refuse_dom0("renaming")?;
        let name = GuestName::new(name).map_err(|error| Error::Invalid(error.to_string()))?;
        let info = self.info()?;
        match crate::Hypervisor::over_inner(&self.inner).name_owner(name.as_str())? {
            Some(owner) if owner == self.id => return Ok(()),
            Some(owner) => {
                return Err(Error::NameInUse { name: name.as_str().to_owned(), domain: owner });
            }
            None => {}
        }
        let old = self.name()?;
        let Some(record) = self.record(info.handle)? else { return self.write_name(&name) };
        let new = Owner::Guest { domain: self.id, uuid: info.handle };
        let alive = |owner| {
            shell::is_alive(&self.inner, name.as_str(), owner)
                .map_err(|error| Error::from(Box::new(error)))
        };
        match names::claim(&self.inner.state, name.as_str(), new, alive, || self.write_name(&name))?
        {
            Ok(()) => {}
            Err(owner) => return Err(Box::new(shell::in_use(name.as_str(), owner)).into()),
        }
        self.rename_record(record, &name)?;
        match old {
            Some(old) => Ok(names::release(&self.inner.state, &old, |current| current == new)?),
            None => Ok(()),
        }
    }

    fn write_name(&self, name: &GuestName) -> Result<(), Error> {
        let store = match self.control()? {
            Control::Xenstore(store) => store,
            // The record has it, and is written next.
            Control::Noxs(_) => return Ok(()),
        };
        let home = nodes::home(self.id);
        if let Some(vm) = store.read(&format!("{home}/vm"))?.filter(|vm| vm.starts_with("/vm/")) {
            store.write(&format!("{vm}/name"), name.as_str())?;
        }
        Ok(store.write(&format!("{home}/name"), name.as_str())?)
    }

    /// Brings the index up to date with a name that another tool gave to a guest of ours.
    pub(crate) fn follow_name(&self, uuid: Uuid, name: &str) -> Result<(), Error> {
        let Some(record) = self.record(uuid)?.filter(|record| record.name != name) else {
            return Ok(());
        };
        // What is no name by our rules has no place in the index.
        let Ok(name) = GuestName::new(name) else { return Ok(()) };
        let new = Owner::Guest { domain: self.id, uuid };
        let old = record.name.clone();
        let alive = |owner| {
            shell::is_alive(&self.inner, name.as_str(), owner)
                .map_err(|error| Error::from(Box::new(error)))
        };
        if names::claim(&self.inner.state, name.as_str(), new, alive, || Ok(()))?.is_ok() {
            self.rename_record(record, &name)?;
            names::release(&self.inner.state, &old, |current| current == new)?;
        }
        Ok(())
    }

    fn rename_record(&self, record: GuestRecord, name: &GuestName) -> Result<(), Error> {
        let mut config = record.config()?;
        config.name = name.clone();
        let renamed = record.with_config(&config)?;
        Ok(guests::write(&self.inner.state, self.id, &renamed)?)
    }

    pub(crate) fn record(&self, uuid: Uuid) -> Result<Option<GuestRecord>, Error> {
        Ok(guests::read(&self.inner.state, self.id, uuid)?)
    }

    /// The configuration that it was made from, with the UUID that it got, if this library made it.
    ///
    /// # Errors
    /// [`Error::NoSuchDomain`] if it is gone, [`Error::State`] if the record cannot be read.
    pub fn config(&self) -> Result<Option<GuestConfig>, Error> {
        let info = self.info()?;
        self.record(info.handle)?.map(|record| record.config()).transpose().map_err(Into::into)
    }

    /// Its console.
    ///
    /// # Errors
    /// [`Error::NoSuchDomain`] if it is gone.
    pub fn console(&self) -> Result<Console<'_>, Error> {
        Console::new(self)
    }

    /// Where its console is, if this library made it as a guest without Xenstore.
    pub(crate) fn console_place(&self) -> Result<Option<ConsolePlace>, Error> {
        Ok(self.record(self.info()?.handle)?.and_then(|record| record.console))
    }

    /// The file in which xenconsoled keeps what the guest printed, if it was told to keep it;
    /// xendevd for a guest without Xenstore.
    ///
    /// # Errors
    /// As [`name`](Self::name).
    pub fn console_log(&self) -> Result<Option<PathBuf>, Error> {
        let Some(name) = self.name()? else { return Ok(None) };
        let plane = self
            .inner
            .info(self.id)?
            .map_or(Ok(Plane::Xenstore), |info| self.inner.plane_of(self.id, info.handle))?;
        Ok(Some(crate::console::log_file(plane, &name)).filter(|path| path.is_file()))
    }

    /// The physical CPUs that a vcpu may run on: its hard affinity.
    ///
    /// # Errors
    /// [`Error::Call`] if the hypercall (`XEN_DOMCTL_getvcpuaffinity`) fails, as it does for a vcpu
    /// that the domain does not have.
    pub fn affinity(&self, vcpu: u32) -> Result<Vec<u32>, Error> {
        Ok(self.inner.calls.affinity(self.id, vcpu)?)
    }

    /// Pins a vcpu to some physical CPUs.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an empty list, a CPU that the host or a vcpu that the guest does not
    /// have, else [`Error::Call`] (`XEN_DOMCTL_setvcpuaffinity`).
    pub fn set_affinity(&self, vcpu: u32, cpus: &[u32]) -> Result<(), Error> {
        let vcpus = self.info()?.max_vcpus;
        if vcpu >= vcpus {
            return Err(Error::Invalid(format!(
                "domain {} has no vcpu {vcpu}: it has {vcpus}, counted from 0",
                self.id
            )));
        }
        let highest = self.inner.host.max_cpu_id;
        match cpus.iter().max() {
            None => return Err(Error::Invalid("no CPU is named".to_owned())),
            Some(&cpu) if cpu > highest => {
                return Err(Error::Invalid(format!(
                    "the host has no CPU {cpu}: the highest is {highest}"
                )));
            }
            Some(_) => {}
        }
        Ok(self.inner.calls.set_affinity(self.id, vcpu, cpus)?)
    }

    /// Its share of the CPUs.
    ///
    /// # Errors
    /// [`Error::Call`] if the hypercall (`XEN_DOMCTL_scheduler_op`) fails, as it does under a
    /// scheduler without weights.
    pub fn scheduler_params(&self) -> Result<SchedulerParams, Error> {
        Ok(self.inner.calls.scheduler_params(self.inner.host.scheduler, self.id)?)
    }

    /// Sets its share of the CPUs.
    ///
    /// # Errors
    /// [`Error::Invalid`] for weight 0, else as [`scheduler_params`](Self::scheduler_params).
    pub fn set_scheduler_params(&self, params: SchedulerParams) -> Result<(), Error> {
        if params.weight == 0 {
            return Err(Error::Invalid("a weight is 1 to 65535".to_owned()));
        }
        Ok(self.inner.calls.set_scheduler_params(self.inner.host.scheduler, self.id, params)?)
    }

    /// Limits the memory that it may ever have (`XEN_DOMCTL_max_mem`). What it has it keeps.
    ///
    /// # Errors
    /// [`Error::Invalid`] for 0, [`Error::Call`] if the hypercall fails.
    pub fn set_max_memory(&self, limit: MiB) -> Result<(), Error> {
        let kib = limit.to_kib().filter(|kib| kib.get() > 0);
        let Some(kib) = kib else {
            return Err(Error::Invalid(format!("{limit} is no limit for a domain's memory")));
        };
        self.inner.calls.set_max_memory(self.id, kib)?;
        match self.control()? {
            Control::Xenstore(store) => {
                let path = format!("{}/memory/static-max", nodes::home(self.id));
                Ok(store.write(&path, &kib.get().to_string())?)
            }
            // Nothing there tells a guest more than its target.
            Control::Noxs(_) => Ok(()),
        }
    }

    pub(crate) fn refuse_dom0(&self, what: &str) -> Result<(), Error> {
        if self.id.is_dom0() {
            return Err(Error::WrongState(format!(
                "domain 0 is the control domain: it is not for {what}"
            )));
        }
        Ok(())
    }
}
