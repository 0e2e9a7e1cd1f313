//! Builds of patched sources.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::series::Project;
use crate::deps;
use crate::run::Tool;

/// What Xen's and Linux's builds need.
pub(super) const PACKAGES: &[&str] = &[
    "bc",
    "binutils",
    "bison",
    "flex",
    "gcc",
    "libelf-dev",
    "libssl-dev",
    "make",
    "python3-minimal",
];

/// Builds the hypervisor in the folder `out`, with Debian's configuration and the feature on or
/// off.
pub(super) fn xen(tree: &Path, out: &Path, feature: bool) -> Result<()> {
    fs::create_dir_all(out)?;
    let run = |target: &str| {
        make(tree)
            .args(["-C", "xen", "XEN_TARGET_ARCH=x86_64", "XEN_COMPILE_ARCH=x86_64"])
            .args(["GIT=/bin/false", "WGET=/bin/false", target])
            .arg(format!("O={}", out.display()))
            .log_on_failure()
    };
    // A configuration that is written anew has all of Xen compiled again, even if it says the same.
    let config = out.join(".config");
    let known = fs::read_to_string(&config).unwrap_or_default();
    if known.is_empty() || (Project::Xen.has_switch(tree)? && !known.contains("CONFIG_NOXS")) {
        let debians = tree.join("debian/xen-kconfig");
        let mut text = fs::read_to_string(&debians)
            .with_context(|| format!("cannot read {}", debians.display()))?;
        text.push_str(if feature { "CONFIG_NOXS=y\n" } else { "# CONFIG_NOXS is not set\n" });
        fs::write(&config, text)?;
        run("olddefconfig")?;
    }
    run("build")
}

/// What the options get that no fragment sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    Off,
    Default,
}

/// Configures the kernel in the folder `out`: with what `fragments` set, of which the first may be
/// a whole configuration.
pub(super) fn configure(tree: &Path, out: &Path, fragments: &[PathBuf], rest: Rest) -> Result<()> {
    fs::create_dir_all(out)?;
    let merge = Tool::new("scripts/kconfig/merge_config.sh").arg(match rest {
        Rest::Off => "-n",
        Rest::Default => "-m",
    });
    merge.arg("-O").arg(out).args(fragments).dir(tree).log_on_failure()?;
    kernel(tree, out, &["olddefconfig"])
}

/// Builds `targets` of the kernel in the folder `out`.
pub(super) fn kernel(tree: &Path, out: &Path, targets: &[&str]) -> Result<()> {
    make(tree).arg(format!("O={}", out.display())).args(targets).log_on_failure()
}

/// make in `tree`, with as many jobs as there are processors, and nothing of this machine in what
/// it makes.
fn make(tree: &Path) -> Tool {
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let place = tree.parent().unwrap_or(tree);
    let tool = Tool::tied("make").arg(format!("-j{jobs}")).dir(tree);
    let tool = [
        ("KBUILD_BUILD_USER", "lightvm"),
        ("KBUILD_BUILD_HOST", "lightvm"),
        ("KBUILD_BUILD_TIMESTAMP", "@0"),
        ("KBUILD_BUILD_VERSION", "1"),
        // Set, so that nothing is added for a repository that the cache may lie in.
        ("LOCALVERSION", ""),
        ("XEN_BUILD_DATE", "Thu Jan  1 00:00:00 UTC 1970"),
        ("XEN_BUILD_TIME", "00:00:00"),
        ("XEN_BUILD_HOST", "lightvm"),
        ("XEN_WHOAMI", "lightvm"),
        ("XEN_DOMAIN", "lightvm"),
    ]
    .into_iter()
    .fold(tool, |tool, (name, value)| tool.env(name, value));
    // Who has ccache gets a rebuild in a minute. The folder has another name each time.
    if deps::in_path("ccache") {
        tool.arg("CC=ccache gcc").env("CCACHE_BASEDIR", place).env("CCACHE_NOHASHDIR", "1")
    } else {
        tool
    }
}
