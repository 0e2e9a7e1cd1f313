//! The seam's image builder over the fake host.

use std::rc::Rc;

use h2::DomId;
use h2::config::GuestType;
use h2::error::CallError;
use h2::id::{Gfn, MiB};
use h2::seam::{BuildParams, Builder, Images, RingFrames};

use crate::fake::Shared;
use crate::hypercalls::failure;

#[derive(Debug)]
pub(crate) struct FakeBuilder {
    shared: Rc<Shared>,
    domain: DomId,
    params: BuildParams,
    populated: bool,
    booted: bool,
    bytes_copied: u64,
}

impl FakeBuilder {
    pub(crate) fn new(shared: Rc<Shared>, domain: DomId, params: BuildParams) -> Self {
        Self { shared, domain, params, populated: false, booted: false, bytes_copied: 0 }
    }
}

impl Drop for FakeBuilder {
    fn drop(&mut self) {
        self.shared.host.borrow_mut().close_builder(self.domain);
    }
}

impl Builder for FakeBuilder {
    fn populate(&mut self) -> Result<(), CallError> {
        let (domain, params) = (self.domain, &self.params);
        let amount = match params.guest_type {
            GuestType::Pv => params.memory,
            GuestType::Pvh => params.max_memory,
        };
        if self.populated {
            return Err(failure("populate", Some(domain))(libc::EINVAL));
        }
        self.populated = true;
        let half = |host: &mut crate::host::Host| {
            // It fails on the way: some of the memory is there already.
            let _ = host.populate(domain, MiB::new(amount.get() / 2));
        };
        self.shared
            .run_partly("populate", domain.to_string(), half, |host| host.populate(domain, amount))
            .map_err(failure("populate", Some(domain)))
    }

    fn boot(&mut self, images: &Images<'_>) -> Result<RingFrames, CallError> {
        let (kernel, cmdline) = (images.kernel, images.cmdline);
        let domain = self.domain;
        let (populated, again) = (self.populated, std::mem::replace(&mut self.booted, true));
        let bytes =
            u64::try_from(kernel.len() + images.ramdisk.map_or(0, <[u8]>::len)).unwrap_or(u64::MAX);
        let frames = self.shared.run("boot", domain.to_string(), |host| {
            let guest = host.guest(domain)?;
            if !populated || again || !kernel.starts_with(b"\x7fELF") || cmdline.contains('\0') {
                return Err(libc::EINVAL);
            }
            if bytes > guest.memory.to_bytes().unwrap_or(u64::MAX) {
                return Err(libc::ENOMEM);
            }
            guest.built = true;
            let base =
                if guest.pvh { 0xf_e000 } else { 0x10_0000 + 0x1000 * u64::from(domain.get()) };
            Ok(RingFrames { store: Gfn::new(base), console: Gfn::new(base + 1) })
        });
        let frames = frames.map_err(failure("boot", Some(domain)))?;
        self.bytes_copied = bytes;
        Ok(frames)
    }

    fn bytes_copied(&self) -> u64 {
        self.bytes_copied
    }
}
