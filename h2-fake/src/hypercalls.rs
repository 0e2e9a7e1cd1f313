//! The seam's hypercalls over the fake host.

use std::io;
use std::rc::Rc;

use h2::config::TscMode;
use h2::error::CallError;
use h2::id::{Gfn, GrantRef, KiB, Port};
use h2::noxs_backend::Class;
use h2::seam::{
    BuildParams, Builder, HvmParam, Hypercalls, NewDomain, NoxsDevice, NoxsPage, NoxsSlot,
};
use h2::{DomId, DomainInfo, HostInfo, Scheduler, SchedulerParams};

use crate::builder::FakeBuilder;
use crate::fake::Shared;
use crate::host::{CPUS, Host};

/// The highest reason that Xen takes for a triple fault (xen/include/public/sched.h).
const SHUTDOWN_MAX: u64 = 5;

#[derive(Debug)]
pub(crate) struct FakeCalls(pub(crate) Rc<Shared>);

pub(crate) fn failure(
    operation: &'static str,
    domain: Option<DomId>,
) -> impl FnOnce(i32) -> CallError {
    move |errno| CallError::new(operation, domain, io::Error::from_raw_os_error(errno))
}

impl FakeCalls {
    fn host<T>(
        &self,
        operation: &'static str,
        op: impl FnOnce(&mut Host) -> Result<T, i32>,
    ) -> Result<T, CallError> {
        self.0.run(operation, String::new(), op).map_err(failure(operation, None))
    }

    fn on<T>(
        &self,
        operation: &'static str,
        domain: DomId,
        op: impl FnOnce(&mut Host) -> Result<T, i32>,
    ) -> Result<T, CallError> {
        self.0.run(operation, domain.to_string(), op).map_err(failure(operation, Some(domain)))
    }
}

impl Hypercalls for FakeCalls {
    fn host_info(&self) -> Result<HostInfo, CallError> {
        self.host("host_info", |host| {
            Ok(HostInfo {
                hypervisor_version: "4.17.0-fake".to_owned(),
                library_version: "fake",
                capabilities: ["xen-3.0-x86_64", "hvm-3.0-x86_64"].map(str::to_owned).to_vec(),
                command_line: String::new(),
                cpus: CPUS,
                max_cpu_id: CPUS - 1,
                nodes: 1,
                threads_per_core: 1,
                cores_per_socket: CPUS,
                cpu_khz: 1_000_000,
                total_memory: host.total,
                free_memory: host.free,
                scrub_memory: KiB::new(0),
                outstanding_memory: KiB::new(0),
                pv: true,
                hvm: true,
                hap: true,
                grant_version: 2,
                scheduler: Scheduler::Credit2,
            })
        })
    }

    fn free_memory(&self) -> Result<KiB, CallError> {
        self.host("free_memory", |host| Ok(host.free))
    }

    fn create_domain(&self, new: &NewDomain) -> Result<DomId, CallError> {
        self.host("create_domain", |host| host.create(new))
    }

    fn destroy_domain(&self, domain: DomId) -> Result<(), CallError> {
        self.on("destroy_domain", domain, |host| {
            let introduced = host.introduced.contains_key(&domain);
            host.destroy(domain)?;
            if introduced {
                self.0.fire("@releaseDomain");
            }
            Ok(())
        })
    }

    fn set_handle(&self, domain: DomId, handle: &[u8; 16]) -> Result<(), CallError> {
        self.on("set_handle", domain, |host| {
            host.guest(domain)?.handle = *handle;
            Ok(())
        })
    }

    fn pause(&self, domain: DomId) -> Result<(), CallError> {
        self.on("pause", domain, |host| host.pause(domain))
    }

    fn unpause(&self, domain: DomId) -> Result<(), CallError> {
        self.on("unpause", domain, |host| host.unpause(domain))
    }

    fn set_vcpus(&self, domain: DomId, vcpus: u32) -> Result<(), CallError> {
        self.on("set_vcpus", domain, |host| host.set_vcpus(domain, vcpus))
    }

    fn set_max_memory(&self, domain: DomId, limit: KiB) -> Result<(), CallError> {
        self.on("set_max_memory", domain, |host| {
            host.guest(domain)?.memory_limit = limit;
            Ok(())
        })
    }

    fn set_memory_map_limit(&self, domain: DomId, limit: KiB) -> Result<(), CallError> {
        self.on("set_memory_map_limit", domain, |host| {
            let guest = host.guest(domain)?;
            if guest.pvh {
                return Err(libc::EPERM);
            }
            guest.params.insert("memory map limit".to_owned(), limit.get());
            Ok(())
        })
    }

    fn set_tsc_mode(&self, domain: DomId, mode: TscMode) -> Result<(), CallError> {
        self.on("set_tsc_mode", domain, |host| {
            host.guest(domain)?.params.insert(format!("tsc mode {mode:?}"), 1);
            Ok(())
        })
    }

    fn set_paging_pool(&self, domain: DomId, bytes: u64) -> Result<(), CallError> {
        self.on("set_paging_pool", domain, |host| {
            host.set_paging_pool(domain, KiB::new(bytes / 1024))
        })
    }

    fn set_cpuid_policy(&self, domain: DomId) -> Result<(), CallError> {
        self.on("set_cpuid_policy", domain, |host| {
            host.guest(domain)?.has_cpuid = true;
            Ok(())
        })
    }

    fn alloc_unbound(&self, domain: DomId, remote: DomId) -> Result<Port, CallError> {
        self.on("alloc_unbound", domain, |host| host.alloc_unbound(domain, remote).map(Port::new))
    }

    fn set_affinity(&self, domain: DomId, vcpu: u32, cpus: &[u32]) -> Result<(), CallError> {
        self.on("set_affinity", domain, |host| host.set_affinity(domain, vcpu, cpus))
    }

    fn affinity(&self, domain: DomId, vcpu: u32) -> Result<Vec<u32>, CallError> {
        self.on("affinity", domain, |host| {
            let guest = host.guest(domain)?;
            if vcpu >= guest.vcpus {
                return Err(libc::ESRCH);
            }
            Ok(guest.affinity.get(&vcpu).cloned().unwrap_or_else(|| (0..CPUS).collect()))
        })
    }

    fn scheduler_params(&self, _: Scheduler, domain: DomId) -> Result<SchedulerParams, CallError> {
        self.on("scheduler_params", domain, |host| {
            let guest = host.guest(domain)?;
            Ok(SchedulerParams { weight: guest.weight, cap: guest.cap })
        })
    }

    fn set_scheduler_params(
        &self,
        _: Scheduler,
        domain: DomId,
        params: SchedulerParams,
    ) -> Result<(), CallError> {
        self.on("set_scheduler_params", domain, |host| {
            let guest = host.guest(domain)?;
            (guest.weight, guest.cap) = (params.weight, params.cap);
            Ok(())
        })
    }

    fn domains(&self, first: DomId, max: usize) -> Result<Vec<DomainInfo>, CallError> {
        self.host("domains", |host| {
            Ok(host.domains.range(first..).take(max).map(|(&id, guest)| guest.info(id)).collect())
        })
    }

    fn builder(&self, domain: DomId, params: &BuildParams) -> Result<Box<dyn Builder>, CallError> {
        self.on("builder", domain, |host| {
            let guest_without_store = host.noxs.hypervisor;
            let guest = host.guest(domain)?;
            let rings = params.rings;
            // Without the first one a guest has no Xenstore, and looks for a device page.
            let no_store = guest_without_store && rings.store_port.get() == 0;
            let ports = [rings.store_port, rings.console_port].map(Port::get);
            let ports = ports.get(usize::from(no_store)..).unwrap_or_default();
            if guest.pvh != (params.guest_type == h2::config::GuestType::Pvh)
                || !guest.has_cpuid
                || ports.iter().any(|&port| port == 0 || port > guest.ports)
            {
                return Err(libc::EINVAL);
            }
            Ok(())
        })?;
        self.0.host.borrow_mut().open_builder(domain);
        Ok(Box::new(FakeBuilder::new(Rc::clone(&self.0), domain, params.clone())))
    }

    fn console_ring(&self, domain: DomId, _: Gfn) -> Result<Vec<u8>, CallError> {
        self.on("console_ring", domain, |host| host.guest(domain).map(|_| Vec::new()))
    }

    fn hvm_param(&self, domain: DomId, param: HvmParam) -> Result<u64, CallError> {
        self.on("hvm_param", domain, |host| {
            let guest = host.guest(domain)?;
            if !guest.pvh {
                return Err(libc::EINVAL);
            }
            Ok(guest.hvm_param(param).unwrap_or(0))
        })
    }

    fn set_hvm_param(&self, domain: DomId, param: HvmParam, value: u64) -> Result<(), CallError> {
        self.on("set_hvm_param", domain, |host| {
            let guest = host.guest(domain)?;
            let known = param != HvmParam::TripleFaultReason || value <= SHUTDOWN_MAX;
            if !guest.pvh || !known {
                return Err(libc::EINVAL);
            }
            guest.params.insert(format!("{param:?}"), value);
            Ok(())
        })
    }

    fn noxs_abi(&self) -> Result<Option<u32>, CallError> {
        self.host("noxs_abi", |host| Ok(host.noxs.hypervisor.then_some(1)))
    }

    fn noxs_add(&self, domain: DomId, device: &NoxsDevice) -> Result<(), CallError> {
        self.on("noxs_add", domain, |host| host.noxs_add(domain, device))
    }

    fn noxs_remove(
        &self,
        domain: DomId,
        class: Class,
        id: u32,
        backend: DomId,
    ) -> Result<(), CallError> {
        self.on("noxs_remove", domain, |host| host.noxs_remove(domain, class.as_str(), id, backend))
    }

    fn noxs_page(&self, domain: DomId) -> Result<NoxsPage, CallError> {
        self.on("noxs_page", domain, |host| {
            host.guest(domain)?;
            let Some(page) = host.noxs.pages.get(&domain) else { return Ok(NoxsPage::default()) };
            let slots = (0..).zip(&page.slots).filter_map(|(number, (sequence, slot))| {
                slot.as_ref().map(|slot| (number, *sequence, slot))
            });
            let slots = slots.map(|(number, sequence, slot)| {
                let device = NoxsDevice {
                    class: Class::new(&slot.class).map_err(|_| libc::EINVAL)?,
                    id: slot.id,
                    backend: slot.backend,
                    grant: GrantRef::new(slot.grant),
                    port: Port::new(slot.port),
                };
                Ok(NoxsSlot { slot: number, sequence, device })
            });
            let slots = slots.collect::<Result<_, i32>>()?;
            Ok(NoxsPage { generation: page.generation, slots })
        })
    }
}
