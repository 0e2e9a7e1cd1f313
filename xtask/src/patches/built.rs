//! The patched hypervisor and kernels that the lab runs, each built once for what it is made of.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::series::{Project, Series};
use super::source::{self, Source};
use super::{archive, build, series, tree};
use crate::cache::{self, Key};
use crate::progress::Step;
use crate::run::Tool;
use crate::{deps, files};

/// To be counted up when this file builds something else from the same inputs.
const FORMAT: &str = "1";

/// What the hypervisor is called in the cache.
const HYPERVISOR: &str = "hypervisor-noxs";

/// A kernel of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kernel {
    /// The control domain's, with all that a Debian asks for.
    Host,
    /// The control domain's, which watches its locks, its lists and its memory: many times slower.
    Debug,
    /// A guest's, with what a guest needs.
    Tinyx,
}

impl Kernel {
    fn name(self) -> &'static str {
        match self {
            Kernel::Host => "linux-host",
            Kernel::Debug => "linux-debug",
            Kernel::Tinyx => "linux-tinyx",
        }
    }

    /// What of linux-patches/config it is made from, in order.
    pub(super) fn fragments(self) -> &'static [&'static str] {
        match self {
            Kernel::Host => &["base.config", "dom0.config", "debian.config", "noxs.config"],
            Kernel::Debug => {
                &["base.config", "dom0.config", "debian.config", "noxs.config", "debug.config"]
            }
            Kernel::Tinyx => &["base.config", "tinyx.config"],
        }
    }
}

/// The packages that build all of this.
pub(crate) fn needed() -> Vec<&'static str> {
    [archive::PACKAGES, source::PACKAGES, build::PACKAGES].concat()
}

/// The hypervisor with NoXS, as the ELF file that QEMU loads.
pub(crate) fn hypervisor() -> Result<PathBuf> {
    let root = files::workspace()?;
    let series = series::latest(&root, Project::Xen)?;
    let entry = entry(HYPERVISOR, &series, &[], |source, place| {
        let tree = tree::patched(source, &series, place, &[])?;
        let step = Step::start(
            "building the patched hypervisor (once, about ninety seconds on two processors)",
        );
        let out = place.join("build");
        build::xen(&tree, &out, true)?;
        files::install(&out.join("xen"), &place.join("xen"), 0o644)?;
        files::install(&out.join(".config"), &place.join("config"), 0o644)?;
        fs::remove_dir_all(tree)?;
        fs::remove_dir_all(out)?;
        step.done();
        Ok(())
    })?;
    Ok(entry.join("xen"))
}

/// A kernel with NoXS, as an uncompressed ELF file.
pub(crate) fn kernel(kernel: Kernel) -> Result<PathBuf> {
    let root = files::workspace()?;
    let series = series::latest(&root, Project::Linux)?;
    let Inputs { extra, fragments } = Inputs::of(kernel, &root)?;
    let inputs = [&extra[..], &fragments].concat();
    let name = kernel.name();
    let entry = entry(name, &series, &inputs, |source, place| {
        let tree = tree::patched(source, &series, place, &extra)?;
        let step = Step::start(format!(
            "building the kernel {name} (once, six to nine minutes on two processors)"
        ));
        let out = place.join("build");
        build::configure(&tree, &out, &fragments, build::Rest::Off)?;
        build::kernel(&tree, &out, &["vmlinux"])?;
        Tool::new("strip")
            .arg("-o")
            .arg(place.join("vmlinux"))
            .arg(out.join("vmlinux"))
            .log_on_failure()?;
        files::install(&out.join(".config"), &place.join("config"), 0o644)?;
        fs::remove_dir_all(tree)?;
        fs::remove_dir_all(out)?;
        step.done();
        Ok(())
    })?;
    Ok(entry.join("vmlinux"))
}

/// What a kernel is made from beside its series.
struct Inputs {
    /// More patches.
    extra: Vec<PathBuf>,
    fragments: Vec<PathBuf>,
}

impl Inputs {
    fn of(kernel: Kernel, root: &Path) -> Result<Self> {
        let config = root.join("linux-patches/config");
        Ok(Inputs {
            extra: files::find(&root.join("linux-patches/lab"), "patch")?,
            fragments: kernel.fragments().iter().map(|name| config.join(name)).collect(),
        })
    }
}

/// Where all of these, and their sources, are in the cache, or would be.
pub(crate) fn places() -> Result<Vec<PathBuf>> {
    let root = files::workspace()?;
    let xen = series::latest(&root, Project::Xen)?;
    let linux = series::latest(&root, Project::Linux)?;
    let mut places = vec![
        source::place(&xen)?,
        source::place(&linux)?,
        cache::place(HYPERVISOR, &key(&xen, &xen.base.version, &[])?)?,
    ];
    for kernel in [Kernel::Host, Kernel::Debug, Kernel::Tinyx] {
        let Inputs { extra, fragments } = Inputs::of(kernel, &root)?;
        let key = key(&linux, &linux.base.version, &[extra, fragments].concat())?;
        places.push(cache::place(kernel.name(), &key)?);
    }
    Ok(places)
}

/// The entry of the cache that is made from `series` and `inputs`, for BASE's version of the source
/// if it is there or can be made.
fn entry(
    name: &str,
    series: &Series,
    inputs: &[PathBuf],
    build: impl FnOnce(&Source, &Path) -> Result<()>,
) -> Result<PathBuf> {
    if let Some(entry) = cache::existing(name, &key(series, &series.base.version, inputs)?)? {
        return Ok(entry);
    }
    let source = source::get(series)?;
    cache::entry(name, &key(series, &source.version, inputs)?, |place| {
        deps::ensure(&needed())?;
        build(&source, place)
    })
}

/// All that a build of `series` depends on: the version of the source, the patches, and `inputs`.
fn key(series: &Series, version: &str, inputs: &[PathBuf]) -> Result<Key> {
    let mut key = Key::default();
    key.add("format", FORMAT).add("package", &series.base.package).add("version", version);
    for path in series.patches.iter().chain(inputs) {
        key.add(
            &tree::shown(path),
            fs::read(path).with_context(|| format!("cannot read {}", path.display()))?,
        );
    }
    Ok(key)
}
