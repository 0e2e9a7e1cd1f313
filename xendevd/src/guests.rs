//! What the library remembers of the guests that it has made: their records below its state
//! directory, read and never written here.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use h2::DomId;
use serde::Deserialize;
use serde::de::IgnoredAny;
use uuid::Uuid;

/// The library's state directory.
const STATE_DIR: &str = "/run/lightvm";

/// The longest record that is read, in bytes: its configuration has some kibibytes at most.
const MAX_BYTES: u64 = 1 << 20;

/// The records.
#[derive(Debug, Clone)]
pub struct Guests {
    folder: PathBuf,
}

/// What is of use here of a guest's record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its UUID: the domain with another one is not this guest.
    pub uuid: Uuid,
    /// Its name.
    pub name: String,
    /// Whether its console is to be served here, since it has no Xenstore.
    pub has_console: bool,
}

#[derive(Deserialize)]
struct Written {
    uuid: Uuid,
    name: String,
    #[serde(default)]
    console: Option<IgnoredAny>,
}

impl Default for Guests {
    fn default() -> Self {
        Self::below(Path::new(STATE_DIR))
    }
}

impl Guests {
    /// The records below another state directory.
    #[must_use]
    pub fn below(state: &Path) -> Self {
        Self { folder: state.join("guests") }
    }

    /// Where they are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The record of the guest in this domain; of an earlier one, if nobody has removed it.
    ///
    /// # Errors
    /// [`io::Error`] if there is one that cannot be read.
    pub fn read(&self, domain: DomId) -> io::Result<Option<Record>> {
        let path = self.folder.join(format!("{domain}.json"));
        match fs::metadata(&path) {
            Ok(metadata) if metadata.len() > MAX_BYTES => {
                Err(io::Error::other("larger than any record is"))
            }
            Ok(_) => parse(&fs::read(&path)?).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The name of the guest in this domain, if the library has made it.
    #[must_use]
    pub fn name(&self, domain: DomId) -> Option<String> {
        self.read(domain).ok().flatten().map(|record| record.name)
    }

    /// The domains that have a record.
    ///
    /// # Errors
    /// [`io::Error`] if the folder cannot be read.
    pub fn domains(&self) -> io::Result<Vec<DomId>> {
        let names = fs::read_dir(&self.folder)?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        Ok(names.filter_map(|name| domain_of(&name)).collect())
    }
}

/// The domain whose record has this name.
#[must_use]
pub fn domain_of(file: &str) -> Option<DomId> {
    let number = file.strip_suffix(".json")?;
    number.bytes().all(|byte| byte.is_ascii_digit()).then(|| number.parse().ok())?
}

/// Reads a record.
///
/// # Errors
/// [`io::Error`] if it is none.
pub fn parse(bytes: &[u8]) -> io::Result<Record> {
    let written: Written = serde_json::from_slice(bytes)?;
    Ok(Record { uuid: written.uuid, name: written.name, has_console: written.console.is_some() })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RECORD: &str = r#"{"uuid":"5a7ea5a1-6f27-4bd8-9ddc-6a2f6cdbd4ca","name":"web0",
        "config":"{}","preserved":false}"#;

    #[test]
    fn records_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let guests = Guests::below(dir.path());
        assert!(guests.domains().is_err());
        fs::create_dir(guests.folder()).unwrap();
        fs::write(guests.folder().join("5.json"), RECORD).unwrap();
        let noxs = RECORD.replace("\"config\"", "\"console\":{\"frame\":7,\"port\":2},\"config\"");
        fs::write(guests.folder().join("6.json"), noxs).unwrap();
        fs::write(guests.folder().join("new"), "").unwrap();
        fs::write(guests.folder().join("7.json"), "{").unwrap();
        let domain = |number| DomId::new(number).unwrap();
        let record = |number| {
            guests.read(domain(number)).unwrap().map(|record| (record.name, record.has_console))
        };
        assert_eq!(
            (record(5), record(6)),
            (Some(("web0".to_owned(), false)), Some(("web0".to_owned(), true)))
        );
        assert_eq!(guests.read(domain(8)).unwrap(), None);
        assert!(guests.read(domain(7)).is_err());
        assert_eq!(guests.name(domain(7)), None);
        let mut domains = guests.domains().unwrap();
        domains.sort_unstable();
        assert_eq!(domains, [5, 6, 7].map(domain));
    }

    #[test]
    fn other_files_are_no_records() {
        for name in ["5", "5.json.new", "+5.json", "x.json", ".json", "99999.json"] {
            assert_eq!(domain_of(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>, name: String) {
            let _ = parse(&bytes);
            let _ = domain_of(&name);
        }
    }
}
