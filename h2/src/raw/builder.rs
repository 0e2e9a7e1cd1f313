//! libxenguest's image builder for one guest: memory first, the kernel when it is known.

use std::ffi::{CString, c_int};
use std::fmt;
use std::io;
use std::ptr::{self, NonNull};
use std::rc::Rc;

use h2_sys as sys;

use super::xenctrl::Handle;
use crate::acpi::{AcpiModule, AcpiTables, PvhMemory};
use crate::config::GuestType;
use crate::error::CallError;
use crate::id::{DomId, Gfn, KiB, Pages};
use crate::seam::{BuildParams, Builder, Images, RingFrames};

/// An `xc_dom_image`, released on drop.
pub(super) struct ImageBuilder {
    image: NonNull<sys::xc_dom_image>,
    handle: Rc<Handle>,
    domain: DomId,
    params: BuildParams,
    bytes_copied: u64,
}

impl fmt::Debug for ImageBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImageBuilder")
            .field("domain", &self.domain)
            .field("params", &self.params)
            .finish_non_exhaustive()
    }
}

impl Drop for ImageBuilder {
    fn drop(&mut self) {
        // SAFETY: the image came from xc_dom_allocate, and is released here alone.
        unsafe { sys::xc_dom_release(self.image.as_ptr()) };
    }
}

impl ImageBuilder {
    pub(super) fn new(
        handle: Rc<Handle>,
        domain: DomId,
        params: &BuildParams,
    ) -> Result<Self, CallError> {
        // SAFETY: the handle is open; command line and features are set later or not at all.
        let image = unsafe { sys::xc_dom_allocate(handle.as_ptr(), ptr::null(), ptr::null()) };
        let Some(image) = NonNull::new(image) else {
            return Err(handle.failure("xc_dom_allocate", Some(domain)));
        };
        let mut this = Self { image, handle, domain, params: params.clone(), bytes_copied: 0 };
        this.set_up();
        this.call("xc_dom_boot_xen_init", |image, xch| {
            // SAFETY: both are open and belong together.
            unsafe { sys::xc_dom_boot_xen_init(image, xch, u32::from(domain.get())) }
        })?;
        Ok(this)
    }

    /// The image as a structure. It is ours alone between two calls of the library.
    fn image(&mut self) -> &mut sys::xc_dom_image {
        // SAFETY: xc_dom_allocate returned it initialised, it lives until drop, `&mut self` makes
        // the reference the only one, and the library touches it only during its calls.
        unsafe { self.image.as_mut() }
    }

    fn call(
        &self,
        operation: &'static str,
        call: impl FnOnce(*mut sys::xc_dom_image, *mut sys::xc_interface) -> c_int,
    ) -> Result<(), CallError> {
        self.handle.call(operation, Some(self.domain), |xch| {
            // libxenguest returns positive numbers for some failures.
            match call(self.image.as_ptr(), xch) {
                0 => 0,
                _ => -1,
            }
        })?;
        Ok(())
    }

    /// All that the image must know before the guest gets its memory.
    fn set_up(&mut self) {
        let params = self.params.clone();
        let image = self.image();
        image.max_vcpus = params.vcpus;
        image.console_evtchn = params.rings.console_port.get();
        image.console_domid = u32::from(params.rings.console_domain.get());
        image.xenstore_evtchn = params.rings.store_port.get();
        image.xenstore_domid = u32::from(params.rings.store_domain.get());
        match params.guest_type {
            GuestType::Pv => {
                image.container_type = sys::XC_DOM_PV_CONTAINER;
                // The name of the architecture hooks that xc_dom_mem_init looks for; the parser
                // finds the same.
                image.guest_type = c"xen-3.0-x86_64".as_ptr();
            }
            GuestType::Pvh => {
                let layout =
                    PvhMemory::new(params.max_memory.to_kib().unwrap_or(KiB::new(u64::MAX)));
                image.container_type = sys::XC_DOM_HVM_CONTAINER;
                image.guest_type = c"hvm-3.0-x86_32".as_ptr();
                image.device_model = false;
                image.vga_hole_size = 0;
                image.mmio_size = layout.mmio_size;
                image.mmio_start = layout.mmio_start;
                image.lowmem_end = layout.lowmem_end;
                image.highmem_end = layout.highmem_end;
                // Fewer than all pages: the rest is populated on demand.
                image.target_pages = params.memory.to_pages().map_or(0, Pages::get);
            }
        }
    }

    fn strdup(&mut self, text: &str) -> Result<*mut std::ffi::c_char, CallError> {
        let text = CString::new(text).map_err(|_| {
            let source =
                io::Error::new(io::ErrorKind::InvalidInput, "the command line has a NUL character");
            CallError::new("xc_dom_strdup", Some(self.domain), source)
        })?;
        // SAFETY: the image is live; the copy belongs to it and is freed with it.
        let copy = unsafe { sys::xc_dom_strdup(self.image.as_ptr(), text.as_ptr()) };
        if copy.is_null() {
            return Err(self.handle.failure("xc_dom_strdup", Some(self.domain)));
        }
        Ok(copy)
    }
}

impl Builder for ImageBuilder {
    fn populate(&mut self) -> Result<(), CallError> {
        let amount = match self.params.guest_type {
            GuestType::Pv => self.params.memory,
            GuestType::Pvh => self.params.max_memory,
        };
        let amount = u32::try_from(amount.get()).map_err(|_| {
            let source = io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{amount} is more than libxenguest can take"),
            );
            CallError::new("xc_dom_mem_init", Some(self.domain), source)
        })?;
        // SAFETY: the image is live and knows its guest type.
        self.call("xc_dom_mem_init", |image, _| unsafe { sys::xc_dom_mem_init(image, amount) })?;
        // SAFETY: the image is live, and xc_dom_mem_init found its architecture hooks.
        self.call("xc_dom_boot_mem_init", |image, _| unsafe { sys::xc_dom_boot_mem_init(image) })
    }

    fn boot(&mut self, images: &Images<'_>) -> Result<RingFrames, CallError> {
        let Images { kernel, ramdisk, .. } = *images;
        self.image().cmdline = self.strdup(images.cmdline)?;
        self.call("xc_dom_kernel_mem", |image, _| {
            // SAFETY: the image is live; it keeps a pointer to the kernel, which is used only until
            // the end of this method.
            unsafe { sys::xc_dom_kernel_mem(image, kernel.as_ptr().cast(), kernel.len()) }
        })?;
        if let Some(ramdisk) = ramdisk {
            self.call("xc_dom_module_mem", |image, _| {
                // SAFETY: as for the kernel; a null command line means none.
                unsafe {
                    sys::xc_dom_module_mem(
                        image,
                        ramdisk.as_ptr().cast(),
                        ramdisk.len(),
                        ptr::null(),
                    )
                }
            })?;
        }
        // SAFETY: the image is live and has its kernel.
        self.call("xc_dom_parse_image", |image, _| unsafe { sys::xc_dom_parse_image(image) })?;

        // Tables and map must stay in place until the guest is built, so this method owns them.
        let (mut tables, mut map) = match self.params.guest_type {
            GuestType::Pv => (Vec::new(), Vec::new()),
            GuestType::Pvh => self.describe(images.low_rsdp),
        };
        self.hand_over(&mut tables, &mut map)?;

        // SAFETY: the image is live, parsed, and has its memory; kernel, ramdisk, tables and map
        // are still borrowed.
        self.call("xc_dom_build_image", |image, _| unsafe { sys::xc_dom_build_image(image) })?;
        // SAFETY: the image is built.
        self.call("xc_dom_boot_image", |image, _| unsafe { sys::xc_dom_boot_image(image) })?;
        // SAFETY: the image is built.
        self.call("xc_dom_gnttab_init", |image, _| unsafe { sys::xc_dom_gnttab_init(image) })?;

        let copied = kernel.len()
            + ramdisk.map_or(0, <[u8]>::len)
            + tables.iter().map(|table| table.bytes.len()).sum::<usize>();
        self.bytes_copied = u64::try_from(copied).unwrap_or(u64::MAX);
        let (store, console) = (self.image().xenstore_pfn, self.image().console_pfn);
        Ok(RingFrames { store: self.frame(store)?, console: self.frame(console)? })
    }

    fn bytes_copied(&self) -> u64 {
        self.bytes_copied
    }
}

impl ImageBuilder {
    /// What a PVH guest is told of its processors and its memory.
    fn describe(&self, low_rsdp: bool) -> (Vec<AcpiModule>, Vec<sys::e820entry>) {
        let tables = AcpiTables::new(self.params.vcpus, low_rsdp);
        let map = PvhMemory::new(self.params.max_memory.to_kib().unwrap_or(KiB::new(u64::MAX)))
            .map(&tables)
            .iter()
            .map(|range| sys::e820entry {
                addr: range.address,
                size: range.size,
                type_: range.kind.number(),
            })
            .collect();
        (tables.into_modules(), map)
    }

    /// Points the image to tables and map, and gives Xen the map, too, for guests that ask for it
    /// (`XENMEM_memory_map`).
    fn hand_over(
        &mut self,
        tables: &mut [AcpiModule],
        map: &mut [sys::e820entry],
    ) -> Result<(), CallError> {
        if map.is_empty() {
            return Ok(());
        }
        let image = self.image();
        for (module, table) in image.acpi_modules.iter_mut().zip(tables) {
            module.data = table.bytes.as_mut_ptr();
            module.length = u32::try_from(table.bytes.len()).unwrap_or(u32::MAX);
            module.guest_addr_out = table.address;
        }
        let (entries, count) = (map.as_mut_ptr(), u32::try_from(map.len()).unwrap_or(u32::MAX));
        image.e820 = entries;
        image.e820_entries = count;
        let domain = u32::from(self.domain.get());
        self.call("xc_domain_set_memory_map", |_, xch| {
            // SAFETY: the handle is open, and the map has as many entries as said.
            unsafe { sys::xc_domain_set_memory_map(xch, domain, entries, count) }
        })
    }

    /// The frame by which others name page `pfn` of the guest: libxenguest's inline function
    /// xc_dom_p2m.
    fn frame(&mut self, pfn: u64) -> Result<Gfn, CallError> {
        if self.params.guest_type == GuestType::Pvh {
            return Ok(Gfn::new(pfn));
        }
        let image = self.image();
        let index =
            usize::try_from(pfn).ok().filter(|_| pfn < image.p2m_size && !image.pv_p2m.is_null());
        let Some(index) = index else {
            let source = io::Error::new(
                io::ErrorKind::InvalidData,
                format!("page {pfn:#x} lies outside the guest"),
            );
            return Err(CallError::new("xc_dom_p2m", Some(self.domain), source));
        };
        // SAFETY: pv_p2m has p2m_size entries, and the index was just checked against that.
        let entry = unsafe { image.pv_p2m.add(index) };
        // SAFETY: the entry lies within the table, which the library filled when it populated the
        // guest.
        Ok(Gfn::new(unsafe { entry.read() }))
    }
}
