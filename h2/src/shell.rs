//! A guest on its way: a domain that exists, is paused, and is destroyed unless it is booted.
//!
//! ```text
//!            create                    boot
//! config ------------> Shell ---------------------> Domain
//!                        |                            |
//!                        | drop, or an error in boot  | outlives this process; only `destroy` ends it
//!                        v                            v
//!                     undone: devices, nodes, domain, name, mark
//! ```
//!
//! The order of the steps serves one end: whenever the process dies, what it leaves can be told
//! from what is alive (see [`crate::state::building`]), and whenever a step fails, all earlier ones
//! are undone in reverse.

use std::rc::Rc;

use uuid::Uuid;

use crate::boot_image::BootImage;
use crate::config::{GuestConfig, GuestType, Plane};
use crate::device::{self, NewDevice};
use crate::domain::Domain;
use crate::error::{CallError, CreateError};
use crate::foreign;
use crate::id::{DomId, KiB, Port};
use crate::info::{DomainKind, DomainState};
use crate::inner::{Inner, store_name};
use crate::limits;
use crate::plane::Control;
use crate::random_seed::RandomSeed;
use crate::reap;
use crate::seam::{BuildParams, Builder, HvmParam, NewDomain, Rings};
use crate::state::building::{self, Mark};
use crate::state::guests::{self, ConsolePlace, GuestRecord};
use crate::state::names::{self, Owner};
use crate::state::uuids;
use crate::stats::Phases;
use crate::store::Store;
use crate::store::nodes::{self, GuestNodes};

/// What a guest may hold beyond its memory, for the frames that are not its own RAM: libxl's
/// LIBXL_MAXMEM_CONSTANT.
const MEMORY_SLACK: KiB = KiB::new(1024);

/// Event channel ports of a guest whose configuration does not say: libxl's default.
const EVENT_CHANNELS: u32 = 1023;

/// "No missed ticks pending", as libxl sets HVM_PARAM_TIMER_MODE for PVH guests
/// (xen/include/public/hvm/params.h).
const NO_DELAY_FOR_MISSED_TICKS: u64 = 1;

/// `SHUTDOWN_crash` (xen/include/public/sched.h): what a PVH guest's triple fault is, so that
/// `on_crash` is asked. Xen would take it for a reboot, as that of a PC.
const SHUTDOWN_CRASH: u64 = 3;

/// A paused domain with its vcpus, its memory and the ports of its rings, and without a kernel.
///
/// Made by [`Hypervisor::create`](crate::Hypervisor::create). Dropping it undoes all that was made
/// for it.
#[derive(Debug)]
pub struct Shell {
    /// `None` once the guest has booted: then there is nothing to undo.
    parts: Option<Parts>,
    inner: Rc<Inner>,
    config: GuestConfig,
    uuid: Uuid,
    plane: Plane,
    phases: Phases,
}

/// What exists so far, in the order in which it was made.
#[derive(Debug)]
struct Parts {
    mark: Mark,
    domain: Option<DomId>,
    rings: Option<Rings>,
    builder: Option<Box<dyn Builder>>,
}

impl Shell {
    pub(crate) fn new(inner: Rc<Inner>, config: &GuestConfig) -> Result<Self, CreateError> {
        let phases = Phases::start();
        let plane = check(&inner, config)?;
        let seed = RandomSeed::new()?;
        let config = config.instance();
        let uuid = config.uuid.unwrap_or_else(Uuid::new_v4);
        let mark = Mark::new(&inner.state, config.name.as_str(), uuid, plane)?;
        // From here on there is something to undo, and the shell owns it.
        let parts = Parts { mark, domain: None, rings: None, builder: None };
        let mut shell =
            Self { parts: Some(parts), inner: Rc::clone(&inner), config, uuid, plane, phases };
        shell.reserve_name()?;
        shell.create_domain()?;
        shell.phases.end("domain");
        shell.populate()?;
        shell.phases.end("memory");
        let nodes = shell.nodes(shell.id());
        let devices = NewDevice::all(nodes.domain, &shell.config);
        inner.control(plane)?.prepare(&nodes, &seed, &devices)?;
        shell.phases.end(plane.as_str());
        Ok(shell)
    }

    /// The domain's id.
    ///
    /// # Panics
    /// Never: a shell that callers can see has a domain.
    #[must_use]
    pub fn id(&self) -> DomId {
        self.parts.as_ref().and_then(|parts| parts.domain).unwrap_or(DomId::DOM0)
    }

    /// Gives the guest its kernel and, unless its configuration says `paused`, lets it run.
    ///
    /// # Errors
    /// [`CreateError`], by cause. Then the guest is gone, as after a drop.
    pub fn boot(self, image: &BootImage) -> Result<Domain, CreateError> {
        let paused = self.config.paused;
        self.finish(image, paused)
    }

    /// As [`boot`](Self::boot), but leaves the guest paused before its first instruction.
    ///
    /// # Errors
    /// As [`boot`](Self::boot).
    pub fn boot_paused(self, image: &BootImage) -> Result<Domain, CreateError> {
        self.finish(image, true)
    }

    fn parts(&mut self) -> Result<&mut Parts, CallError> {
        // Only `finish` takes the parts, and it consumes the shell.
        self.parts.as_mut().ok_or_else(|| {
            CallError::new(
                "create",
                None,
                std::io::Error::other("the shell was used after its end"),
            )
        })
    }

    fn reserve_name(&mut self) -> Result<(), CreateError> {
        let inner = Rc::clone(&self.inner);
        let name = self.config.name.clone();
        let new = self.parts()?.mark.owner();
        let alive = |owner| is_alive(&inner, name.as_str(), owner);
        let claimed =
            names::claim::<CreateError>(&inner.state, name.as_str(), new, alive, || Ok(()))?;
        match claimed {
            Ok(()) => Ok(()),
            Err(owner) => Err(in_use(name.as_str(), owner)),
        }
    }

    fn create_domain(&mut self) -> Result<(), CreateError> {
        let inner = Rc::clone(&self.inner);
        let calls = inner.calls.as_ref();
        let config = self.config.clone();
        let guest_type = config.guest_type;
        let handle = *self.parts()?.mark.handle().as_bytes();
        let domain = calls.create_domain(&NewDomain {
            handle,
            guest_type,
            vcpus: config.vcpus.count(),
            max_event_channels: config.max_event_channels.unwrap_or(EVENT_CHANNELS),
            max_grant_frames: config.max_grant_frames,
            grant_version: inner.host.grant_version,
        })?;
        let parts = self.parts()?;
        parts.domain = Some(domain);
        parts.mark.set_domain(domain)?;

        calls.set_vcpus(domain, config.vcpus.count())?;
        for (vcpu, cpus) in config.vcpus.affinity() {
            if !cpus.is_empty() {
                let cpus: Vec<u32> = cpus.cpus().iter().copied().map(u32::from).collect();
                calls.set_affinity(domain, vcpu, &cpus)?;
            }
        }
        let limit = config.memory_kib().checked_add(MEMORY_SLACK).unwrap_or(config.memory_kib());
        calls.set_max_memory(domain, limit)?;
        // A guest without this port knows that it has no Xenstore.
        let store_port = match self.plane {
            Plane::Xenstore => calls.alloc_unbound(domain, DomId::DOM0)?,
            Plane::Noxs => Port::new(0),
        };
        let console_port = calls.alloc_unbound(domain, DomId::DOM0)?;
        self.parts()?.rings = Some(Rings {
            store_port,
            store_domain: DomId::DOM0,
            console_port,
            console_domain: DomId::DOM0,
        });
        match guest_type {
            GuestType::Pv => calls.set_memory_map_limit(domain, config.maxmem_kib())?,
            GuestType::Pvh => {
                calls.set_hvm_param(domain, HvmParam::TimerMode, NO_DELAY_FOR_MISSED_TICKS)?;
                calls.set_hvm_param(domain, HvmParam::TripleFaultReason, SHUTDOWN_CRASH)?;
            }
        }
        calls.set_tsc_mode(domain, config.tsc_mode)?;
        if guest_type == GuestType::Pvh {
            let bytes = limits::paging_pool(&config, inner.host.hap);
            calls
                .set_paging_pool(domain, bytes)
                .map_err(|error| limits::explain_memory(calls, &inner.host, &config, error))?;
        }
        calls.set_cpuid_policy(domain)?;
        Ok(())
    }

    fn populate(&mut self) -> Result<(), CreateError> {
        let inner = Rc::clone(&self.inner);
        let config = self.config.clone();
        let domain = self.id();
        let parts = self.parts()?;
        let Some(rings) = parts.rings else {
            return Err(CallError::new(
                "create",
                Some(domain),
                std::io::Error::other("the domain has no rings"),
            )
            .into());
        };
        let mut builder = inner.calls.builder(
            domain,
            &BuildParams {
                guest_type: config.guest_type,
                vcpus: config.vcpus.count(),
                memory: config.memory,
                max_memory: config.maxmem.unwrap_or(config.memory),
                rings,
            },
        )?;
        let populated = builder.populate();
        // The builder's mappings must be gone before the domain is, so the parts own it in either
        // case.
        parts.builder = Some(builder);
        populated.map_err(|error| {
            limits::explain_memory(inner.calls.as_ref(), &inner.host, &config, error)
        })
    }

    fn nodes(&self, domain: DomId) -> GuestNodes<'_> {
        GuestNodes {
            domain,
            name: self.config.name.as_str(),
            uuid: self.uuid,
            kind: match self.config.guest_type {
                GuestType::Pv => DomainKind::Pv,
                GuestType::Pvh => DomainKind::Pvh,
            },
            memory: self.config.memory_kib(),
            max_memory: self.config.maxmem_kib(),
            vcpus: self.config.vcpus.count(),
            console_domain: DomId::DOM0,
        }
    }

    fn finish(mut self, image: &BootImage, paused: bool) -> Result<Domain, CreateError> {
        let inner = Rc::clone(&self.inner);
        let domain = self.id();
        image.fits(&self.config)?;
        let cmdline = self.config.cmdline.clone().unwrap_or_default();
        let parts = self.parts()?;
        let (Some(builder), Some(rings)) = (parts.builder.as_mut(), parts.rings) else {
            return Err(CallError::new(
                "boot",
                Some(domain),
                std::io::Error::other("the domain has no memory"),
            )
            .into());
        };
        let booted = builder.boot(&image.images(&cmdline));
        inner.add_bytes_copied(builder.bytes_copied());
        let frames = booted?;
        self.parts()?.builder = None;
        self.phases.end("image");

        let control = inner.control(self.plane)?;
        control.introduce(&self.nodes(domain), frames, rings)?;
        self.phases.end("introduce");

        limits::apply_scheduling(&inner, domain, &self.config)?;
        let devices = NewDevice::all(domain, &self.config);
        control.wait_until_ready(domain, &devices, inner.device_limit)?;
        self.phases.end("devices");

        let console = ConsolePlace { frame: frames.console, port: rings.console_port };
        guests::write(&inner.state, domain, &self.record(console)?)?;
        names::assign(&inner.state, self.config.name.as_str(), domain, self.uuid)?;
        if !paused {
            inner.calls.unpause(domain)?;
        }
        // The mark goes last: a guest whose builder died before this line is undone by whoever
        // comes next.
        inner.calls.set_handle(domain, self.uuid.as_bytes())?;
        if let Some(parts) = self.parts.take()
            && let Err(error) = parts.mark.finish()
        {
            // The guest is complete all the same, and whoever reaps sees that.
            log::warn!("{error}: {}", error.source);
        }
        self.phases.end("start");
        let phases = std::mem::replace(&mut self.phases, Phases::start());
        Ok(Domain::new(inner, domain).with_phases(phases.into_ended()))
    }

    fn record(&self, console: ConsolePlace) -> Result<GuestRecord, CreateError> {
        let mut config = GuestConfig { uuid: Some(self.uuid), ..self.config.clone() };
        // It has the same plane in its next life, whatever the host has then.
        let console = (self.plane == Plane::Noxs).then(|| {
            config.plane = Some(Plane::Noxs);
            console
        });
        Ok(GuestRecord { console, ..GuestRecord::new(self.uuid, &config)? })
    }
}

/// All that can be checked before anything is made. The plane that the guest gets.
pub(crate) fn check(inner: &Inner, config: &GuestConfig) -> Result<Plane, CreateError> {
    config.check()?;
    limits::check(&inner.host, config)?;
    limits::check_memory(inner.calls.as_ref(), &inner.host, config)?;
    device::check_all::<CreateError>(inner, config)?;
    let plane = inner.plane_for(config)?;
    match inner.control(plane)? {
        Control::Xenstore(store) => check_nodes(store, config)?,
        Control::Noxs(noxs) => {
            noxs.check::<CreateError>(&NewDevice::all(DomId::DOM0, config))?;
            check_uuid(inner, config)?;
        }
    }
    refuse_foreign_name(inner, config.name.as_str())?;
    Ok(plane)
}

/// A generated UUID is nobody's. One that is given may be: its nodes would be shared, and go with
/// the first of the two guests.
fn check_nodes(store: &Store, config: &GuestConfig) -> Result<(), CreateError> {
    if let Some(uuid) = config.uuid
        && let Some(name) = store.read(&format!("{}/name", nodes::vm(uuid)))?
    {
        return Err(CreateError::UuidInUse { uuid, name });
    }
    Ok(())
}

/// As [`check_nodes`] without Xenstore, by our own index.
fn check_uuid(inner: &Inner, config: &GuestConfig) -> Result<(), CreateError> {
    let Some(uuid) = config.uuid else { return Ok(()) };
    let Some(domain) = uuids::domain(&inner.state, uuid)? else { return Ok(()) };
    match inner.info(domain)?.filter(|info| info.handle == uuid && info.state != DomainState::Dying)
    {
        Some(_) => {
            let record = guests::read(&inner.state, domain, uuid)?;
            let name = record.map_or_else(|| format!("domain {domain}"), |record| record.name);
            Err(CreateError::UuidInUse { uuid, name })
        }
        None => Ok(()),
    }
}

/// Whether the owner of a name is still there, and still has this name: another tool may have
/// destroyed or renamed it.
pub(crate) fn is_alive(inner: &Inner, name: &str, owner: Owner) -> Result<bool, CreateError> {
    match owner {
        Owner::Building { handle, .. } => Ok(building::is_live(&inner.state, handle)?),
        Owner::Guest { domain, uuid } => {
            if inner.info(domain)?.is_none_or(|info| info.handle != uuid) {
                return Ok(false);
            }
            match inner.plane_of(domain, uuid)? {
                Plane::Noxs => Ok(true),
                Plane::Xenstore => match inner.store_if_any()? {
                    Some(store) => {
                        Ok(store_name(store, domain)?.is_none_or(|current| current == name))
                    }
                    None => Ok(true),
                },
            }
        }
    }
}

/// Fails if that owner of the name is alive.
pub(crate) fn refuse_owner(inner: &Inner, name: &str, owner: Owner) -> Result<(), CreateError> {
    if is_alive(inner, name, owner)? { Err(in_use(name, owner)) } else { Ok(()) }
}

pub(crate) fn in_use(name: &str, owner: Owner) -> CreateError {
    let name = name.to_owned();
    match owner {
        Owner::Guest { domain, .. } => CreateError::NameInUse { name, domain },
        Owner::Building { pid, .. } => CreateError::NameReserved { name, pid },
    }
}

/// Names of guests that this library did not make are not in its index. There are as many requests
/// here as there are guests of other toolstacks, none on a host that has only ours. They need
/// xenstored; without it there are none.
fn refuse_foreign_name(inner: &Inner, name: &str) -> Result<(), CreateError> {
    for domain in foreign::domains() {
        let Some(store) = inner.store_if_any()? else { return Ok(()) };
        if store_name(store, domain)?.as_deref() == Some(name) {
            return Err(CreateError::NameInUse { name: name.to_owned(), domain });
        }
    }
    Ok(())
}

impl Drop for Shell {
    fn drop(&mut self) {
        if let Some(parts) = self.parts.take()
            && let Err(error) =
                parts.undo(&self.inner, self.config.name.as_str(), self.uuid, self.plane)
        {
            log::error!(
                "cannot undo guest {}: {error:#}; the next command tries again",
                self.config.name
            );
        }
    }
}

impl Parts {
    /// Takes everything back, in reverse. The mark stays if something else could not be taken back,
    /// so that the next command or daemon finds it.
    fn undo(
        mut self,
        inner: &Inner,
        name: &str,
        uuid: Uuid,
        plane: Plane,
    ) -> Result<(), crate::error::Error> {
        self.builder = None;
        if let Some(domain) = self.domain {
            inner.control(plane)?.undo(domain, uuid)?;
            reap::destroy(inner, domain)?;
            guests::remove(&inner.state, domain)?;
        }
        let handle = self.mark.handle();
        names::release(&inner.state, name, |owner| match owner {
            Owner::Building { handle: owner, .. } => owner == handle,
            Owner::Guest { domain, uuid: owner } => Some(domain) == self.domain && owner == uuid,
        })?;
        self.mark.finish()?;
        Ok(())
    }
}
