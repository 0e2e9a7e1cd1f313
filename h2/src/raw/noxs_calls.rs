//! The hypercalls of NoXS (docs/noxs-abi.md, parts 5 and 6), which libxenctrl does not know: over
//! libxencall.

use std::ffi::c_int;
use std::io;
use std::mem::size_of;
use std::ptr::NonNull;

use h2_sys as sys;
use noxs::device::Class;
use noxs::device_page::SLOTS;
use noxs::hypercall::{self, Domctl, NoxsControl, NoxsOp, RawSlot};

use super::xenctrl::Handle;
use crate::error::CallError;
use crate::id::{DomId, GrantRef, Port};
use crate::seam::{NoxsDevice, NoxsPage, NoxsSlot};

const DOMCTL: &str = "XEN_DOMCTL_noxs_op";
const MEMORY_OP: &str = "XENMEM_noxs_op";

/// Memory that the hypervisor can read and write during a hypercall, for `count` values; freed on
/// drop.
struct Buffer<'a, T> {
    data: NonNull<T>,
    count: usize,
    handle: &'a Handle,
}

impl<'a, T: Copy> Buffer<'a, T> {
    fn new(handle: &'a Handle, values: &[T]) -> Result<Self, CallError> {
        // SAFETY: the handle is open.
        let data = unsafe {
            sys::xencall_alloc_buffer(handle.calls(), size_of::<T>() * values.len().max(1))
        };
        let data = NonNull::new(data.cast::<T>())
            .ok_or_else(|| handle.failure("xencall_alloc_buffer", None))?;
        let buffer = Self { data, count: values.len(), handle };
        // SAFETY: the buffer has room for all values, begins at a page, so is aligned, and is
        // nobody else's.
        unsafe { data.copy_from_nonoverlapping(NonNull::from(values).cast(), values.len()) };
        Ok(buffer)
    }

    fn address(&self) -> u64 {
        self.data.as_ptr().expose_provenance() as u64
    }

    /// The value at an index, as the hypervisor left it.
    fn get(&self, index: usize) -> Option<T> {
        if index >= self.count {
            return None;
        }
        // SAFETY: the index is below the count, so the result points to one of the values.
        let value = unsafe { self.data.add(index) };
        // SAFETY: `new` has initialised the value, and the hypervisor writes only what the type can
        // hold: integers.
        Some(unsafe { value.read() })
    }
}

impl<T> Drop for Buffer<'_, T> {
    fn drop(&mut self) {
        // SAFETY: the buffer came from xencall_alloc_buffer of this handle and is freed here alone.
        unsafe { sys::xencall_free_buffer(self.handle.calls(), self.data.as_ptr().cast()) };
    }
}

/// One `XEN_DOMCTL_noxs_op`; what the hypervisor has written into the operation.
fn domctl(handle: &Handle, domain: DomId, noxs: NoxsControl) -> Result<NoxsControl, CallError> {
    let request = Domctl {
        command: hypercall::DOMCTL_NOXS_OP,
        interface_version: sys::XEN_DOMCTL_INTERFACE_VERSION,
        domain: domain.get(),
        reserved: [0; 3],
        noxs,
        unused: [0; 9],
    };
    let buffer = Buffer::new(handle, &[request])?;
    handle.call(DOMCTL, Some(domain), |_| {
        // SAFETY: the handle is open; the buffer holds a whole domctl, whose address of slots, if
        // any, is that of a buffer with as many slots as it says, which the caller keeps
        // meanwhile.
        unsafe { sys::xencall1(handle.calls(), sys::__HYPERVISOR_domctl, buffer.address()) }
    })?;
    Ok(buffer.get(0).map_or(noxs, |answer| answer.noxs))
}

/// The NoXS ABI of the hypervisor; `None` if it has no NoXS.
pub(super) fn abi(handle: &Handle) -> Result<Option<u32>, CallError> {
    let query = NoxsOp { op: hypercall::OP_QUERY, abi: noxs::ABI, ..NoxsOp::default() };
    let buffer = Buffer::new(handle, &[query])?;
    let asked = handle.call(MEMORY_OP, None, |_| -> c_int {
        // SAFETY: the handle is open, and the buffer holds the operation, of which the hypervisor
        // fills fields.
        unsafe {
            sys::xencall2(
                handle.calls(),
                sys::__HYPERVISOR_memory_op,
                u64::from(hypercall::XENMEM_NOXS_OP),
                buffer.address(),
            )
        }
    });
    match asked {
        // Another release may have given the number to something else.
        Ok(_) => Ok(buffer
            .get(0)
            .filter(|answer| answer.slots as usize == SLOTS)
            .map(|answer| answer.abi)),
        Err(error) if error.is(libc::ENOSYS) || error.is(libc::EOPNOTSUPP) => Ok(None),
        Err(error) => Err(error),
    }
}

fn control(op: u32) -> NoxsControl {
    NoxsControl { op, abi: noxs::ABI, ..NoxsControl::default() }
}

pub(super) fn add(handle: &Handle, domain: DomId, device: &NoxsDevice) -> Result<(), CallError> {
    let device = RawSlot {
        class: device.class.to_bytes(),
        id: device.id,
        grant: device.grant.get(),
        port: device.port.get(),
        backend: device.backend.get(),
        ..RawSlot::default()
    };
    domctl(handle, domain, NoxsControl { device, ..control(hypercall::CONTROL_ADD) }).map(|_| ())
}

pub(super) fn remove(
    handle: &Handle,
    domain: DomId,
    class: Class,
    id: u32,
    backend: DomId,
) -> Result<(), CallError> {
    let device =
        RawSlot { class: class.to_bytes(), id, backend: backend.get(), ..RawSlot::default() };
    domctl(handle, domain, NoxsControl { device, ..control(hypercall::CONTROL_REMOVE) }).map(|_| ())
}

pub(super) fn page(handle: &Handle, domain: DomId) -> Result<NoxsPage, CallError> {
    let slots = Buffer::new(handle, &[RawSlot::default(); SLOTS])?;
    let count = u32::try_from(SLOTS).unwrap_or(u32::MAX);
    let list = NoxsControl { count, buffer: slots.address(), ..control(hypercall::CONTROL_LIST) };
    let answer = domctl(handle, domain, list)?;
    let wrong = |what| {
        CallError::new(DOMCTL, Some(domain), io::Error::new(io::ErrorKind::InvalidData, what))
    };
    if answer.count > count {
        return Err(wrong("the device page has more devices than it has slots"));
    }
    let found = (0..answer.count as usize).filter_map(|index| slots.get(index)).map(|slot| {
        let class = Class::from_bytes(slot.class)
            .map_err(|_| wrong("a device of the device page has no class"))?;
        let backend =
            DomId::new(slot.backend).ok_or_else(|| wrong("a device's backend is no domain"))?;
        let (grant, port) = (GrantRef::new(slot.grant), Port::new(slot.port));
        let device = NoxsDevice { class, id: slot.id, backend, grant, port };
        Ok(NoxsSlot { slot: slot.slot, sequence: slot.sequence, device })
    });
    Ok(NoxsPage { generation: answer.generation, slots: found.collect::<Result<_, CallError>>()? })
}
