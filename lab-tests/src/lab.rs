//! What every test starts with.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Once;

use h2::Hypervisor;
use serde_json::Value;
use tempfile::TempDir;

use crate::chaos::{self, Created};
use crate::{console, domain, xl};

/// Where the lab has its guests.
const GUESTS: &str = "/guests";

static WARM: Once = Once::new();

/// A test's place in the lab: a folder for its files, and a prefix for the names of its guests.
/// When it is dropped, also by a failure, every guest with that prefix is destroyed.
#[derive(Debug)]
pub struct Lab {
    folder: TempDir,
    prefix: String,
}

impl Lab {
    /// Fails unless this is dom0 of the lab: what follows creates and destroys guests and stops
    /// daemons.
    #[track_caller]
    pub fn new(prefix: &str) -> Self {
        assert!(
            Path::new("/dev/xen/privcmd").exists() && Path::new("/usr/lib/lightvm-lab").is_dir(),
            "this test needs the lab's dom0: run `cargo xtask test`"
        );
        let lab = Self {
            folder: TempDir::with_prefix("lab-test-").unwrap(),
            prefix: format!("{prefix}-"),
        };
        lab.remove_guests();
        WARM.call_once(|| lab.warm_up());
        lab
    }

    /// The first guest of a host makes folders, in Xenstore and in /run, that stay; with the first
    /// that ends by itself, xendevd opens what it keeps.
    fn warm_up(&self) {
        let name = self
            .create_with("hello-pv", "first", &serde_json::json!({"cmdline": "exit"}), &[])
            .name;
        domain::wait_until_gone(&name);
    }

    /// The full name of this test's guest `name`.
    pub fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A path in the test's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file into the test's folder and returns its path.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Makes an empty image of so many MiB in the test's folder.
    pub fn image(&self, name: &str, mebibytes: u64) -> PathBuf {
        let path = self.path(name);
        File::create(&path).unwrap().set_len(mebibytes << 20).unwrap();
        path
    }

    /// The configuration /guests/BASE.json under the name `name`, with the keys of `changes` in
    /// place of its own; null takes a key out. Returns the file's path.
    #[track_caller]
    pub fn config(&self, base: &str, name: &str, changes: &Value) -> String {
        let path = format!("{GUESTS}/{base}.json");
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let mut config: Value = serde_json::from_str(&text).unwrap();
        let full = self.name(name);
        config["name"] = full.clone().into();
        for (key, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => _ = config.as_object_mut().unwrap().remove(key),
                value => config[key] = value.clone(),
            }
        }
        console::clear(&full);
        self.file(&format!("{full}.json"), serde_json::to_string_pretty(&config).unwrap())
    }

    /// Creates the guest of /guests/BASE.json under the name `name`.
    #[track_caller]
    pub fn create(&self, base: &str, name: &str) -> Created {
        self.create_with(base, name, &serde_json::json!({}), &[])
    }

    /// Creates one guest with changes to the configuration, and options of `chaos create`.
    #[track_caller]
    pub fn create_with(
        &self,
        base: &str,
        name: &str,
        changes: &Value,
        options: &[&str],
    ) -> Created {
        let config = self.config(base, name, changes);
        let mut created = chaos::create(&config, options);
        assert_eq!(created.len(), 1, "{created:?}");
        created.remove(0)
    }

    /// Creates a guest with xl that is like the one of /guests/BASE.json. Returns its name.
    #[track_caller]
    pub fn xl_create(&self, base: &str, name: &str) -> String {
        let path = self.xl_config(base, name, "");
        xl::xl(&["create", &path]).ok();
        self.name(name)
    }

    /// The xl configuration of the guest of /guests/BASE.json, without its devices, and with the
    /// lines of `more`, which stand in place of its own. Returns the file's path.
    #[track_caller]
    pub fn xl_config(&self, base: &str, name: &str, more: &str) -> String {
        let path = format!("{GUESTS}/{base}.json");
        let config: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let full = self.name(name);
        console::clear(&full);
        let mut text = format!("name = \"{full}\"\n");
        for (key, xl_key) in [
            ("type", "type"),
            ("kernel", "kernel"),
            ("ramdisk", "ramdisk"),
            ("cmdline", "extra"),
            ("tsc_mode", "tsc_mode"),
        ] {
            let replaced = more.lines().any(|line| line.starts_with(&format!("{xl_key} =")));
            if let Some(value) = config[key].as_str().filter(|_| !replaced) {
                text.push_str(&format!("{xl_key} = \"{value}\"\n"));
            }
        }
        text.push_str(&format!("memory = {}\nvcpus = 1\n", config["memory"]));
        if config["type"] == "pvh" {
            // libxl 4.17 computes too small a pool for a guest of 4 MiB.
            text.push_str("shadow_memory = 2\n");
        }
        text.push_str(more);
        self.file(&format!("{full}.cfg"), text)
    }

    /// Destroys what this test has made. Called from drop, too, where a panic would hide the first
    /// one.
    fn remove_guests(&self) {
        let removed = || -> Result<(), h2::Error> {
            for guest in Hypervisor::open()?.list()? {
                if guest.name.as_deref().is_some_and(|name| name.starts_with(&self.prefix)) {
                    Hypervisor::open()?.domain(guest.info.id)?.destroy()?;
                }
            }
            Ok(())
        };
        if let Err(error) = removed() {
            eprintln!("cannot remove the guests {}*: {error}", self.prefix);
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.remove_guests();
    }
}
