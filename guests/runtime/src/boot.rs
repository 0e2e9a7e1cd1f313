//! What the domain builder tells the guest: `start_info` (PV, xen.h) or `hvm_start_info` (PVH,
//! arch-x86/hvm/start_info.h) and the HVM parameters, as one type.

use core::fmt;
use core::num::NonZeroU64;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use crate::Error;
use crate::event::Port;
use crate::hypercall::{HvmParam, hvm_param};
use crate::page::PAGE;

/// How this guest is virtualised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Paravirtualised: page tables by hypercall.
    Pv,
    /// Hardware virtual machine without emulated devices.
    Pvh,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Pv => "PV",
            Kind::Pvh => "PVH",
        })
    }
}

/// A frame number: of a machine frame in a PV guest, of a guest physical frame in a PVH guest.
/// Never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame(NonZeroU64);

impl Frame {
    pub(crate) fn new(number: u64) -> Option<Frame> {
        NonZeroU64::new(number).map(Frame)
    }

    /// As the grant table and Xen's other 32-bit fields take it; None above 16 TiB.
    pub(crate) fn number_u32(self) -> Option<u32> {
        u32::try_from(self.0.get()).ok()
    }

    pub(crate) fn machine_address(self) -> Option<u64> {
        let address = self.0.get().checked_mul(PAGE as u64)?;
        (address < 1 << 52).then_some(address)
    }

    /// Its address in a PVH guest, if entry.s mapped it: the first GiB, and the last 512 MiB below
    /// 4 GiB.
    pub(crate) fn identity_address(self) -> Option<NonNull<u8>> {
        const GIB: u64 = 1 << 30;
        let address = self.machine_address()?;
        if address >= 4 * GIB || (GIB..4 * GIB - GIB / 2).contains(&address) {
            return None;
        }
        NonNull::new(core::ptr::with_exposed_provenance_mut(usize::try_from(address).ok()?))
    }
}

/// One end of a ring that exists since boot: where it lies and how to tell the other end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ring {
    pub(crate) frame: Frame,
    pub(crate) port: Port,
}

impl Ring {
    /// None if the toolstack gave the guest none: no page, or no event channel.
    fn new(frame: u64, port: u64) -> Option<Ring> {
        Some(Ring { frame: Frame::new(frame)?, port: Port::new(u32::try_from(port).ok()?)? })
    }

    fn ask(frame: HvmParam, port: HvmParam) -> Option<Ring> {
        Ring::new(hvm_param(frame).ok()?, hvm_param(port).ok()?)
    }
}

/// What we were told at boot. Read from the start info on each call: it is nobody else's, and does
/// not change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Boot {
    pub(crate) kind: Kind,
    cmdline: &'static [u8],
    /// The machine frame of the shared info page, for PV; the image's first for PVH, which does
    /// not use it.
    pub(crate) shared_info: Frame,
}

/// `struct start_info`, as far as we read it.
#[repr(C)]
#[derive(Clone, Copy)]
struct PvStart {
    magic: [u8; 32],
    pages: u64,
    shared_info: u64,
    flags: u32,
    store_frame: u64,
    store_port: u32,
    console_frame: u64,
    console_port: u32,
    page_tables: [u64; 2],
    machine_frames: u64,
    module: [u64; 2],
    cmdline: [u8; 1024],
}

const _: () = assert!(core::mem::offset_of!(PvStart, shared_info) == 40);
const _: () = assert!(core::mem::offset_of!(PvStart, store_frame) == 56);
const _: () = assert!(core::mem::offset_of!(PvStart, console_port) == 80);
const _: () = assert!(core::mem::offset_of!(PvStart, machine_frames) == 104);
const _: () = assert!(core::mem::offset_of!(PvStart, cmdline) == 128);

/// `struct hvm_start_info`, as far as we read it.
#[repr(C)]
#[derive(Clone, Copy)]
struct PvhStart {
    magic: u32,
    version: u32,
    flags: u32,
    modules: u32,
    module_list: u64,
    cmdline: u64,
}

const PVH_MAGIC: u32 = 0x336e_c578;
const _: () = assert!(core::mem::offset_of!(PvhStart, cmdline) == 24);

// What entry.s passed. Statics, since a panic handler is handed nothing.
static START: AtomicUsize = AtomicUsize::new(0);
static KIND: AtomicU32 = AtomicU32::new(0);

impl Boot {
    /// Remembers what entry.s passed, for `read`.
    ///
    /// # Safety
    /// `start` is the address of the start info of a guest whose kind is `kind` (0: PV, 1: PVH).
    pub(crate) unsafe fn remember(start: usize, kind: u32) {
        START.store(start, Ordering::Relaxed);
        KIND.store(kind, Ordering::Relaxed);
    }

    /// The kind alone: all that is needed before hypercalls work.
    pub(crate) fn kind() -> Kind {
        if KIND.load(Ordering::Relaxed) == 0 { Kind::Pv } else { Kind::Pvh }
    }

    /// The console's ring. None if the toolstack made none.
    pub(crate) fn console(&self) -> Option<Ring> {
        match self.kind {
            Kind::Pv => {
                let info = Boot::pv_start();
                Ring::new(info.console_frame, info.console_port.into())
            }
            Kind::Pvh => Ring::ask(HvmParam::ConsolePfn, HvmParam::ConsolePort),
        }
    }

    /// Xenstore's ring. None if the toolstack made none.
    pub(crate) fn store(&self) -> Option<Ring> {
        match self.kind {
            Kind::Pv => {
                let info = Boot::pv_start();
                Ring::new(info.store_frame, info.store_port.into())
            }
            Kind::Pvh => Ring::ask(HvmParam::StorePfn, HvmParam::StorePort),
        }
    }

    /// The command line, as far as it is text.
    pub(crate) fn cmdline(&self) -> &'static str {
        text(self.cmdline)
    }

    /// The frame of a page of the image, by which others know it. None if `address` is not in this
    /// guest's memory.
    pub(crate) fn own_frame(address: usize) -> Option<Frame> {
        let number = address / PAGE;
        let Kind::Pv = Boot::kind() else { return Frame::new(number as u64) };
        let info = Boot::pv_start();
        if number as u64 >= info.pages {
            return None;
        }
        let frames =
            core::ptr::with_exposed_provenance::<u64>(usize::try_from(info.machine_frames).ok()?);
        // SAFETY: the builder made a list of `pages` frame numbers there, and mapped it; nobody
        // writes to it.
        Frame::new(unsafe { frames.wrapping_add(number).read() })
    }

    /// A PV guest's.
    fn pv_start() -> &'static PvStart {
        let start = core::ptr::with_exposed_provenance::<PvStart>(START.load(Ordering::Relaxed));
        // SAFETY: `remember` was told that this is the start info; nobody writes to it after the
        // domain was built.
        unsafe { &*start }
    }

    /// Reads the start info.
    pub(crate) fn read() -> Result<Boot, Error> {
        match Boot::kind() {
            Kind::Pv => {
                let info = Boot::pv_start();
                Ok(Boot {
                    kind: Kind::Pv,
                    cmdline: &info.cmdline,
                    shared_info: Frame::new(info.shared_info / PAGE as u64)
                        .ok_or(Error::StartInfo)?,
                })
            }
            Kind::Pvh => {
                let start = START.load(Ordering::Relaxed);
                let start = core::ptr::with_exposed_provenance::<PvhStart>(start);
                // SAFETY: `remember` was told that this is the start info; nobody writes to it
                // after the domain was built.
                let info = unsafe { &*start };
                if info.magic != PVH_MAGIC {
                    return Err(Error::StartInfo);
                }
                Ok(Boot {
                    kind: Kind::Pvh,
                    cmdline: pvh_cmdline(info.cmdline),
                    shared_info: Frame(NonZeroU64::MIN),
                })
            }
        }
    }
}

/// The command line at physical address `address`; 0: there is none. Up to the end of its page, or
/// 1023 bytes: what can be read for certain and what a PV guest gets.
fn pvh_cmdline(address: u64) -> &'static [u8] {
    let frame = Frame::new(address / PAGE as u64).and_then(Frame::identity_address);
    let (Some(base), Ok(address)) = (frame, usize::try_from(address)) else { return &[] };
    let offset = address % PAGE;
    let start = base.as_ptr().cast_const().wrapping_add(offset);
    // SAFETY: inside one page that is mapped (`identity_address`) and that the start info names as
    // the command line's; nobody writes to it after the domain was built.
    unsafe { core::slice::from_raw_parts(start, (PAGE - offset).min(1023)) }
}

/// The text before the first zero byte, as far as it is UTF-8.
fn text(bytes: &[u8]) -> &str {
    let bytes = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    bytes.utf8_chunks().next().map_or("", |chunk| chunk.valid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_ends_at_zero_or_at_what_is_not_text() {
        assert_eq!(text(b"exit now\0rest"), "exit now");
        assert_eq!(text(b"no end"), "no end");
        assert_eq!(text(b"ab\xffcd\0"), "ab");
        assert_eq!(text(b""), "");
    }

    #[test]
    fn only_mapped_frames_have_an_address() {
        let address =
            |number| Frame::new(number).and_then(Frame::identity_address).map(|a| a.addr().get());
        assert_eq!(address(0), None);
        assert_eq!(address(1), Some(0x1000));
        assert_eq!(address(0x3_ffff), Some(0x3fff_f000));
        assert_eq!(address(0x4_0000), None);
        assert_eq!(address(0xd_ffff), None);
        assert_eq!(address(0xf_eff8), Some(0xfeff_8000));
        assert_eq!(address(0x10_0000), None);
        assert_eq!(address(u64::MAX), None);
    }
}
