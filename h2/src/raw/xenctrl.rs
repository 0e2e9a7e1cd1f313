//! A libxenctrl handle: the hypercalls of domain control.

use std::ffi::{CStr, c_int};
use std::fmt;
use std::io;
use std::mem;
use std::path::PathBuf;
use std::ptr::{self, NonNull};
use std::rc::Rc;

use h2_sys as sys;
use noxs::device::Class;

use super::builder::ImageBuilder;
use super::logger::Logger;
use super::{convert, noxs_calls};
use crate::config::TscMode;
use crate::console_ring;
use crate::error::{CallError, OpenError};
use crate::host::{HostInfo, Scheduler, SchedulerParams};
use crate::id::{DomId, Gfn, KiB, Port};
use crate::info::DomainInfo;
use crate::seam::{BuildParams, Builder, HvmParam, Hypercalls, NewDomain, NoxsDevice, NoxsPage};

/// An open `xc_interface`, closed on drop.
pub(crate) struct Handle {
    xch: NonNull<sys::xc_interface>,
    logger: Box<Logger>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: `xch` came from xc_interface_open and is closed here alone; whoever uses it holds
        // an Rc of us.
        unsafe { sys::xc_interface_close(self.xch.as_ptr()) };
    }
}

impl Handle {
    pub(super) fn as_ptr(&self) -> *mut sys::xc_interface {
        self.xch.as_ptr()
    }

    /// The library's own way to hypercalls, for those that it does not know.
    pub(super) fn calls(&self) -> *mut sys::xencall_handle {
        // SAFETY: the interface is open; what this returns belongs to it.
        unsafe { sys::xc_interface_xcall_handle(self.xch.as_ptr()) }
    }

    /// Runs one call of the library, and turns -1 and errno into a [`CallError`]: the one place for
    /// libxc's return convention.
    pub(super) fn call(
        &self,
        operation: &'static str,
        domain: Option<DomId>,
        call: impl FnOnce(*mut sys::xc_interface) -> c_int,
    ) -> Result<c_int, CallError> {
        self.logger.clear();
        let result = call(self.xch.as_ptr());
        if result >= 0 {
            return Ok(result);
        }
        Err(self.failure(operation, domain))
    }

    /// The error of a call that has just failed; reads errno before anything else can change it.
    pub(super) fn failure(&self, operation: &'static str, domain: Option<DomId>) -> CallError {
        let source = io::Error::last_os_error();
        CallError { operation, domain, detail: self.logger.take(), source }
    }
}

/// The hypervisor through libxenctrl.
#[derive(Debug)]
pub(crate) struct Xenctrl {
    handle: Rc<Handle>,
}

impl Xenctrl {
    /// Opens /dev/xen/privcmd and checks that the hypervisor speaks the library's interface
    /// version.
    pub(crate) fn open() -> Result<Self, OpenError> {
        let logger = Logger::new();
        // SAFETY: the logger lives in a box that moves into the handle beside the interface, so the
        // pointer stays good until xc_interface_close; a null dombuild logger means the
        // same one.
        let xch = unsafe { sys::xc_interface_open(logger.as_ptr(), ptr::null_mut(), 0) };
        let Some(xch) = NonNull::new(xch) else {
            let source = io::Error::last_os_error();
            return Err(match source.raw_os_error() {
                Some(libc::EACCES | libc::EPERM) => {
                    OpenError::Permission { path: PathBuf::from("/dev/xen/privcmd") }
                }
                Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => OpenError::NotXen,
                _ => CallError {
                    operation: "xc_interface_open",
                    domain: None,
                    detail: logger.take(),
                    source,
                }
                .into(),
            });
        };
        let this = Self { handle: Rc::new(Handle { xch, logger }) };
        match this.physinfo() {
            Ok(_) => Ok(this),
            // The hypervisor refuses a foreign interface version with EACCES, and a domain without
            // the privilege with EPERM.
            Err(error) if error.is(libc::EACCES) => Err(OpenError::VersionMismatch {
                library: sys::LIBRARY_VERSION,
                hypervisor: this.version().unwrap_or_else(|_| "unknown".to_owned()),
                sysctl: sys::XEN_SYSCTL_INTERFACE_VERSION,
                domctl: sys::XEN_DOMCTL_INTERFACE_VERSION,
            }),
            Err(error) if error.is(libc::EPERM) => Err(OpenError::NotControlDomain),
            Err(error) => Err(error.into()),
        }
    }

    fn call(
        &self,
        operation: &'static str,
        domain: DomId,
        call: impl FnOnce(*mut sys::xc_interface, u32) -> c_int,
    ) -> Result<c_int, CallError> {
        self.handle.call(operation, Some(domain), |xch| call(xch, u32::from(domain.get())))
    }

    fn physinfo(&self) -> Result<sys::xc_physinfo_t, CallError> {
        let mut info = sys::xc_physinfo_t::default();
        self.handle.call("xc_physinfo", None, |xch| {
            // SAFETY: the handle is open, and `info` is a physinfo that the call fills.
            unsafe { sys::xc_physinfo(xch, &raw mut info) }
        })?;
        Ok(info)
    }

    /// A text that `xc_version` writes into a buffer of `N` bytes.
    fn version_text<const N: usize>(&self, command: u32) -> Result<String, CallError> {
        let mut text = [0u8; N];
        self.handle.call("xc_version", None, |xch| {
            // SAFETY: the handle is open; each command writes a char array of the size that its
            // type in version.h has, and the callers pass exactly that as N.
            unsafe { sys::xc_version(xch, command.cast_signed(), text.as_mut_ptr().cast()) }
        })?;
        Ok(CStr::from_bytes_until_nul(&text)
            .map(|text| text.to_string_lossy().into_owned())
            .unwrap_or_default())
    }

    /// "major.minor" and the extra version, such as "4.17.5".
    fn version(&self) -> Result<String, CallError> {
        let version = self.handle.call("xc_version", None, |xch| {
            // SAFETY: the handle is open, and XENVER_version takes no buffer.
            unsafe { sys::xc_version(xch, sys::XENVER_version.cast_signed(), ptr::null_mut()) }
        })?;
        let extra = self.version_text::<{ mem::size_of::<sys::xen_extraversion_t>() }>(
            sys::XENVER_extraversion,
        )?;
        Ok(format!("{}.{}{extra}", version >> 16, version & 0xffff))
    }

    fn cpumap(&self) -> Result<Vec<u8>, CallError> {
        let bytes = self.handle.call("xc_get_cpumap_size", None, |xch| {
            // SAFETY: the handle is open.
            unsafe { sys::xc_get_cpumap_size(xch) }
        })?;
        Ok(vec![0; usize::try_from(bytes).unwrap_or(0)])
    }
}

impl Hypercalls for Xenctrl {
    fn host_info(&self) -> Result<HostInfo, CallError> {
        let physical = self.physinfo()?;
        let mut scheduler: c_int = 0;
        // SAFETY: the handle is open, and the call stores an int.
        self.handle.call("xc_sched_id", None, |xch| unsafe {
            sys::xc_sched_id(xch, &raw mut scheduler)
        })?;
        let capabilities = self
            .version_text::<{ mem::size_of::<sys::xen_capabilities_info_t>() }>(
                sys::XENVER_capabilities,
            )?;
        let has = |capability: u32| physical.capabilities & capability != 0;
        Ok(HostInfo {
            hypervisor_version: self.version()?,
            library_version: sys::LIBRARY_VERSION,
            capabilities: capabilities.split_whitespace().map(str::to_owned).collect(),
            command_line: self.version_text::<{ mem::size_of::<sys::xen_commandline_t>() }>(
                sys::XENVER_commandline,
            )?,
            cpus: physical.nr_cpus,
            max_cpu_id: physical.max_cpu_id,
            nodes: physical.nr_nodes,
            threads_per_core: physical.threads_per_core,
            cores_per_socket: physical.cores_per_socket,
            cpu_khz: physical.cpu_khz,
            total_memory: convert::kib(physical.total_pages),
            free_memory: convert::kib(physical.free_pages),
            scrub_memory: convert::kib(physical.scrub_pages),
            outstanding_memory: convert::kib(physical.outstanding_pages),
            pv: has(sys::XEN_SYSCTL_PHYSCAP_pv),
            hvm: has(sys::XEN_SYSCTL_PHYSCAP_hvm),
            hap: has(sys::XEN_SYSCTL_PHYSCAP_hap),
            grant_version: if has(sys::XEN_SYSCTL_PHYSCAP_gnttab_v2) { 2 } else { 1 },
            scheduler: convert::scheduler(scheduler.cast_unsigned()),
        })
    }

    fn free_memory(&self) -> Result<KiB, CallError> {
        Ok(convert::kib(self.physinfo()?.free_pages))
    }

    fn create_domain(&self, new: &NewDomain) -> Result<DomId, CallError> {
        let mut config = convert::createdomain(new);
        // Zero asks the hypervisor for a free id.
        let mut domid: u32 = 0;
        self.handle.call("xc_domain_create", None, |xch| {
            // SAFETY: the handle is open; both pointers are to locals that outlive the call.
            unsafe { sys::xc_domain_create(xch, &raw mut domid, &raw mut config) }
        })?;
        u16::try_from(domid).ok().and_then(DomId::new).ok_or_else(|| {
            let source = io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the hypervisor gave the id {domid}"),
            );
            CallError::new("xc_domain_create", None, source)
        })
    }

    fn destroy_domain(&self, domain: DomId) -> Result<(), CallError> {
        // SAFETY: the handle is open.
        self.call("xc_domain_destroy", domain, |xch, id| unsafe {
            sys::xc_domain_destroy(xch, id)
        })?;
        Ok(())
    }

    fn set_handle(&self, domain: DomId, handle: &[u8; 16]) -> Result<(), CallError> {
        let mut handle = *handle;
        // SAFETY: the handle is open, and the call reads 16 bytes.
        self.call("xc_domain_sethandle", domain, |xch, id| unsafe {
            sys::xc_domain_sethandle(xch, id, handle.as_mut_ptr())
        })?;
        Ok(())
    }

    fn pause(&self, domain: DomId) -> Result<(), CallError> {
        // SAFETY: the handle is open.
        self.call("xc_domain_pause", domain, |xch, id| unsafe { sys::xc_domain_pause(xch, id) })?;
        Ok(())
    }

    fn unpause(&self, domain: DomId) -> Result<(), CallError> {
        // SAFETY: the handle is open.
        self.call("xc_domain_unpause", domain, |xch, id| unsafe {
            sys::xc_domain_unpause(xch, id)
        })?;
        Ok(())
    }

    fn set_vcpus(&self, domain: DomId, vcpus: u32) -> Result<(), CallError> {
        // SAFETY: the handle is open.
        self.call("xc_domain_max_vcpus", domain, |xch, id| unsafe {
            sys::xc_domain_max_vcpus(xch, id, vcpus)
        })?;
        Ok(())
    }

    fn set_max_memory(&self, domain: DomId, limit: KiB) -> Result<(), CallError> {
        // SAFETY: the handle is open.
        self.call("xc_domain_setmaxmem", domain, |xch, id| unsafe {
            sys::xc_domain_setmaxmem(xch, id, limit.get())
        })?;
        Ok(())
    }

    fn set_memory_map_limit(&self, domain: DomId, limit: KiB) -> Result<(), CallError> {
        self.call("xc_domain_set_memmap_limit", domain, |xch, id| {
            // SAFETY: the handle is open.
            unsafe { sys::xc_domain_set_memmap_limit(xch, id, limit.get()) }
        })?;
        Ok(())
    }

    fn set_tsc_mode(&self, domain: DomId, mode: TscMode) -> Result<(), CallError> {
        let mode = mode.number();
        self.call("xc_domain_set_tsc_info", domain, |xch, id| {
            // SAFETY: the handle is open.
            unsafe { sys::xc_domain_set_tsc_info(xch, id, mode, 0, 0, 0) }
        })?;
        Ok(())
    }

    fn set_paging_pool(&self, domain: DomId, bytes: u64) -> Result<(), CallError> {
        self.call("xc_set_paging_mempool_size", domain, |xch, id| {
            // SAFETY: the handle is open.
            unsafe { sys::xc_set_paging_mempool_size(xch, id, bytes) }
        })?;
        Ok(())
    }

    fn set_cpuid_policy(&self, domain: DomId) -> Result<(), CallError> {
        self.call("xc_cpuid_apply_policy", domain, |xch, id| {
            // SAFETY: the handle is open; null pointers mean no feature set, no leaves and no MSRs
            // of the caller's own.
            unsafe {
                sys::xc_cpuid_apply_policy(
                    xch,
                    id,
                    false,
                    ptr::null(),
                    0,
                    true,
                    false,
                    false,
                    ptr::null(),
                    ptr::null(),
                )
            }
        })?;
        Ok(())
    }

    fn alloc_unbound(&self, domain: DomId, remote: DomId) -> Result<Port, CallError> {
        let port = self.call("xc_evtchn_alloc_unbound", domain, |xch, id| {
            // SAFETY: the handle is open.
            unsafe { sys::xc_evtchn_alloc_unbound(xch, id, u32::from(remote.get())) }
        })?;
        Ok(Port::new(port.cast_unsigned()))
    }

    fn set_affinity(&self, domain: DomId, vcpu: u32, cpus: &[u32]) -> Result<(), CallError> {
        let mut map = self.cpumap()?;
        convert::set_bits(&mut map, cpus)
            .map_err(|source| CallError::new("xc_vcpu_setaffinity", Some(domain), source))?;
        self.call("xc_vcpu_setaffinity", domain, |xch, id| {
            // SAFETY: the handle is open; the map has the size that the library asks for, and no
            // soft map is set.
            unsafe {
                sys::xc_vcpu_setaffinity(
                    xch,
                    id,
                    vcpu.cast_signed(),
                    map.as_mut_ptr(),
                    ptr::null_mut(),
                    sys::XEN_VCPUAFFINITY_HARD,
                )
            }
        })?;
        Ok(())
    }

    fn affinity(&self, domain: DomId, vcpu: u32) -> Result<Vec<u32>, CallError> {
        let mut map = self.cpumap()?;
        self.call("xc_vcpu_getaffinity", domain, |xch, id| {
            // SAFETY: the handle is open; the map has the size that the library asks for, and no
            // soft map is read.
            unsafe {
                sys::xc_vcpu_getaffinity(
                    xch,
                    id,
                    vcpu.cast_signed(),
                    map.as_mut_ptr(),
                    ptr::null_mut(),
                    sys::XEN_VCPUAFFINITY_HARD,
                )
            }
        })?;
        Ok(convert::bits(&map))
    }

    fn scheduler_params(
        &self,
        scheduler: Scheduler,
        domain: DomId,
    ) -> Result<SchedulerParams, CallError> {
        if scheduler == Scheduler::Credit {
            let mut params = sys::xen_domctl_sched_credit::default();
            self.call("xc_sched_credit_domain_get", domain, |xch, id| {
                // SAFETY: the handle is open, and the call fills the parameters.
                unsafe { sys::xc_sched_credit_domain_get(xch, id, &raw mut params) }
            })?;
            return Ok(SchedulerParams { weight: params.weight, cap: params.cap });
        }
        let mut params = sys::xen_domctl_sched_credit2::default();
        self.call("xc_sched_credit2_domain_get", domain, |xch, id| {
            // SAFETY: the handle is open, and the call fills the parameters.
            unsafe { sys::xc_sched_credit2_domain_get(xch, id, &raw mut params) }
        })?;
        Ok(SchedulerParams { weight: params.weight, cap: params.cap })
    }

    fn set_scheduler_params(
        &self,
        scheduler: Scheduler,
        domain: DomId,
        params: SchedulerParams,
    ) -> Result<(), CallError> {
        let SchedulerParams { weight, cap } = params;
        if scheduler == Scheduler::Credit {
            let mut params = sys::xen_domctl_sched_credit { weight, cap };
            self.call("xc_sched_credit_domain_set", domain, |xch, id| {
                // SAFETY: the handle is open, and the call reads the parameters.
                unsafe { sys::xc_sched_credit_domain_set(xch, id, &raw mut params) }
            })?;
            return Ok(());
        }
        let mut params = sys::xen_domctl_sched_credit2 { weight, cap };
        self.call("xc_sched_credit2_domain_set", domain, |xch, id| {
            // SAFETY: the handle is open, and the call reads the parameters.
            unsafe { sys::xc_sched_credit2_domain_set(xch, id, &raw mut params) }
        })?;
        Ok(())
    }

    fn domains(&self, first: DomId, max: usize) -> Result<Vec<DomainInfo>, CallError> {
        let mut list = vec![sys::xc_domaininfo_t::default(); max];
        let capacity = u32::try_from(max).unwrap_or(u32::MAX);
        let count = self.handle.call("xc_domain_getinfolist", None, |xch| {
            // SAFETY: the handle is open, and the array has as many entries as said.
            unsafe {
                sys::xc_domain_getinfolist(xch, u32::from(first.get()), capacity, list.as_mut_ptr())
            }
        })?;
        list.truncate(usize::try_from(count).unwrap_or(0));
        Ok(list.iter().filter_map(convert::domain_info).collect())
    }

    fn builder(&self, domain: DomId, params: &BuildParams) -> Result<Box<dyn Builder>, CallError> {
        Ok(Box::new(ImageBuilder::new(Rc::clone(&self.handle), domain, params)?))
    }

    fn console_ring(&self, domain: DomId, frame: Gfn) -> Result<Vec<u8>, CallError> {
        console_ring::last_output(domain, frame)
    }

    fn hvm_param(&self, domain: DomId, param: HvmParam) -> Result<u64, CallError> {
        let mut value = 0u64;
        let param = convert::hvm_param(param);
        // SAFETY: the handle is open, and the call stores 8 bytes.
        self.call("xc_hvm_param_get", domain, |xch, id| unsafe {
            sys::xc_hvm_param_get(xch, id, param, &raw mut value)
        })?;
        Ok(value)
    }

    fn set_hvm_param(&self, domain: DomId, param: HvmParam, value: u64) -> Result<(), CallError> {
        let param = convert::hvm_param(param);
        // SAFETY: the handle is open.
        self.call("xc_hvm_param_set", domain, |xch, id| unsafe {
            sys::xc_hvm_param_set(xch, id, param, value)
        })?;
        Ok(())
    }

    fn noxs_abi(&self) -> Result<Option<u32>, CallError> {
        noxs_calls::abi(&self.handle)
    }

    fn noxs_add(&self, domain: DomId, device: &NoxsDevice) -> Result<(), CallError> {
        noxs_calls::add(&self.handle, domain, device)
    }

    fn noxs_remove(
        &self,
        domain: DomId,
        class: Class,
        id: u32,
        backend: DomId,
    ) -> Result<(), CallError> {
        noxs_calls::remove(&self.handle, domain, class, id, backend)
    }

    fn noxs_page(&self, domain: DomId) -> Result<NoxsPage, CallError> {
        noxs_calls::page(&self.handle, domain)
    }
}
