//! The guests that the lab's dom0 finds in /guests: images, and the configurations of docs/examples
//! that name them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::install::cargo;
use crate::lab::boot::Boot;
use crate::lab::cpio::Archive;
use crate::lab::initramfs::{self, BUSYBOX};
use crate::{deps, files};

/// Packages of our own guests. They have a profile of their own, and nothing of std.
pub(crate) const PACKAGES: &[&str] = &["noop", "hello", "daytime", "blkcheck", "scribble", "mute"];

/// Builds our own guests.
pub(crate) fn build(workspace: &Path) -> Result<()> {
    let mut build = cargo(workspace).args(["build", "--quiet", "--profile", "guest"]);
    for package in PACKAGES {
        build = build.args(["--package", package]);
    }
    build.run()
}

/// Puts the guests into `dir`, for a host that boots `boot`.
pub(crate) fn install(dir: &Path, boot: &Boot) -> Result<()> {
    deps::ensure(&[deps::BUILD, initramfs::NEEDED].concat())?;
    let workspace = files::workspace()?;
    build(&workspace)?;
    for package in PACKAGES {
        files::install(&files::target()?.join("guest").join(package), &dir.join(package), 0o644)?;
    }
    let archive = linux_initramfs(&workspace.join("guests/linux"), boot.guest.modules.as_deref())?;
    files::write(&dir.join("linux-initramfs"), archive, 0o644)?;
    for example in files::find(&workspace.join("docs/examples"), "json")? {
        let name = example.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with("-pv.json") || name.ends_with("-pvh.json") {
            files::install(&example, &dir.join(name), 0o644)?;
        }
    }
    if let Some(kernel) = &boot.guest.kernel {
        files::install(kernel, &dir.join("linux-vmlinux"), 0o644)?;
    }
    Ok(())
}

/// The Linux guest's file system, as `initramfs.list` in `dir` describes it, with the frontends
/// that Debian's kernel has as modules.
fn linux_initramfs(dir: &Path, modules: Option<&Path>) -> Result<Vec<u8>> {
    let path = dir.join("initramfs.list");
    let list =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut archive = Archive::default();
    for (number, line) in list.lines().enumerate() {
        entry(&mut archive, dir, line)
            .with_context(|| format!("{}:{}: {line:?}", path.display(), number + 1))?;
    }
    let modules = modules.map_or(Ok(Vec::new()), files::sorted_dir)?;
    for (number, module) in modules.iter().enumerate() {
        let name = module.file_name().unwrap_or_default().to_string_lossy();
        archive.file(&format!("lib/modules/{number:02}-{name}"), 0o644, &fs::read(module)?)?;
    }
    archive.finish()
}

/// One line of the list; the list itself explains them.
fn entry(archive: &mut Archive, dir: &Path, line: &str) -> Result<()> {
    let words: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
    let octal = |text: &str| u32::from_str_radix(text, 8).context("the mode is not octal");
    match words[..] {
        [] => Ok(()),
        ["dir", path, mode] => archive.dir_with_mode(path, octal(mode)?),
        ["file", path, source, mode] => {
            let source = if source == "@busybox" { BUSYBOX.into() } else { dir.join(source) };
            let content =
                fs::read(&source).with_context(|| format!("cannot read {}", source.display()))?;
            archive.file(path, octal(mode)?, &content)
        }
        ["slink", path, target] => archive.symlink(path, target),
        ["nod", path, mode, "c", major, minor] => {
            archive.char_device(path, octal(mode)?, major.parse()?, minor.parse()?)
        }
        _ => bail!("not an entry that we know"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::entry;
    use crate::lab::cpio::Archive;

    #[test]
    fn entries_are_read_and_others_refused() {
        let mut archive = Archive::default();
        let mut add = |line| entry(&mut archive, Path::new("."), line);
        for line in
            ["# a comment", "", "dir /tmp 1777", "slink /bin/sh busybox", "nod /dev/null 666 c 1 3"]
        {
            add(line).unwrap();
        }
        assert!(add("pipe /x 600").is_err());
        assert!(add("dir /x 9").is_err());
        assert!(String::from_utf8(archive.finish().unwrap()).unwrap().contains("000043ff"));
    }
}
