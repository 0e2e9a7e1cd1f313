//! The arguments of the hypercalls, as in the patched Xen's public headers.
//!
//! | operation | hypercall | who | interface |
//! |---|---|---|---|
//! | [`OP_QUERY`], [`OP_MAP`] | `memory_op`, [`XENMEM_NOXS_OP`], [`NoxsOp`] | a guest, for itself | stable with the ABI |
//! | [`CONTROL_ADD`], [`CONTROL_REMOVE`], [`CONTROL_LIST`] | `domctl`, [`DOMCTL_NOXS_OP`], [`Domctl`] | the control domain | of one Xen release |
//!
//! All fields are little-endian and lie at the same offsets for 32-bit and 64-bit callers.

use core::mem::{align_of, offset_of, size_of};

/// The sub-operation of `__HYPERVISOR_memory_op` (12) with a [`NoxsOp`].
pub const XENMEM_NOXS_OP: u32 = 62;
/// The command of `__HYPERVISOR_domctl` (36) with a [`Domctl`].
pub const DOMCTL_NOXS_OP: u32 = 0x4e58;

/// [`NoxsOp::op`]: what does the hypervisor speak?
pub const OP_QUERY: u32 = 0;
/// [`NoxsOp::op`]: let this guest see its device page.
pub const OP_MAP: u32 = 1;
/// [`NoxsOp::flags`]: this domain has a device page.
pub const HAS_PAGE: u32 = 1;

/// [`NoxsControl::op`]: add the device.
pub const CONTROL_ADD: u32 = 0;
/// [`NoxsControl::op`]: remove the device of that class, id and backend.
pub const CONTROL_REMOVE: u32 = 1;
/// [`NoxsControl::op`]: write the devices to the buffer.
pub const CONTROL_LIST: u32 = 2;

/// A guest's question (`xen_noxs_op`).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NoxsOp {
    /// In: [`OP_QUERY`] or [`OP_MAP`].
    pub op: u32,
    /// In: the ABI that the caller speaks; any for [`OP_QUERY`]. Out: the newest that the
    /// hypervisor speaks.
    pub abi: u32,
    /// [`OP_MAP`], in, for a translated guest: the frame at which the page shall appear. Out, for
    /// a PV guest: the machine frame to be mapped, read-only.
    pub frame: u64,
    /// Out: the virtual interrupt of changes, bound to the guest's first vcpu.
    pub virq: u32,
    /// Out: slots of the page.
    pub slots: u32,
    /// Out: [`HAS_PAGE`] or 0.
    pub flags: u32,
    /// Zero.
    pub reserved: u32,
}

/// A device as an argument and in lists: the bytes of a slot of the device page (`xen_noxs_slot`).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RawSlot {
    /// The class, padded with zeros.
    pub class: [u8; 8],
    /// The id.
    pub id: u32,
    /// The grant reference of the control page.
    pub grant: u32,
    /// The backend's event channel port.
    pub port: u32,
    /// The backend's domain.
    pub backend: u16,
    /// Zero.
    pub reserved0: u16,
    /// Zero in the page and in an argument; in a list the slot's number.
    pub slot: u32,
    /// The slot's change counter; zero in an argument.
    pub sequence: u32,
}

/// The control domain's operation (`xen_domctl_noxs_op`).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NoxsControl {
    /// In: one of the `CONTROL_` numbers.
    pub op: u32,
    /// In: the ABI that the caller speaks.
    pub abi: u32,
    /// [`CONTROL_LIST`], in: how many slots the buffer has room for. Out: how many devices there
    /// are, also if that is more. Else 0.
    pub count: u32,
    /// In: 0. [`CONTROL_LIST`], out: the page's generation.
    pub generation: u32,
    /// [`CONTROL_ADD`], [`CONTROL_REMOVE`], in: the device. Else zeros.
    pub device: RawSlot,
    /// [`CONTROL_LIST`], in: the address of [`RawSlot`]s, in hypercall-safe memory. Else 0.
    pub buffer: u64,
}

/// All of a `xen_domctl` whose command is [`DOMCTL_NOXS_OP`].
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Domctl {
    /// [`DOMCTL_NOXS_OP`].
    pub command: u32,
    /// `XEN_DOMCTL_INTERFACE_VERSION` of the hypervisor's release.
    pub interface_version: u32,
    /// The guest.
    pub domain: u16,
    /// Zero.
    pub reserved: [u16; 3],
    /// The operation.
    pub noxs: NoxsControl,
    /// The rest of Xen's union of commands.
    pub unused: [u64; 9],
}

const _: () = {
    assert!(size_of::<NoxsOp>() == 32 && align_of::<NoxsOp>() == 8);
    assert!(
        offset_of!(NoxsOp, abi) == 4
            && offset_of!(NoxsOp, frame) == 8
            && offset_of!(NoxsOp, virq) == 16
    );
    assert!(
        offset_of!(NoxsOp, slots) == 20
            && offset_of!(NoxsOp, flags) == 24
            && offset_of!(NoxsOp, reserved) == 28
    );
    assert!(size_of::<RawSlot>() == crate::device_page::SLOT_SIZE);
    assert!(
        offset_of!(RawSlot, id) == 8
            && offset_of!(RawSlot, grant) == 12
            && offset_of!(RawSlot, port) == 16
    );
    assert!(
        offset_of!(RawSlot, backend) == 20
            && offset_of!(RawSlot, slot) == 24
            && offset_of!(RawSlot, sequence) == 28
    );
    assert!(size_of::<NoxsControl>() == 56 && align_of::<NoxsControl>() == 8);
    assert!(offset_of!(NoxsControl, count) == 8 && offset_of!(NoxsControl, generation) == 12);
    assert!(offset_of!(NoxsControl, device) == 16 && offset_of!(NoxsControl, buffer) == 48);
    assert!(
        size_of::<Domctl>() == 144
            && offset_of!(Domctl, domain) == 8
            && offset_of!(Domctl, noxs) == 16
    );
};

impl From<&crate::device::Device> for RawSlot {
    fn from(device: &crate::device::Device) -> Self {
        RawSlot {
            class: device.class.to_bytes(),
            id: device.id.0,
            grant: device.grant.0,
            port: device.port.0,
            backend: device.backend.0,
            ..RawSlot::default()
        }
    }
}

impl TryFrom<&RawSlot> for crate::device::Device {
    type Error = crate::error::ClassError;

    fn try_from(raw: &RawSlot) -> Result<Self, Self::Error> {
        use crate::device::{Class, Device, DeviceId, DomId, GrantRef, Port};
        Ok(Device {
            class: Class::from_bytes(raw.class)?,
            id: DeviceId(raw.id),
            backend: DomId(raw.backend),
            grant: GrantRef(raw.grant),
            port: Port(raw.port),
        })
    }
}
