//! Builds of patched sources, with the feature off and on.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::series::Project;
use crate::run::Tool;

/// What Xen's and Linux's builds need.
pub(super) const PACKAGES: &[&str] =
    &["bc", "bison", "flex", "gcc", "libelf-dev", "libssl-dev", "make", "python3-minimal"];

/// The kernel's own configuration in the checkout: all built in, small, for dom0 and for guests.
const LINUX_FRAGMENTS: &[&str] = &["base.config", "dom0.config"];

/// Builds what the patches touch: all of Xen; of Linux what is in drivers/xen and the kernel's other Xen files.
pub(super) fn after_patch(project: Project, root: &Path, tree: &Path, place: &Path, feature: bool) -> Result<()> {
    match project {
        Project::Xen => xen(tree, feature),
        Project::Linux => linux(root, tree, &place.join(if feature { "on" } else { "off" }), feature),
    }
}

fn jobs() -> String {
    format!("-j{}", std::thread::available_parallelism().map_or(1, usize::from))
}

fn xen(tree: &Path, feature: bool) -> Result<()> {
    let config = tree.join("debian/xen-kconfig");
    let mut text = fs::read_to_string(&config).with_context(|| format!("cannot read {}", config.display()))?;
    // Before the patch that brings the switch there is nothing to switch on.
    text.push_str(if feature { "CONFIG_NOXS=y\n" } else { "# CONFIG_NOXS is not set\n" });
    fs::write(tree.join("xen/.config"), text)?;
    for target in ["olddefconfig", "build"] {
        Tool::tied("make")
            .args([
                "-C",
                "xen",
                &jobs(),
                "XEN_TARGET_ARCH=x86_64",
                "XEN_COMPILE_ARCH=x86_64",
                "GIT=/bin/false",
                "WGET=/bin/false",
                target,
            ])
            .dir(tree)
            .log_on_failure()?;
    }
    Ok(())
}

fn linux(root: &Path, tree: &Path, out: &Path, feature: bool) -> Result<()> {
    fs::create_dir_all(out)?;
    let config = root.join("linux-patches/config");
    let mut fragments: Vec<PathBuf> = LINUX_FRAGMENTS.iter().map(|name| config.join(name)).collect();
    if feature {
        fragments.push(config.join("noxs.config"));
    }
    Tool::new("scripts/kconfig/merge_config.sh")
        .args(["-n", "-O"])
        .arg(out)
        .args(&fragments)
        .dir(tree)
        .log_on_failure()?;
    Tool::tied("make")
        .arg(format!("O={}", out.display()))
        .args([&jobs(), "KCFLAGS=-Werror", "drivers/xen/", "arch/x86/xen/"])
        .dir(tree)
        .log_on_failure()
}
