//! The bounds of the numbers in a guest configuration, each in one place.

use super::error::ValueError;

/// What a number may be.
#[derive(Debug)]
pub(super) struct Limits {
    /// What the number is, with its article.
    noun: &'static str,
    /// Its unit, with a comma and a space behind it, or nothing.
    unit: &'static str,
    pub(super) min: u64,
    pub(super) max: u64,
}

/// 16 TiB, the most memory that Xen 4.17 supports on x86.
pub(super) const MEMORY: Limits = limits("a size", "MiB, ", 1, 16 << 20);
/// `HVM_MAX_VCPUS` in xen/include/public/hvm/hvm_info_table.h.
pub(super) const VCPUS: Limits = limits("a number of vcpus", "", 1, 128);
/// The most processors that Xen 4.17 can be built for. What this host has is checked when the guest
/// is created.
pub(super) const CPU: Limits = limits("a physical CPU", "", 0, 4095);
/// The weights that the credit and credit2 schedulers take.
pub(super) const CPU_WEIGHT: Limits = limits("a scheduler weight", "", 1, 65_535);
/// Percent of one CPU, for up to 128 vcpus.
pub(super) const CPU_CAP: Limits = limits("a CPU cap", "per cent of one CPU, ", 0, 12_800);
/// Far above what a guest uses; the limit of the host is set when Xen starts (`gnttab_max_frames`).
pub(super) const MAX_GRANT_FRAMES: Limits =
    limits("a number of grant frames", "pages, ", 1, 65_536);
/// The FIFO event channel ABI numbers its ports up to here (`EVTCHN_FIFO_NR_CHANNELS`).
pub(super) const MAX_EVENT_CHANNELS: Limits = limits("a number of event channels", "", 1, 131_071);
/// A domain id below `DOMID_FIRST_RESERVED`.
pub(super) const BACKEND: Limits = limits("a domain id", "", 0, 0x7fef);
/// Either width; 32 has its own answer.
pub(super) const ADDRESS_SIZE: Limits = limits("an address size", "bits, ", 32, 64);

const fn limits(noun: &'static str, unit: &'static str, min: u64, max: u64) -> Limits {
    Limits { noun, unit, min, max }
}

impl Limits {
    /// The error for a value that is not within the limits, or no number at all.
    pub(super) fn error(&self, found: impl std::fmt::Display) -> ValueError {
        ValueError::not(found, self.noun, self.right())
    }

    /// What would be right.
    pub(super) fn right(&self) -> String {
        format!("{}{} to {}", self.unit, self.min, self.max)
    }

    pub(super) fn check(&self, value: u64) -> Result<u64, ValueError> {
        if (self.min..=self.max).contains(&value) { Ok(value) } else { Err(self.error(value)) }
    }
}
