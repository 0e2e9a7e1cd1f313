//! Builds of patched sources.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::tree;
use crate::run::Tool;

/// What Xen's and Linux's builds need.
pub(super) const PACKAGES: &[&str] =
    &["bc", "binutils", "bison", "flex", "gcc", "libelf-dev", "libssl-dev", "make", "python3-minimal"];

/// Builds the hypervisor in `tree`, with Debian's configuration and the feature on or off. What was built there before is built on.
pub(super) fn xen(tree: &Path, feature: bool) -> Result<()> {
    let config = tree.join("debian/xen-kconfig");
    let mut text = fs::read_to_string(&config).with_context(|| format!("cannot read {}", config.display()))?;
    // Before the patch that brings the switch there is nothing to switch on.
    text.push_str(if feature { "CONFIG_NOXS=y\n" } else { "# CONFIG_NOXS is not set\n" });
    tree::write(&tree.join("xen/.config"), &text)?;
    for target in ["olddefconfig", "build"] {
        make(tree)
            .args([
                "-C",
                "xen",
                "XEN_TARGET_ARCH=x86_64",
                "XEN_COMPILE_ARCH=x86_64",
                "GIT=/bin/false",
                "WGET=/bin/false",
                target,
            ])
            .log_on_failure()?;
    }
    Ok(())
}

/// Builds `targets` of the kernel in the folder `out`, with a configuration that has what `fragments` set and nothing else.
pub(super) fn linux(tree: &Path, out: &Path, fragments: &[PathBuf], targets: &[&str]) -> Result<()> {
    fs::create_dir_all(out)?;
    Tool::new("scripts/kconfig/merge_config.sh")
        .args(["-n", "-O"])
        .arg(out)
        .args(fragments)
        .dir(tree)
        .log_on_failure()?;
    make(tree).arg(format!("O={}", out.display())).args(targets).log_on_failure()
}

/// make in `tree`, with as many jobs as there are processors, and nothing of this machine in what it makes.
fn make(tree: &Path) -> Tool {
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let place = tree.parent().unwrap_or(tree);
    let tool = Tool::tied("make").arg(format!("-j{jobs}")).dir(tree);
    let tool = [
        ("KBUILD_BUILD_USER", "lightvm"),
        ("KBUILD_BUILD_HOST", "lightvm"),
        ("KBUILD_BUILD_TIMESTAMP", "@0"),
        ("KBUILD_BUILD_VERSION", "1"),
        ("XEN_BUILD_DATE", "Thu Jan  1 00:00:00 UTC 1970"),
        ("XEN_BUILD_TIME", "00:00:00"),
        ("XEN_BUILD_HOST", "lightvm"),
        ("XEN_WHOAMI", "lightvm"),
        ("XEN_DOMAIN", "lightvm"),
    ]
    .into_iter()
    .fold(tool, |tool, (name, value)| tool.env(name, value));
    // Who has ccache gets a rebuild in a minute. The folder has another name each time.
    if has_ccache() {
        tool.arg("CC=ccache gcc").env("CCACHE_BASEDIR", place).env("CCACHE_NOHASHDIR", "1")
    } else {
        tool
    }
}

fn has_ccache() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join("ccache").is_file())
}
