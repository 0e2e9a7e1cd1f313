//! HYPERVISOR_event_channel_op (event_channel.h): ports.

use super::{DOMID_SELF, EVENT_CHANNEL_OP, Errno, address, address_mut, call};
use crate::event::Port;

/// EVTCHNOP_send: tells the other end of `port`.
pub(crate) fn notify(port: Port) {
    let argument = port.number();
    // SAFETY: `argument` is the `struct evtchn_send` that the operation reads. A failure means that
    // the other end is gone, and nobody is left to be told.
    let _ = unsafe { call::<EVENT_CHANNEL_OP>([4, address(&argument), 0]) };
}

/// EVTCHNOP_alloc_unbound: a port of ours that domain `peer` may bind to. The number is Xen's.
pub(crate) fn alloc_unbound(peer: u16) -> Result<u32, Errno> {
    #[repr(C)]
    struct AllocUnbound {
        domid: u16,
        peer: u16,
        port: u32,
    }
    const _: () = assert!(size_of::<AllocUnbound>() == 8);
    let mut argument = AllocUnbound { domid: DOMID_SELF, peer, port: 0 };
    // SAFETY: `argument` is the structure that the operation reads and writes.
    unsafe { call::<EVENT_CHANNEL_OP>([6, address_mut(&mut argument), 0]) }?;
    Ok(argument.port)
}

/// EVTCHNOP_close.
pub(crate) fn close_port(port: u32) {
    let argument = port;
    // SAFETY: `argument` is the `struct evtchn_close` that the operation reads. It fails for a port
    // that is not open only.
    let _ = unsafe { call::<EVENT_CHANNEL_OP>([3, address(&argument), 0]) };
}

/// EVTCHNOP_bind_interdomain: a port of ours whose other end is `remote`, which `peer` has opened
/// for us. The number is Xen's.
pub(crate) fn bind_interdomain(peer: u16, remote: u32) -> Result<u32, Errno> {
    #[repr(C)]
    struct BindInterdomain {
        peer: u16,
        remote: u32,
        port: u32,
    }
    const _: () = assert!(size_of::<BindInterdomain>() == 12);
    let mut argument = BindInterdomain { peer, remote, port: 0 };
    // SAFETY: `argument` is the structure that the operation reads and writes.
    unsafe { call::<EVENT_CHANNEL_OP>([0, address_mut(&mut argument), 0]) }?;
    Ok(argument.port)
}

/// EVTCHNOP_bind_virq: a port of ours for a virtual interrupt, on the first virtual CPU. The number
/// is Xen's.
pub(crate) fn bind_virq(virq: u32) -> Result<u32, Errno> {
    #[repr(C)]
    struct BindVirq {
        virq: u32,
        vcpu: u32,
        port: u32,
    }
    const _: () = assert!(size_of::<BindVirq>() == 12);
    let mut argument = BindVirq { virq, vcpu: 0, port: 0 };
    // SAFETY: `argument` is the structure that the operation reads and writes.
    unsafe { call::<EVENT_CHANNEL_OP>([1, address_mut(&mut argument), 0]) }?;
    Ok(argument.port)
}
