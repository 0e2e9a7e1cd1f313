//! The fake hypervisor's bookkeeping, with the checks of Xen 4.17 (xen/common/domctl.c and what it
//! calls) that a toolstack's order of steps depends on.

use std::collections::BTreeMap;

use h2::DomId;
use h2::config::GuestType;
use h2::id::{KiB, MiB};
use h2::seam::NewDomain;
use serde::{Deserialize, Serialize};

use crate::backends::{Backends, Frontends};
use crate::guest::{Guest, Reaction};
use crate::noxs::Noxs;
use crate::noxs_files::Told;
use crate::tree::Tree;

/// What the hypervisor takes for a domain's own structures.
const STRUCTURES: KiB = KiB::new(72);
/// The toolstack may pause a domain this often (xen/common/domain.c).
const MOST_PAUSES: u32 = 255;
/// Physical CPUs.
pub(crate) const CPUS: u32 = 4;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Host {
    pub(crate) domains: BTreeMap<DomId, Guest>,
    pub(crate) introduced: BTreeMap<DomId, u32>,
    pub(crate) tree: Tree,
    pub(crate) backends: Backends,
    pub(crate) frontends: Frontends,
    pub(crate) noxs: Noxs,
    /// Whether xenstored runs.
    pub(crate) xenstored: bool,
    pub(crate) total: KiB,
    pub(crate) free: KiB,
    /// The id that was given out last (`rover` of xen/common/domctl.c).
    last: u16,
    /// Builders that map a domain's memory.
    #[serde(skip)]
    builders: BTreeMap<DomId, u32>,
}

fn add(a: KiB, b: KiB) -> KiB {
    KiB::new(a.get().saturating_add(b.get()))
}

impl Host {
    pub(crate) fn new() -> Self {
        let total = KiB::new(16 << 20);
        let dom0 = KiB::new(256 << 10);
        let control = Guest {
            pvh: false,
            handle: [0; 16],
            pauses: 0,
            max_vcpus: CPUS,
            vcpus: CPUS,
            memory: dom0,
            memory_limit: dom0,
            overhead: KiB::new(0),
            paging_pool: KiB::new(0),
            ports: 0,
            max_port: u32::MAX,
            params: BTreeMap::new(),
            affinity: BTreeMap::new(),
            weight: 256,
            cap: 0,
            built: true,
            has_cpuid: true,
            ended: None,
            dying: false,
            reaction: Reaction::Ignore,
            asked: None,
        };
        let mut tree = Tree::new();
        for (path, value) in [
            ("/local/domain/0/name", "Domain-0"),
            ("/local/domain/0/domid", "0"),
            ("/tool/xenstored", ""),
        ] {
            // These paths are well-formed.
            let _ = tree.write(path, value.as_bytes());
        }
        Self {
            domains: BTreeMap::from([(DomId::DOM0, control)]),
            introduced: BTreeMap::from([(DomId::DOM0, 1)]),
            tree,
            backends: Backends::default(),
            frontends: Frontends::default(),
            noxs: Noxs::default(),
            xenstored: true,
            total,
            free: KiB::new(total.get() - dom0.get()),
            last: 0,
            builders: BTreeMap::new(),
        }
    }

    pub(crate) fn set_next(&mut self, id: DomId) {
        self.last = id.get().saturating_sub(1);
    }

    /// The next id behind the last one that no domain has, a dying one neither.
    fn free_id(&self) -> Result<DomId, i32> {
        let behind = (self.last + 1..DomId::FIRST_RESERVED).chain(1..self.last);
        behind.filter_map(DomId::new).find(|id| !self.domains.contains_key(id)).ok_or(libc::ENOMEM)
    }

    /// A domain that lives.
    pub(crate) fn guest(&mut self, id: DomId) -> Result<&mut Guest, i32> {
        self.domains.get_mut(&id).filter(|guest| !guest.dying).ok_or(libc::ESRCH)
    }

    fn take(&mut self, amount: KiB) -> Result<(), i32> {
        self.free = KiB::new(self.free.get().checked_sub(amount.get()).ok_or(libc::ENOMEM)?);
        Ok(())
    }

    pub(crate) fn create(&mut self, new: &NewDomain) -> Result<DomId, i32> {
        if new.vcpus == 0 {
            return Err(libc::EINVAL);
        }
        let id = self.free_id()?;
        self.last = id.get();
        self.take(STRUCTURES)?;
        let guest = Guest {
            pvh: new.guest_type == GuestType::Pvh,
            handle: new.handle,
            pauses: 1,
            max_vcpus: new.vcpus,
            vcpus: 0,
            memory: KiB::new(0),
            memory_limit: KiB::new(0),
            overhead: STRUCTURES,
            paging_pool: KiB::new(0),
            ports: 0,
            max_port: new.max_event_channels,
            params: BTreeMap::new(),
            affinity: BTreeMap::new(),
            weight: 256,
            cap: 0,
            built: false,
            has_cpuid: false,
            ended: None,
            dying: false,
            reaction: Reaction::Ignore,
            asked: None,
        };
        self.domains.insert(id, guest);
        Ok(id)
    }

    /// Destroys a domain. While a builder maps its memory it stays as a zombie with all that it
    /// has.
    pub(crate) fn destroy(&mut self, id: DomId) -> Result<(), i32> {
        if id.is_dom0() {
            return Err(libc::EINVAL);
        }
        self.guest(id)?.dying = true;
        self.introduced.remove(&id);
        self.bury(id);
        Ok(())
    }

    fn bury(&mut self, id: DomId) {
        if !self.builders.contains_key(&id)
            && self.domains.get(&id).is_some_and(|guest| guest.dying)
        {
            let Some(guest) = self.domains.remove(&id) else { return };
            self.noxs.pages.remove(&id);
            self.free = add(self.free, add(guest.memory, guest.overhead));
            self.noxs.told.push(Told::End);
        }
    }

    pub(crate) fn open_builder(&mut self, id: DomId) {
        *self.builders.entry(id).or_default() += 1;
    }

    pub(crate) fn close_builder(&mut self, id: DomId) {
        if let Some(count) = self.builders.get_mut(&id) {
            *count -= 1;
            if *count == 0 {
                self.builders.remove(&id);
            }
        }
        self.bury(id);
    }

    pub(crate) fn pause(&mut self, id: DomId) -> Result<(), i32> {
        if id.is_dom0() {
            return Err(libc::EINVAL);
        }
        let guest = self.guest(id)?;
        if guest.pauses == MOST_PAUSES {
            return Err(libc::EOVERFLOW);
        }
        guest.pauses += 1;
        Ok(())
    }

    pub(crate) fn unpause(&mut self, id: DomId) -> Result<(), i32> {
        let guest = self.guest(id)?;
        guest.pauses = guest.pauses.checked_sub(1).ok_or(libc::EINVAL)?;
        Ok(())
    }

    pub(crate) fn set_vcpus(&mut self, id: DomId, vcpus: u32) -> Result<(), i32> {
        let guest = self.guest(id)?;
        if vcpus != guest.max_vcpus {
            return Err(libc::EINVAL);
        }
        guest.vcpus = vcpus;
        Ok(())
    }

    pub(crate) fn set_paging_pool(&mut self, id: DomId, pool: KiB) -> Result<(), i32> {
        let guest = self.guest(id)?;
        if !guest.pvh {
            return Err(libc::EINVAL);
        }
        let more = KiB::new(pool.get().saturating_sub(guest.paging_pool.get()));
        self.take(more)?;
        let guest = self.guest(id)?;
        guest.paging_pool = pool;
        guest.overhead = add(guest.overhead, more);
        Ok(())
    }

    pub(crate) fn alloc_unbound(&mut self, id: DomId, remote: DomId) -> Result<u32, i32> {
        self.guest(remote)?;
        let guest = self.guest(id)?;
        if guest.ports >= guest.max_port {
            return Err(libc::ENOSPC);
        }
        guest.ports += 1;
        Ok(guest.ports)
    }

    pub(crate) fn set_affinity(&mut self, id: DomId, vcpu: u32, cpus: &[u32]) -> Result<(), i32> {
        let guest = self.guest(id)?;
        if vcpu >= guest.vcpus {
            return Err(libc::ESRCH);
        }
        if !cpus.iter().any(|&cpu| cpu < CPUS) {
            return Err(libc::EINVAL);
        }
        guest.affinity.insert(vcpu, cpus.to_vec());
        Ok(())
    }

    /// Gives a domain this much memory more.
    pub(crate) fn populate(&mut self, id: DomId, amount: MiB) -> Result<(), i32> {
        let amount = amount.to_kib().ok_or(libc::EINVAL)?;
        let guest = self.guest(id)?;
        if guest.vcpus == 0 || (guest.pvh && guest.paging_pool.get() == 0) {
            return Err(libc::EINVAL);
        }
        let memory = add(guest.memory, amount);
        if memory > guest.memory_limit {
            return Err(libc::ENOMEM);
        }
        self.take(amount)?;
        self.guest(id)?.memory = memory;
        Ok(())
    }

    /// xenstored is told of a guest: it maps the ring, which the builder must have granted, and
    /// binds the port.
    pub(crate) fn introduce(&mut self, id: DomId, port: u32) -> Result<(), i32> {
        let guest = self.guest(id)?;
        if !guest.built || port == 0 || port > guest.ports {
            return Err(libc::EINVAL);
        }
        self.introduced.insert(id, port);
        self.offer_terminal(id)
    }

    /// What xenconsoled does when it hears of a new guest.
    fn offer_terminal(&mut self, id: DomId) -> Result<(), i32> {
        let tty = format!("/local/domain/{id}/console/tty");
        match self.tree.read(&tty)? {
            Some(_) => self.tree.write(&tty, format!("/dev/pts/{id}").as_bytes()),
            None => Ok(()),
        }
    }
}
