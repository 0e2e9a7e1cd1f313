//! The files of a bare Debian: what the README says one has, and a checkout.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::{Account, give_to_caller, shared_cache};
use crate::lab::image::{self, SUITE};
use crate::run::Tool;
use crate::{cache, deps, files};

/// Where the toolchain is.
pub(super) const TOOLCHAIN: &str = "/opt/rust";

/// What a Rust toolchain needs: a linker, and certificates for its registry.
const PACKAGES: &[&str] = &["ca-certificates", "gcc", "libc6-dev"];

const SUDO: &[&str] = &["sudo"];

/// The user's name.
const USER: &str = "visitor";

/// What `--share-cache` gives: the entries of the cache whose names begin like this.
const SHARED: &[&str] = &["hypervisor-noxs-", "linux-host-", "linux-tinyx-"];

/// To be counted up when this file makes something else from the same inputs.
const FORMAT: &str = "1";

/// Removed when it is dropped.
#[derive(Debug)]
pub(super) struct Root {
    account: Account,
    dir: TempDir,
    _lock: File,
}

impl Root {
    pub(super) fn make(account: Account, share_cache: bool) -> Result<Self> {
        let tar = debian(account)?;
        let (dir, lock) = cache::temporary_dir("bare")?;
        Tool::tied("tar")
            .args(["--extract", "--numeric-owner", "--file"])
            .arg(&tar)
            .arg("--directory")
            .arg(dir.path())
            .log_on_failure()?;
        let root = Root { account, dir, _lock: lock };
        root.set_up()?;
        root.check_out()?;
        if share_cache {
            root.share_cache()?;
        }
        Ok(root)
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(super) fn user(&self) -> &'static str {
        match self.account {
            Account::Root => "root",
            Account::User => USER,
        }
    }

    pub(super) fn home(&self) -> &'static str {
        match self.account {
            Account::Root => "/root",
            Account::User => "/home/visitor",
        }
    }

    /// As Debian's /etc/profile sets it.
    pub(super) fn search_path(&self) -> &'static str {
        match self.account {
            Account::Root => "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            Account::User => "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games",
        }
    }

    /// The beginning of a command that runs as the account.
    pub(super) fn account_change(&self) -> Vec<String> {
        match self.account {
            Account::Root => Vec::new(),
            Account::User => {
                let user = self.user();
                let ids = [format!("--reuid={user}"), format!("--regid={user}")];
                ["setpriv".to_owned()]
                    .into_iter()
                    .chain(ids)
                    .chain(["--init-groups".to_owned(), "--".to_owned()])
                    .collect()
            }
        }
    }

    /// Seen from within.
    pub(super) fn checkout(&self) -> String {
        format!("{}/lightvm", self.home())
    }

    /// Leaves the files where they are.
    pub(super) fn keep(self) -> PathBuf {
        self.dir.keep()
    }

    /// Removes the files, and says if that fails.
    pub(super) fn remove(self) -> Result<()> {
        let path = self.path().to_owned();
        self.dir.close().with_context(|| format!("cannot remove {}", path.display()))
    }

    fn below(&self, path: &str) -> PathBuf {
        self.path().join(path.trim_start_matches('/'))
    }

    /// The machine's network, mirrors and certificates; and the user.
    fn set_up(&self) -> Result<()> {
        fs::create_dir_all(self.below(TOOLCHAIN))?;
        files::write(&self.below("etc/hostname"), "bare\n", 0o644)?;
        files::write(&self.below("etc/hosts"), "127.0.0.1 localhost bare\n", 0o644)?;
        let sources = deps::apt_sources(SUITE)?.join("\n") + "\n";
        files::write(&self.below("etc/apt/sources.list"), sources, 0o644)?;
        let settings = deps::apt_acquire_options()?.join("\n") + "\n";
        files::write(&self.below("etc/apt/apt.conf.d/90machine"), settings, 0o644)?;
        for path in ["/etc/resolv.conf", "/etc/ssl/certs/ca-certificates.crt"] {
            if Path::new(path).is_file() {
                // Debian's may be a link to a place of systemd-resolved's.
                let _ = fs::remove_file(self.below(path));
                files::install(Path::new(path), &self.below(path), 0o644)?;
            }
        }
        if self.account == Account::User {
            self.within(&["useradd", "--create-home", "--shell", "/bin/bash", USER])?;
            let rule = format!("{USER} ALL=(ALL:ALL) NOPASSWD: ALL\n");
            files::write(&self.below("etc/sudoers.d/visitor"), rule, 0o440)?;
        }
        let config = cargo_home()?.join("config.toml");
        if config.is_file() {
            let place = format!("{}/.cargo", self.home());
            files::install(&config, &self.below(&place).join("config.toml"), 0o644)?;
            self.give(&place)?;
        }
        Ok(())
    }

    /// What is committed, without git: a checkout may as well be an unpacked archive.
    fn check_out(&self) -> Result<()> {
        let workspace = files::workspace()?;
        // A folder of another owner, where sudo made us root.
        let git = || Tool::new("git").args(["-c", "safe.directory=*"]).dir(&workspace);
        let changed = git()
            .args(["status", "--porcelain"])
            .output()
            .context("the checkout is exported with git, from a repository")?;
        if !changed.is_empty() {
            eprintln!("   what is not committed is not in it");
        }
        let place = self.below(&self.checkout());
        fs::create_dir_all(&place)?;
        let tar = self.below("checkout.tar");
        git()
            .args(["archive", "--format=tar", "--output"])
            .arg(&tar)
            .arg("HEAD")
            .log_on_failure()?;
        Tool::new("tar")
            .args(["--extract", "--no-same-owner", "--file"])
            .arg(&tar)
            .arg("--directory")
            .arg(&place)
            .log_on_failure()?;
        fs::remove_file(tar)?;
        self.give(&self.checkout())
    }

    fn share_cache(&self) -> Result<()> {
        let place = format!("{}/.cache", self.home());
        let to = self.below(&place).join("lightvm");
        fs::create_dir_all(&to)?;
        let mut shared = 0;
        for entry in files::sorted_dir(&shared_cache()?)? {
            let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let wanted = SHARED.iter().any(|prefix| name.starts_with(prefix));
            if wanted && entry.is_dir() {
                files::copy_tree(&entry, &to.join(&name))?;
                shared += 1;
            }
        }
        ensure!(
            shared > 0,
            "this machine has built no hypervisor and no kernel that could be shared"
        );
        self.give(&place)
    }

    /// Makes the account the owner of what it would have made itself.
    fn give(&self, path: &str) -> Result<()> {
        if self.account == Account::Root {
            return Ok(());
        }
        self.within(&["chown", "--recursive", &format!("{USER}:{USER}"), path])
    }

    fn within(&self, words: &[&str]) -> Result<()> {
        Tool::new("chroot").arg(self.path()).args(words).log_on_failure()
    }
}

/// What the Debian is called in the cache.
const ENTRY: &str = "bare-debian";

/// Where both are in the cache, or would be.
pub(crate) fn places() -> Result<Vec<PathBuf>> {
    let place = |account| cache::place(ENTRY, &key(&packages(account)));
    Ok(vec![place(Account::Root)?, place(Account::User)?])
}

fn packages(account: Account) -> Vec<&'static str> {
    match account {
        Account::Root => PACKAGES.to_vec(),
        Account::User => [PACKAGES, SUDO].concat(),
    }
}

fn key(packages: &[&str]) -> cache::Key {
    let mut key = cache::Key::default();
    key.add("format", FORMAT).add("suite", SUITE).add("packages", packages.join(" "));
    key
}

/// The Debian as a tar file.
fn debian(account: Account) -> Result<PathBuf> {
    let packages = packages(account);
    let entry = cache::entry(ENTRY, &key(&packages), |place| {
        deps::ensure(&image::needed())?;
        let sources = deps::apt_sources(SUITE)?.join("\n") + "\n";
        println!("   making its Debian (once, about a minute)");
        let tar = place.join("root.tar");
        deps::retry("mmdebstrap", || image::bootstrap(&tar, &sources, &packages, &[]))
    })?;
    give_to_caller(&entry)?;
    Ok(entry.join("root.tar"))
}

fn cargo_home() -> Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from);
    set("CARGO_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".cargo")))
        .context("neither CARGO_HOME nor HOME is set")
}
