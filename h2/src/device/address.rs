//! Where a device's nodes are.

use crate::error::StoreError;
use crate::id::DomId;
use crate::store::{Store, nodes};

use super::DeviceId;

/// The class of a guest's console, which has no driver behind its backend's end.
const CONSOLE: &str = "console";

/// A device of a guest and its two ends. The class is any that libxl has: whoever destroys a guest
/// meets them all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) guest: DomId,
    pub(crate) backend_domain: DomId,
    class: String,
    /// What the backend calls the class: a disk may be served as `vbd` or, by QEMU, as `qdisk`.
    backend_class: String,
    number: u32,
}

impl Address {
    /// The place of a device that this library makes.
    pub(crate) fn new(guest: DomId, backend_domain: DomId, id: DeviceId) -> Self {
        let class = id.class.as_str().to_owned();
        Self { guest, backend_domain, backend_class: class.clone(), class, number: id.number }
    }

    /// All devices of a guest, by the toolstacks' record. What the guest itself says is never
    /// asked: whoever removes what a guest names can be made to remove another guest's.
    pub(crate) fn all(store: &Store, guest: DomId) -> Result<Vec<Self>, StoreError> {
        let mut found = Vec::new();
        for class in store.directory(&records(guest))? {
            found.extend(Self::of_class(store, guest, &class)?);
        }
        Ok(found)
    }

    /// Those of one class.
    pub(crate) fn of_class(
        store: &Store,
        guest: DomId,
        class: &str,
    ) -> Result<Vec<Self>, StoreError> {
        let mut found = Vec::new();
        let folder = format!("{}/{class}", records(guest));
        for number in store.directory(&folder)? {
            let Some(backend) = store.read(&format!("{folder}/{number}/backend"))? else {
                continue;
            };
            match Self::parse(guest, class, &number, &backend) {
                Some(address) => found.push(address),
                None => log::warn!(
                    "{folder}/{number}/backend names no backend of domain {guest}: {backend:?}"
                ),
            }
        }
        Ok(found)
    }

    /// The one with this name, if the guest has it.
    pub(crate) fn find(
        store: &Store,
        guest: DomId,
        id: DeviceId,
    ) -> Result<Option<Self>, StoreError> {
        let (class, number) = (id.class.as_str(), id.number.to_string());
        let backend = store.read(&format!("{}/{class}/{number}/backend", records(guest)))?;
        Ok(backend.and_then(|backend| Self::parse(guest, class, &number, &backend)))
    }

    /// Reads `/local/domain/BACKEND/backend/CLASS/GUEST/NUMBER`, which must be about this guest's
    /// device.
    fn parse(guest: DomId, class: &str, number: &str, backend: &str) -> Option<Self> {
        let parts: Vec<&str> = backend.strip_prefix("/local/domain/")?.split('/').collect();
        let [domain, "backend", backend_class, of, device] = parts.as_slice() else { return None };
        let backend_domain: DomId = domain.parse().ok()?;
        let ours = *of == guest.to_string()
            && *device == number
            && backend_domain != guest
            && !backend_class.is_empty();
        if !ours {
            return None;
        }
        let number = number.parse().ok()?;
        Some(Self {
            guest,
            backend_domain,
            class: class.to_owned(),
            backend_class: (*backend_class).to_owned(),
            number,
        })
    }

    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Whether a driver has the backend's end and wants to be asked before it goes.
    pub(crate) fn has_driver(&self) -> bool {
        self.class != CONSOLE
    }

    pub(crate) fn frontend(&self) -> String {
        format!("{}/{}", self.frontend_class(), self.number)
    }

    /// The directory of all of the guest's frontends of this class.
    pub(crate) fn frontend_class(&self) -> String {
        format!("{}/device/{}", nodes::home(self.guest), self.class)
    }

    pub(crate) fn backend(&self) -> String {
        format!("{}/{}", self.backend_class(), self.number)
    }

    /// The directory of all backends of this class that the domain has for this guest.
    pub(crate) fn backend_class(&self) -> String {
        format!(
            "{}/backend/{}/{}",
            nodes::home(self.backend_domain),
            self.backend_class,
            self.guest
        )
    }

    pub(crate) fn record(&self) -> String {
        format!("{}/{}", self.record_class(), self.number)
    }

    pub(crate) fn record_class(&self) -> String {
        format!("{}/{}", records(self.guest), self.class)
    }

    /// Where Linux's backend drivers say what has gone wrong (`xenbus_dev_fatal`).
    pub(crate) fn errors(&self) -> String {
        let home = nodes::home(self.backend_domain);
        format!("{home}/error/backend/{}/{}/{}", self.backend_class, self.guest, self.number)
    }
}

fn records(guest: DomId) -> String {
    format!("{}/device", nodes::libxl(guest))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parse(backend: &str) -> Option<Address> {
        Address::parse(DomId::new(5).unwrap(), "vbd", "51712", backend)
    }

    #[test]
    fn paths_of_a_device() {
        let address = parse("/local/domain/0/backend/qdisk/5/51712").unwrap();
        assert_eq!(address.frontend(), "/local/domain/5/device/vbd/51712");
        assert_eq!(address.backend(), "/local/domain/0/backend/qdisk/5/51712");
        assert_eq!(address.record(), "/libxl/5/device/vbd/51712");
        assert_eq!(address.errors(), "/local/domain/0/error/backend/qdisk/5/51712");
    }

    /// A record that a bug or another tool has spoilt must not lead to another guest's nodes.
    #[test]
    fn backends_of_others() {
        for wrong in [
            "",
            "/local/domain/0",
            "/local/domain/0/backend/vbd/6/51712",
            "/local/domain/0/backend/vbd/5/51728",
            "/local/domain/0/backend/vbd/5/51712/x",
            "/local/domain/5/backend/vbd/5/51712",
            "/local/domain/0/backend//5/51712",
            "/local/domain/x/backend/vbd/5/51712",
            "/local/domain/0/device/vbd/5/51712",
            "/vm/0/backend/vbd/5/51712",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
