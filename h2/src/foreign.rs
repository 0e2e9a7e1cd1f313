//! Guests of other toolstacks.

use std::fs;

use crate::id::DomId;

/// Where libxl keeps what it knows of each of its guests, in files named
/// userdata-d.DOMID.UUID.libxl-json.
const LIBXL_DATA: &str = "/var/lib/xen";

/// The domains that libxl has records of; some may be gone.
pub(crate) fn domains() -> Vec<DomId> {
    let Ok(entries) = fs::read_dir(LIBXL_DATA) else { return Vec::new() };
    entries.flatten().filter_map(|entry| domain_of(entry.file_name().to_str()?)).collect()
}

fn domain_of(file: &str) -> Option<DomId> {
    let (domain, rest) = file.strip_prefix("userdata-d.")?.split_once('.')?;
    rest.ends_with(".libxl-json").then(|| domain.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names() {
        let domain = domain_of("userdata-d.12.1d7b5d0c-0000-4000-8000-000000000000.libxl-json");
        assert_eq!(domain, DomId::new(12));
        assert_eq!(domain_of("userdata-d.12.1d7b5d0c.domain-userdata-lock"), None);
        assert_eq!(domain_of("userdata-d.x.y.libxl-json"), None);
    }
}
