//! Which device of which guest.

use std::fmt;

use h2::DomId;
use serde::{Deserialize, Serialize};

/// The classes of devices that need hotplug work on this side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// A network interface.
    Vif,
    /// A disk.
    Vbd,
}

impl Class {
    /// The word that Xenstore and sysfs have for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Vif => "vif",
            Self::Vbd => "vbd",
        }
    }

    fn of(word: &str) -> Option<Self> {
        [Self::Vif, Self::Vbd].into_iter().find(|class| class.as_str() == word)
    }
}

/// A device that this domain serves. Shown as `vif 0 of domain 5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceId {
    /// What it is.
    pub class: Class,
    /// The guest's domain.
    pub domain: DomId,
    /// Its number in the guest: 0 and so on for interfaces, the encoded name (51712 is xvda) for
    /// disks.
    pub number: u32,
}

impl DeviceId {
    /// Reads the name that the kernel gives it, as in `vif-5-0`.
    #[must_use]
    pub fn from_sysname(name: &str) -> Option<Self> {
        Self::from_parts(name.split('-'))
    }

    /// Reads the path of its backend directory, as in `backend/vif/5/0`: relative, or below a
    /// domain's home.
    #[must_use]
    pub fn from_path(path: &str) -> Option<Self> {
        let relative = match path.strip_prefix("/local/domain/") {
            Some(rest) => rest.split_once('/')?.1,
            None => path,
        };
        Self::from_parts(relative.strip_prefix("backend/")?.split('/'))
    }

    fn from_parts<'a>(mut parts: impl Iterator<Item = &'a str>) -> Option<Self> {
        let class = Class::of(parts.next()?)?;
        let domain = parts.next()?.parse().ok()?;
        let number = digits(parts.next()?)?;
        parts.next().is_none().then_some(Self { class, domain, number })
    }

    /// The name that the kernel gives it.
    #[must_use]
    pub fn sysname(&self) -> String {
        format!("{}-{}-{}", self.class.as_str(), self.domain, self.number)
    }

    /// Its backend directory in Xenstore, relative to this domain's home.
    #[must_use]
    pub fn path(&self) -> String {
        format!("backend/{}/{}/{}", self.class.as_str(), self.domain, self.number)
    }

    /// The name of the interface that netback makes for it.
    #[must_use]
    pub fn interface(&self) -> String {
        format!("vif{}.{}", self.domain, self.number)
    }
}

/// A decimal number without a sign.
fn digits(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} of domain {}", self.class.as_str(), self.number, self.domain)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn wrong_names_are_none() {
        for name in ["vif-5", "vif-5-0-1", "vkbd-0-0", "vif-x-0", "vif-5-+0", "vif-99999-0", ""] {
            assert_eq!(DeviceId::from_sysname(name), None, "{name}");
        }
        for path in [
            "backend/vif/5",
            "vif/5/0",
            "/local/domain/0",
            "backend/vif/5/0/state",
            "/local/domain/0/device/vif/5/0",
        ] {
            assert_eq!(DeviceId::from_path(path), None, "{path}");
        }
    }

    proptest! {
        #[test]
        fn names_are_read_back(domain in 0..=DomId::MAX.get(), number: u32, vif: bool) {
            let class = if vif { Class::Vif } else { Class::Vbd };
            let domain = DomId::new(domain).unwrap_or(DomId::DOM0);
            let device = DeviceId { class, domain, number };
            prop_assert_eq!(DeviceId::from_sysname(&device.sysname()), Some(device));
            prop_assert_eq!(DeviceId::from_path(&device.path()), Some(device));
            let path = format!("/local/domain/0/{}", device.path());
            prop_assert_eq!(DeviceId::from_path(&path), Some(device));
        }

        #[test]
        fn any_text_is_read_without_a_panic(text: String) {
            let _ = DeviceId::from_sysname(&text);
            let _ = DeviceId::from_path(&text);
        }
    }
}
