//! What dom0 gets on top of the image, anew for each run: the lab's own configuration
//! (`xtask/lab/root`) with our software and guests, which are the same for all runs on one kind of
//! host, and the session.
//!
//! The archive is a cpio on a disk of its own; the initramfs lays it over the root file system
//! before systemd starts. What a user copies in is a tar on another disk, and the agent unpacks it
//! once the host is up, since systemd empties /tmp and mounts /run on its way.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::boot::Boot;
use super::cpio::Archive;
use super::options::{Options, Plane};
use super::qemu::{FILES, PAYLOAD};
use super::witness;
use crate::run::Tool;
use crate::{files, guests, install};

/// Where the agent finds its files in dom0.
const LAB: &str = "usr/lib/lightvm-lab";

/// What the agent does once the host is up.
#[derive(Debug)]
pub(crate) enum Job<'a> {
    Run {
        script: &'a str,
    },
    /// A shell, after a script if there is one.
    Shell {
        first: Option<&'a str>,
        rows: u16,
        columns: u16,
        term: String,
    },
}

/// What every run on the hosts of one kind gets. Building it takes the compilers seconds, so it is
/// built once for all of them.
pub(crate) struct Software {
    archive: Archive,
}

impl Software {
    /// Builds our software, and takes it with the lab's own configuration.
    pub(crate) fn build(bare: bool, boot: &Boot) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let root = dir.path();
        let lab = files::workspace()?.join("xtask/lab");
        files::copy_tree(&lab.join("root"), root)?;
        mask(&lab.join("masked-units"), &root.join("etc/systemd/system"))?;
        mask(&lab.join("masked-generators"), &root.join("etc/systemd/system-generators"))?;
        if boot.modules.is_none() {
            // The kernel has everything built in.
            fs::remove_file(root.join("etc/modules-load.d/lightvm-lab.conf"))?;
        }
        // A fixed identity: with none, systemd takes the boot for the first one and sets up every
        // unit anew.
        files::write(&root.join("etc/machine-id"), "11921192119211921192119211921192\n", 0o444)?;
        files::write(&root.join("etc/hostname"), "lab\n", 0o644)?;
        files::write(&root.join("etc/hosts"), "127.0.0.1 localhost lab\n", 0o644)?;
        // xenconsoled does not make the folder of its logs.
        fs::create_dir_all(root.join("var/log/xen/console"))?;
        if !bare {
            ours(root, boot)?;
        }
        let mut archive = Archive::default();
        archive.tree(root, "")?;
        Ok(Software { archive })
    }

    /// All of it, for a key.
    pub(crate) fn bytes(&self) -> Result<Vec<u8>> {
        self.archive.clone().finish()
    }

    /// Writes the archive of one run to `dir`.
    pub(crate) fn write(
        &self,
        dir: &Path,
        options: &Options,
        job: &Job<'_>,
        mark: &str,
    ) -> Result<()> {
        let root = dir.join("payload.d");
        if !options.xenstored() {
            // systemd makes this unit of Debian's script, which starts xenstored and xenconsoled.
            files::link(Path::new("/dev/null"), &root.join("etc/systemd/system/xen.service"))?;
        }
        write_session(&root.join(LAB), options, job, mark)?;
        let mut archive = self.archive.clone();
        archive.tree(&root, "")?;
        let mut bytes = archive.finish()?;
        bytes.resize(bytes.len().next_multiple_of(4096), 0);
        fs::write(dir.join(PAYLOAD), bytes).context("cannot write the payload")?;
        fs::remove_dir_all(&root)?;
        Ok(())
    }
}

/// Builds what this checkout has for a host, and puts it below `root`.
fn ours(root: &Path, boot: &Boot) -> Result<()> {
    install::install(root, Path::new("/usr"))?;
    // As systemctl enable does it.
    let wanted = root.join("etc/systemd/system/multi-user.target.wants/xendevd.service");
    files::link(Path::new("/usr/lib/systemd/system/xendevd.service"), &wanted)?;
    guests::install(&root.join("guests"), boot)?;
    match boot.plane {
        Plane::Xenstore => Ok(()),
        Plane::Noxs => witness::install(root),
    }
}

/// Writes the tar of what the user copies in to `dir`.
pub(crate) fn user_files(dir: &Path, options: &Options) -> Result<()> {
    let root = dir.join("files.d");
    for file in &options.files {
        files::copy_tree(&file.host, &root.join(file.dom0.strip_prefix("/")?))?;
    }
    Tool::new("tar")
        .args(["--create", "--owner=0", "--group=0", "--file"])
        .arg(dir.join(FILES))
        .arg("--directory")
        .arg(&root)
        .arg(".")
        .log_on_failure()?;
    fs::remove_dir_all(&root)?;
    Ok(())
}

/// Turns off what `list` names: a link to /dev/null in `place` stands before what Debian has of the
/// same name.
fn mask(list: &Path, place: &Path) -> Result<()> {
    let text =
        fs::read_to_string(list).with_context(|| format!("cannot read {}", list.display()))?;
    for name in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        files::link(Path::new("/dev/null"), &place.join(name))?;
    }
    Ok(())
}

/// The files that the agent reads: shell assignments, the script, the names to copy out.
fn write_session(lab: &Path, options: &Options, job: &Job<'_>, mark: &str) -> Result<()> {
    let mut session = format!("mark={mark}\n");
    match job {
        Job::Run { script } => {
            session.push_str("mode=run\n");
            files::write(&lab.join("script"), format!("{script}\n"), 0o755)?;
        }
        Job::Shell { first, rows, columns, term } => {
            if let Some(script) = first {
                files::write(&lab.join("script"), format!("{script}\n"), 0o755)?;
            }
            session.push_str(&format!(
                "mode=shell rows={rows} columns={columns} term={}\n",
                quote(term)
            ));
        }
    }
    if !options.files.is_empty() {
        session.push_str("files=/dev/vdc\n");
    }
    if !options.outs.is_empty() {
        session.push_str(&format!("outs={}\n", quote(&format!("/{LAB}/outs"))));
        let mut names = String::new();
        for out in &options.outs {
            names.push_str(
                out.dom0.strip_prefix("/")?.to_str().context("a path in dom0 is not UTF-8")?,
            );
            names.push('\n');
        }
        files::write(&lab.join("outs"), names, 0o644)?;
    }
    files::write(&lab.join("session"), session, 0o644)
}

/// `text` as one word of a shell.
pub(crate) fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn a_quoted_word_stays_one_word() {
        assert_eq!(quote("it's $HOME"), r"'it'\''s $HOME'");
    }
}
