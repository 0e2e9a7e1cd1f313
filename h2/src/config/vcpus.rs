//! How many vcpus a guest has, and where they may run.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::error::ValueError;
use super::limits;

/// The physical CPUs that a vcpu may run on: its hard affinity. Empty means all of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct CpuSet(Vec<u16>);

impl CpuSet {
    /// The set of these CPUs. Order and repetition do not matter.
    ///
    /// # Errors
    /// [`ValueError`] for a CPU above 4095. Whether the host has the CPU is checked when the guest
    /// is created.
    pub fn new(cpus: impl IntoIterator<Item = u16>) -> Result<Self, ValueError> {
        let mut cpus: Vec<u16> = cpus.into_iter().collect();
        cpus.sort_unstable();
        cpus.dedup();
        if let Some(&highest) = cpus.last() {
            limits::CPU.check(u64::from(highest))?;
        }
        Ok(Self(cpus))
    }

    /// The CPUs, ascending, each once.
    #[must_use]
    pub fn cpus(&self) -> &[u16] {
        &self.0
    }

    /// Whether the vcpu is not pinned at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The highest CPU of the set.
    #[must_use]
    pub fn highest(&self) -> Option<u16> {
        self.0.last().copied()
    }

    /// The set as Xen's `xenctl_bitmap`: bit `n % 8` of byte `n / 8` stands for CPU `n`. As long as
    /// the highest CPU needs.
    #[must_use]
    pub fn to_bitmap(&self) -> Vec<u8> {
        let mut bits = vec![0; self.highest().map_or(0, |cpu| usize::from(cpu) / 8 + 1)];
        for &cpu in &self.0 {
            if let Some(byte) = bits.get_mut(usize::from(cpu) / 8) {
                *byte |= 1_u8 << (cpu % 8);
            }
        }
        bits
    }
}

/// A guest's vcpus: 1 to 128 of them, with a hard affinity for some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vcpus {
    count: u32,
    affinity: Vec<CpuSet>,
}

impl Vcpus {
    /// One vcpu that may run anywhere.
    pub const ONE: Vcpus = Vcpus { count: 1, affinity: Vec::new() };

    /// That many vcpus, which may run anywhere.
    ///
    /// # Errors
    /// [`ValueError`] unless the count is 1 to 128.
    pub fn new(count: u32) -> Result<Self, ValueError> {
        Self::pinned(count, Vec::new())
    }

    /// That many vcpus; the first ones may only run on the CPUs of their set, the ones without a
    /// set anywhere.
    ///
    /// # Errors
    /// [`ValueError`] unless the count is 1 to 128 and there are no more sets than vcpus.
    pub fn pinned(count: u32, affinity: Vec<CpuSet>) -> Result<Self, ValueError> {
        limits::VCPUS.check(u64::from(count))?;
        if u64::try_from(affinity.len()).unwrap_or(u64::MAX) > u64::from(count) {
            return Err(ValueError::new(format!(
                "{} rows are too many for {count} vcpus; give one list of CPUs for each vcpu, or \
                 fewer",
                affinity.len()
            )));
        }
        Ok(Self { count, affinity })
    }

    /// How many there are.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// The vcpus that are pinned, each by number with its set. Unpinned ones are left out.
    pub fn affinity(&self) -> impl Iterator<Item = (u32, &CpuSet)> {
        (0..self.count).zip(&self.affinity).filter(|(_, set)| !set.is_empty())
    }
}

impl Serialize for Vcpus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.affinity.is_empty() {
            return serializer.serialize_u32(self.count);
        }
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("count", &self.count)?;
        map.serialize_entry("cpumap", &self.affinity)?;
        map.end()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn bitmap() {
        assert_eq!(CpuSet::new([9, 0, 9, 2]).unwrap().to_bitmap(), [0b101, 0b10]);
        assert_eq!(CpuSet::default().to_bitmap(), Vec::<u8>::new());
        assert_eq!(CpuSet::new([4095]).unwrap().to_bitmap().len(), 512);
        assert!(CpuSet::new([4096]).is_err());
    }

    // The original read rows and CPUs into fixed arrays without looking at the index.
    #[test]
    fn rows_and_counts_are_bounded() {
        assert!(Vcpus::new(0).is_err());
        assert!(Vcpus::new(129).is_err());
        assert!(Vcpus::pinned(1, vec![CpuSet::default(); 2]).is_err());
        let vcpus = Vcpus::pinned(3, vec![CpuSet::default(), CpuSet::new([5]).unwrap()]).unwrap();
        assert_eq!(
            vcpus.affinity().map(|(vcpu, set)| (vcpu, set.cpus().to_vec())).collect::<Vec<_>>(),
            [(1, vec![5])]
        );
    }
}
