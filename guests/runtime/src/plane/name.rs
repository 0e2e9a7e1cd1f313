//! What names a device in its guest, on either plane.

use core::fmt;

/// A kind of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// `vif`: network interfaces.
    Network,
    /// `vbd`: disks.
    Disk,
}

impl Class {
    /// The node in Xenstore whose children are this guest's devices of this class.
    pub(crate) fn node(self) -> &'static str {
        match self {
            Class::Network => "device/vif",
            Class::Disk => "device/vbd",
        }
    }

    /// As the device page has it.
    pub(crate) fn of_page(self) -> noxs::device::Class {
        match self {
            Class::Network => noxs::device::Class::VIF,
            Class::Disk => noxs::device::Class::VBD,
        }
    }
}

/// A device's number in its class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeviceId(u32);

impl DeviceId {
    /// Any number.
    pub fn new(number: u32) -> DeviceId {
        DeviceId(number)
    }

    /// As the toolstack has it.
    pub fn number(self) -> u32 {
        self.0
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Puts the lowest of `all` into `ids`, in order. Returns how many.
pub(super) fn lowest(all: impl Iterator<Item = DeviceId>, ids: &mut [DeviceId]) -> usize {
    let mut count = 0;
    for id in all {
        let at = ids.iter().take(count).take_while(|other| **other < id).count();
        let kept = (count + 1).min(ids.len());
        if let Some(tail) = ids.get_mut(at..kept)
            && !tail.is_empty()
        {
            tail.rotate_right(1);
            tail[0] = id;
        }
        count = kept;
    }
    count
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_lowest_ids_in_order(
            numbers in prop::collection::vec(0u32..100, 0..20),
            place in 0usize..8,
        ) {
            let mut found = vec![DeviceId::default(); place];
            let mut expected: Vec<_> = numbers.into_iter().map(DeviceId::new).collect();
            let count = lowest(expected.iter().copied(), &mut found);
            expected.sort();
            expected.truncate(place);
            prop_assert_eq!(&found[..count], expected);
        }
    }
}
