//! The daemon's configuration: a JSON file, all of whose keys have a default. docs/xendevd.md
//! describes them.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::nodes::SCRIPT_DIR;
use crate::script::Limits;

/// Where it lies unless --config names another place. It need not be there.
pub const DEFAULT_PATH: &str = "/etc/lightvm/xendevd.json";

/// The longest file that is read, in bytes.
const MAX_BYTES: u64 = 64 << 10;

/// How the daemon works.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How much is logged: error, warn, info, debug or trace.
    #[serde(deserialize_with = "level")]
    pub log_level: log::LevelFilter,
    /// How long a file or a block device may take to answer. `chaos` gives up after 10 s, and is
    /// to hear why.
    #[serde(deserialize_with = "seconds")]
    pub disk_timeout: Duration,
    /// How long a hotplug script may run.
    #[serde(deserialize_with = "seconds")]
    pub script_timeout: Duration,
    /// The folders whose scripts may be run.
    #[serde(deserialize_with = "folders")]
    pub script_dirs: Vec<PathBuf>,
    /// Whether loop devices pass by the page cache where the file system can.
    pub direct_io: bool,
    /// Whether guests that end are destroyed or started again as their configuration says.
    pub lifecycle: bool,
    /// Whether the consoles of guests without Xenstore are served.
    pub consoles: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            log_level: log::LevelFilter::Info,
            disk_timeout: Duration::from_secs(8),
            script_timeout: Duration::from_secs(30),
            script_dirs: vec![PathBuf::from(SCRIPT_DIR)],
            direct_io: true,
            lifecycle: true,
            consoles: true,
        }
    }
}

impl Config {
    /// Which scripts may be run, and for how long.
    #[must_use]
    pub fn scripts(&self) -> Limits {
        Limits { dirs: self.script_dirs.clone(), time: self.script_timeout }
    }
}

/// Why the configuration cannot be used. One line: file, line, key, what was found and what would
/// be right.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: the configuration of xendevd cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What it says is wrong.
    #[error("{}:{line}: {problem}", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The key, and what is wrong.
        problem: String,
    },
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let failed = |source| ConfigError::Read { path: path.to_owned(), source };
        let mut text = String::new();
        let file = File::open(path).map_err(failed)?;
        file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
        if text.len() as u64 > MAX_BYTES {
            return Err(failed(io::Error::other(format!("larger than {MAX_BYTES} bytes"))));
        }
        Self::from_json(&text, path)
    }

    /// Reads the file that was named, or the one in the default place if there is one.
    ///
    /// # Errors
    /// [`ConfigError`]; a missing file is one only if it was named.
    pub fn load(named: Option<&Path>) -> Result<Self, ConfigError> {
        match named {
            Some(path) => Self::from_file(path),
            None => match Self::from_file(Path::new(DEFAULT_PATH)) {
                Err(ConfigError::Read { source, .. })
                    if source.kind() == io::ErrorKind::NotFound =>
                {
                    Ok(Self::default())
                }
                result => result,
            },
        }
    }

    /// Reads a text; `path` is for messages.
    ///
    /// # Errors
    /// [`ConfigError::Wrong`].
    pub fn from_json(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let mut json = serde_json::Deserializer::from_str(text);
        let wrong = |key: Option<String>, error: &serde_json::Error| {
            let message = error.to_string();
            let what = message.split(" at line ").next().unwrap_or(&message);
            let problem = match key.filter(|key| key != "." && !what.starts_with("unknown field")) {
                Some(key) => format!("key `{key}`: {what}"),
                None => what.to_owned(),
            };
            ConfigError::Wrong { path: path.to_owned(), line: error.line().max(1), problem }
        };
        let config = serde_path_to_error::deserialize(&mut json)
            .map_err(|error| wrong(Some(error.path().to_string()), error.inner()))?;
        json.end().map_err(|error| wrong(None, &error))?;
        Ok(config)
    }
}

/// Whole seconds, 1 to 3600.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    match u64::deserialize(deserializer)? {
        seconds @ 1..=3600 => Ok(Duration::from_secs(seconds)),
        other => {
            Err(serde::de::Error::custom(format!("{other} is no number of seconds from 1 to 3600")))
        }
    }
}

fn level<'de, D: Deserializer<'de>>(deserializer: D) -> Result<log::LevelFilter, D::Error> {
    let word = String::deserialize(deserializer)?;
    word.parse().map_err(|_| {
        serde::de::Error::custom(format!(
            "{word:?} is no log level; give error, warn, info, debug or trace"
        ))
    })
}

fn folders<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PathBuf>, D::Error> {
    let folders = Vec::<PathBuf>::deserialize(deserializer)?;
    match folders.iter().find(|folder| !folder.is_absolute()) {
        None => Ok(folders),
        Some(folder) => {
            Err(serde::de::Error::custom(format!("{folder:?} is no absolute path of a folder")))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Config::from_json(text, Path::new("x.json")).unwrap_err().to_string()
    }

    #[test]
    fn nothing_given_is_the_default() {
        assert_eq!(Config::from_json("{}", Path::new("x")).unwrap(), Config::default());
        assert!(
            Config::from_file(Path::new("/nowhere.json"))
                .unwrap_err()
                .to_string()
                .starts_with("/nowhere.json: ")
        );
    }

    #[test]
    fn keys_are_read() {
        let text = r#"{"log_level": "debug", "disk_timeout": 5, "script_dirs": ["/opt/x"],
            "direct_io": false}"#;
        let config = Config::from_json(text, Path::new("x")).unwrap();
        assert_eq!(config.log_level, log::LevelFilter::Debug);
        assert_eq!(config.disk_timeout, Duration::from_secs(5));
        assert_eq!((config.script_dirs, config.direct_io), (vec![PathBuf::from("/opt/x")], false));
    }

    #[test]
    fn errors_name_line_and_key() {
        assert!(
            error("{\n\"disk_timeot\": 5}")
                .starts_with("x.json:2: unknown field `disk_timeot`, expected one of")
        );
        assert_eq!(
            error("{\n\n\"disk_timeout\": 0}"),
            "x.json:3: key `disk_timeout`: 0 is no number of seconds from 1 to 3600"
        );
        assert!(error("{\"direct_io\": 1}").starts_with("x.json:1: key `direct_io`: invalid type"));
        assert_eq!(
            error("{\"log_level\": \"loud\"}").split(';').next(),
            Some("x.json:1: key `log_level`: \"loud\" is no log level")
        );
        assert!(
            error("{\"script_dirs\": [\"a\"]}")
                .contains("`script_dirs`: \"a\" is no absolute path")
        );
        assert!(error("{} x").starts_with("x.json:1: "));
    }
}
