//! `cargo xtask patches check`: whether the series apply and build, and say the same as the Rust
//! types.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::series::{self, Project, Series};
use super::tree::shown;
use super::{build, source, tree};
use crate::install::cargo;
use crate::progress::Step;
use crate::run::Tool;
use crate::{cache, deps, files};

#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    /// Only the series of this project
    #[arg(value_enum)]
    project: Option<Project>,

    /// Apply the patches and compare the headers, but build nothing
    #[arg(long)]
    no_build: bool,
}

/// Applies the series to their bases without fuzz, builds after each patch with the feature off and
/// on, runs checkpatch on those for Linux, and compares the layouts of C and Rust.
pub(crate) fn check(options: &Check) -> Result<()> {
    let builds = if options.no_build { &[][..] } else { build::PACKAGES };
    deps::ensure(&[deps::BUILD, source::PACKAGES, builds].concat())?;
    let root = files::workspace()?;
    for series in series::all(&root)? {
        if options.project.is_none_or(|project| project == series.project) {
            check_series(&root, &series, !options.no_build)?;
        }
    }
    Ok(())
}

fn check_series(root: &Path, series: &Series, builds: bool) -> Result<()> {
    let source = source::get(series)?;
    println!(
        "== {}: {} patches for {} {}",
        series.shown(),
        series.patches.len(),
        series.base.package,
        source.version
    );
    cache::scratch("patches", |place| {
        let tree = tree::pristine(&source, place)?;
        for patch in &series.patches {
            tree::apply(&tree, patch)?;
            println!("applied {}", shown(patch));
            if series.project == Project::Linux {
                checkpatch(&tree, patch)?;
            }
            if builds {
                after_patch(series, root, place, patch)?;
            }
        }
        compare_headers(root, series.project, &tree, place)
    })
}

/// Builds what a patch changes, with the feature off, and with it on once there is a switch. Each
/// has a folder of its own, and what was built there behind earlier patches is built on.
fn after_patch(series: &Series, root: &Path, place: &Path, patch: &Path) -> Result<()> {
    let text =
        fs::read_to_string(patch).with_context(|| format!("cannot read {}", patch.display()))?;
    if series::only_documents(&text) {
        println!("  changes nothing that is built");
        return Ok(());
    }
    let tree = place.join("source");
    let features: &[bool] =
        if series.project.has_switch(&tree)? { &[false, true] } else { &[false] };
    for &feature in features {
        let name = if feature { "on" } else { "off" };
        let step = Step::start(format!("  building with NoXS {name}"));
        let out = place.join(name);
        let built = match series.project {
            Project::Xen => build::xen(&tree, &out, feature),
            Project::Linux => linux(root, &tree, &out, feature),
        };
        built.with_context(|| format!("behind {}, with NoXS {name}", shown(patch)))?;
        step.done();
    }
    Ok(())
}

/// Of Linux, what is in drivers/xen and the kernel's other Xen files.
fn linux(root: &Path, tree: &Path, out: &Path, feature: bool) -> Result<()> {
    let mut fragments = vec!["base.config", "dom0.config"];
    if feature {
        fragments.push("noxs.config");
    }
    let config = root.join("linux-patches/config");
    let fragments: Vec<PathBuf> = fragments.iter().map(|name| config.join(name)).collect();
    build::configure(tree, out, &fragments, build::Rest::Off)?;
    build::kernel(tree, out, &["KCFLAGS=-Werror", "drivers/xen/", "arch/x86/xen/"])
}

/// MAINTAINERS belongs to the kernel's own tree, and the states of xenbus are called
/// XenbusStateConnected and the like.
const ALWAYS_ANSWERED: &[&str] = &["FILE_PATH_CHANGES", "CAMELCASE"];

/// Complaints that a patch answers behind its `---` line have to be named there by their type.
fn checkpatch(tree: &Path, patch: &Path) -> Result<()> {
    let text =
        fs::read_to_string(patch).with_context(|| format!("cannot read {}", patch.display()))?;
    let answered = ALWAYS_ANSWERED
        .iter()
        .map(ToString::to_string)
        .chain(series::excused(&text))
        .collect::<Vec<_>>()
        .join(",");
    Tool::new("scripts/checkpatch.pl")
        .args(["--strict", "--terse", "--show-types", "--no-summary", "--ignore", &answered])
        .arg(patch)
        .dir(tree)
        .log_on_failure()
        .with_context(|| format!("checkpatch does not like {}", shown(patch)))
}

/// Has the compiler compare the headers that the patches bring with the Rust types.
fn compare_headers(root: &Path, project: Project, tree: &Path, place: &Path) -> Result<()> {
    let include = place.join("include");
    fs::create_dir(&include)?;
    for (name, theirs) in project.headers() {
        // The kernel's own names of the types.
        let types = "#include <stdint.h>\ntypedef uint8_t u8;\ntypedef uint16_t u16;\
                     \ntypedef uint32_t u32;\ntypedef uint64_t u64;\n";
        fs::write(
            include.join(name),
            format!("{types}#include \"{}\"\n", tree.join(theirs).display()),
        )?;
    }
    cargo(root)
        .args(["test", "--quiet", "--package", "noxs", "--test", "layout", "--", "--exact"])
        .args(project.layouts())
        .env("NOXS_INCLUDE", include)
        .run()
        .context("the patched source's headers and the Rust types differ")
}
