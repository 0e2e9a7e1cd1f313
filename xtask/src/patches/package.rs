//! `cargo xtask patches package`: Debian packages of the patched hypervisor and kernel, to be
//! installed beside Debian's own (docs/noxs-host.md).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::archive::{self, Archive, Package};
use super::built::Kernel;
use super::series::{self, Project, Series};
use super::{build, source, tree};
use crate::lab::image::SUITE;
use crate::progress::Step;
use crate::run::Tool;
use crate::{cache, deps, files};

/// Beyond what the builds need themselves.
const PACKAGES: &[&str] = &["cpio", "dpkg-dev", "fakeroot", "kmod", "rsync", "zstd"];

/// What the packages' versions have behind Debian's.
const REVISION: &str = "+noxs1";

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Config {
    /// Debian's, with NoXS: for any machine that Debian runs on. Takes hours
    Debian,
    /// The lab's, with all built in: for emulated machines only. Takes minutes
    Lab,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only the package of this project
    #[arg(value_enum)]
    project: Option<Project>,

    /// What the kernel is for
    #[arg(long, value_enum, default_value = "debian")]
    config: Config,

    /// Where the packages go
    #[arg(long, value_name = "DIR", default_value = "target/packages")]
    out: PathBuf,
}

/// Makes the packages and says where they are.
pub(crate) fn package(options: &Options) -> Result<()> {
    deps::ensure(&[source::PACKAGES, build::PACKAGES, PACKAGES].concat())?;
    let root = files::workspace()?;
    let out = root.join(&options.out);
    fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    for project in [Project::Xen, Project::Linux] {
        if options.project.is_some_and(|wanted| wanted != project) {
            continue;
        }
        let series = series::latest(&root, project)?;
        let source = source::get(&series)?;
        let made = cache::scratch("package", |place| {
            let tree = tree::patched(&source, &series, place, &[])?;
            // The version of what is in it, which need not be BASE's.
            let version = format!("{}{REVISION}", source.version);
            let debs = match project {
                Project::Xen => vec![hypervisor(&series.base.branch()?, &version, &tree, place)?],
                Project::Linux => {
                    let debians = match options.config {
                        Config::Debian => Some(debian_config(&series, &source.version, place)?),
                        Config::Lab => None,
                    };
                    kernel(&root, &version, &tree, place, debians.as_deref())?
                }
            };
            debs.iter().map(|deb| keep(deb, &out)).collect::<Result<Vec<_>>>()
        })?;
        for deb in made {
            println!("{}", deb.display());
        }
    }
    Ok(())
}

fn keep(deb: &Path, out: &Path) -> Result<PathBuf> {
    let to = out.join(deb.file_name().context("a package has a name")?);
    files::install(deb, &to, 0o644)?;
    Ok(to)
}

/// A package with the hypervisor alone: the tools are Debian's, which do not need to know of NoXS.
/// Its files have names of their own, so that it can be installed beside Debian's, whose entries in
/// GRUB's menu stay.
fn hypervisor(branch: &str, version: &str, tree: &Path, place: &Path) -> Result<PathBuf> {
    let step = Step::start("building the hypervisor");
    let out = place.join("build");
    build::xen(tree, &out, true)?;
    step.done();
    let name = format!("xen-hypervisor-{branch}-noxs-amd64");
    let package = place.join("package");
    files::install(
        &out.join("xen.gz"),
        &package.join(format!("boot/xen-{branch}-noxs-amd64.gz")),
        0o644,
    )?;
    files::install(
        &out.join(".config"),
        &package.join(format!("boot/xen-{branch}-noxs-amd64.config")),
        0o644,
    )?;
    let control = format!(
        "Package: {name}\n\
         Version: {version}\n\
         Architecture: amd64\n\
         Maintainer: Whoever built it <root@localhost>\n\
         Section: kernel\n\
         Priority: optional\n\
         Depends: xen-utils-{branch}\n\
         Recommends: grub-pc | grub-efi-amd64\n\
         Description: Xen hypervisor with NoXS\n \
         Debian's hypervisor with the patches of LightVM: guests find their devices in a page that\
         \n \
         the hypervisor keeps, without Xenstore. It is installed beside Debian's own.\n"
    );
    files::write(&package.join("DEBIAN/control"), control, 0o644)?;
    let script = "#!/bin/sh\nset -e\nif command -v update-grub >/dev/null && [ -d /boot/grub ]; \
                  then\n\tupdate-grub\nfi\n";
    for when in ["postinst", "postrm"] {
        files::write(&package.join("DEBIAN").join(when), script, 0o755)?;
    }
    let deb = place.join(format!("{name}_{version}_amd64.deb"));
    Tool::new("dpkg-deb")
        .args(["--root-owner-group", "--build"])
        .arg(&package)
        .arg(&deb)
        .log_on_failure()?;
    Ok(deb)
}

/// The kernel's own packages: the image with its modules, and the headers. Without `debians`
/// configuration it is the lab's.
fn kernel(
    root: &Path,
    version: &str,
    tree: &Path,
    place: &Path,
    debians: Option<&Path>,
) -> Result<Vec<PathBuf>> {
    let out = place.join("build");
    let fragments = root.join("linux-patches/config");
    let named = |names: &[&str]| names.iter().map(|name| fragments.join(name)).collect();
    let (configs, rest): (Vec<PathBuf>, _) = match debians {
        Some(debians) => {
            let ours: Vec<PathBuf> = named(&["package.config", "noxs.config"]);
            ([vec![debians.to_owned()], ours].concat(), build::Rest::Default)
        }
        None => {
            let ours = [Kernel::Host.fragments(), &["package.config"]].concat();
            (named(&ours), build::Rest::Off)
        }
    };
    build::configure(tree, &out, &configs, rest)?;
    let step = Step::start("building the kernel's packages");
    build::kernel(tree, &out, &["bindeb-pkg", &format!("KDEB_PKGVERSION={version}")])?;
    step.done();
    let mut debs = files::find_in(place, "deb")?;
    debs.retain(|deb| {
        let name = tree::shown(deb);
        name.starts_with("linux-image-") || name.starts_with("linux-headers-")
    });
    Ok(debs)
}

/// The configuration of Debian's own kernel, from the package that has them all: that of the same
/// version, or the newest one if the mirror has that no more.
fn debian_config(series: &Series, version: &str, place: &Path) -> Result<PathBuf> {
    let folder = place.join("config");
    fs::create_dir(&folder)?;
    let package = Package::Binary(format!("linux-config-{}", series.base.branch()?));
    let name = package.name();
    let archive = Archive::open_or_old(archive::FRESH)?;
    let versions = archive.versions(&package)?;
    let newest = versions
        .first()
        .with_context(|| format!("this machine's mirrors have no package {name} of {SUITE}"))?;
    let chosen = versions.iter().find(|other| *other == version).unwrap_or(newest);
    if chosen != version {
        eprintln!("the mirror has no {name} {version}: taking {chosen} instead");
    }
    archive.download(&package, chosen, &folder)?;
    let deb = files::find(&folder, "deb")?.pop().context("apt-get download brought no package")?;
    Tool::new("dpkg-deb").arg("--extract").arg(&deb).arg(&folder).log_on_failure()?;
    let packed = folder.join(format!("usr/src/{name}/config.amd64_none_amd64.xz"));
    Tool::new("unxz").arg(&packed).log_on_failure()?;
    Ok(packed.with_extension(""))
}
