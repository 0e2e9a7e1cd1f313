//! What lies in a folder of patches: BASE, `series`, and the patches that it lists.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::archive::Package;
use crate::files;

/// What a series is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Project {
    /// The hypervisor
    Xen,
    /// The kernel, of dom0 and of guests
    Linux,
}

impl Project {
    fn folder(self) -> &'static str {
        match self {
            Project::Xen => "xen-patches",
            Project::Linux => "linux-patches",
        }
    }

    /// Whether the patches in `tree` have brought the switch of the configuration.
    pub(super) fn has_switch(self, tree: &Path) -> Result<bool> {
        let (file, switch) = match self {
            Project::Xen => ("xen/common/Kconfig", "config NOXS\n"),
            Project::Linux => ("drivers/xen/Kconfig", "config XEN_NOXS_BACKEND\n"),
        };
        let path = tree.join(file);
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(text.contains(switch))
    }

    /// The tests in noxs/tests/layout.rs that look at them. The hypervisor has no part in the
    /// ioctls.
    pub(super) fn layouts(self) -> &'static [&'static str] {
        match self {
            Project::Xen => &["xen_header"],
            Project::Linux => &["xen_header", "kernel_header"],
        }
    }

    /// The headers as the tests of `noxs` name them, and where the patched source has them.
    pub(super) fn headers(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Project::Xen => &[("noxs.h", "xen/include/public/io/noxs.h")],
            Project::Linux => &[
                ("noxs.h", "include/xen/interface/io/noxs.h"),
                ("noxs_backend.h", "include/uapi/xen/noxs_backend.h"),
            ],
        }
    }
}

/// The Debian package that a series is for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Base {
    pub(super) package: String,
    pub(super) version: String,
    /// SHA-256 and name of each of its files.
    pub(super) files: Vec<(String, String)>,
}

impl Base {
    /// The upstream series of releases, as in the names of Debian's packages: 4.17, 6.1.
    pub(super) fn branch(&self) -> Result<String> {
        branch(&self.version).with_context(|| format!("{} has no branch", self.version))
    }
}

#[derive(Debug)]
pub(super) struct Series {
    pub(super) project: Project,
    folder: PathBuf,
    pub(super) base: Base,
    /// In order.
    pub(super) patches: Vec<PathBuf>,
}

impl Series {
    /// Its folder, as one names it.
    pub(super) fn shown(&self) -> String {
        let version = self.folder.file_name().unwrap_or_default().to_string_lossy();
        format!("{}/{version}", self.project.folder())
    }

    /// What has the source in Debian's archive. The kernel's own source package is for Debian's
    /// build alone; there is a binary one with the source as it is built.
    pub(super) fn package(&self) -> Result<Package> {
        Ok(match self.project {
            Project::Xen => Package::Source(self.base.package.clone()),
            Project::Linux => Package::Binary(format!("linux-source-{}", self.base.branch()?)),
        })
    }
}

/// All that the checkout has.
pub(super) fn all(root: &Path) -> Result<Vec<Series>> {
    let mut all = Vec::new();
    for project in [Project::Xen, Project::Linux] {
        let folder = root.join(project.folder());
        if !folder.is_dir() {
            continue;
        }
        for folder in
            files::sorted_dir(&folder)?.into_iter().filter(|folder| folder.join("BASE").is_file())
        {
            all.push(read(project, folder)?);
        }
    }
    Ok(all)
}

/// The one for the newest base: the lab runs that.
pub(super) fn latest(root: &Path, project: Project) -> Result<Series> {
    let mut all = all(root)?;
    all.retain(|series| series.project == project);
    all.pop().with_context(|| format!("the checkout has no series in {}", project.folder()))
}

fn read(project: Project, folder: PathBuf) -> Result<Series> {
    let text = |name: &str| {
        let path = folder.join(name);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let base = base(&text("BASE")?)
        .with_context(|| format!("{} has no package and version", folder.join("BASE").display()))?;
    let patches: Vec<PathBuf> = text("series")?.lines().map(|name| folder.join(name)).collect();
    for there in files::find(&folder, "patch")? {
        if !patches.contains(&there) && !there.ends_with("0000-cover-letter.patch") {
            bail!("{} is not in the series", there.display());
        }
    }
    Ok(Series { project, folder, base, patches })
}

/// `PACKAGE VERSION`, then lines as sha256sum prints them.
fn base(text: &str) -> Option<Base> {
    let mut lines = text.lines();
    let (package, version) = lines.next()?.split_once(' ')?;
    let files = lines
        .filter_map(|line| line.split_once("  "))
        .map(|(sum, name)| (sum.to_owned(), name.to_owned()))
        .collect();
    Some(Base { package: package.to_owned(), version: version.to_owned(), files })
}

/// The first two numbers of a version.
fn branch(version: &str) -> Option<String> {
    let mut numbers = version.split(['.', '+', '-']);
    let (major, minor) = (numbers.next()?, numbers.next()?);
    Some(format!("{major}.{minor}"))
}

/// The types of checkpatch's complaints that a patch answers, in lines `checkpatch: TYPE: why`
/// between its `---` and its first file.
pub(super) fn excused(patch: &str) -> Vec<String> {
    let notes = patch
        .lines()
        .skip_while(|line| *line != "---")
        .take_while(|line| !line.starts_with("diff --git"));
    notes
        .filter_map(|line| line.strip_prefix("checkpatch: ")?.split_once(':'))
        .map(|(kind, _)| kind.to_owned())
        .collect()
}

/// Whether a patch changes nothing but what people read.
pub(super) fn only_documents(patch: &str) -> bool {
    let mut files = patch.lines().filter_map(|line| line.strip_prefix("diff --git a/")).peekable();
    files.peek().is_some()
        && files.all(|file| file.starts_with("docs/") || file.starts_with("Documentation/"))
}

#[cfg(test)]
mod tests {
    use super::{Base, base, branch, excused, only_documents};

    #[test]
    fn a_branch_is_two_numbers() {
        assert_eq!(branch("4.17.5+72-g01140da4e8-1").as_deref(), Some("4.17"));
        assert_eq!(branch("6.1.192-2").as_deref(), Some("6.1"));
        assert_eq!(branch("7"), None);
    }

    #[test]
    fn documents_are_told_from_what_is_built() {
        assert!(only_documents("diff --git a/docs/x.pandoc b/docs/x.pandoc\n"));
        assert!(!only_documents("diff --git a/docs/x b/docs/x\ndiff --git a/xen/x.c b/xen/x.c\n"));
        assert!(!only_documents("no patch at all\n"));
    }

    #[test]
    fn a_base_names_its_files() {
        let parsed = base("xen 4.17.5-1\n00ff  xen_4.17.5.orig.tar.xz\n").unwrap();
        let files = vec![("00ff".to_owned(), "xen_4.17.5.orig.tar.xz".to_owned())];
        assert_eq!(
            parsed,
            Base { package: "xen".to_owned(), version: "4.17.5-1".to_owned(), files }
        );
        assert_eq!(base("xen\n"), None);
    }

    #[test]
    fn excuses_stand_below_the_line() {
        let patch = "Subject: x\n\ncheckpatch: NO: here\n---\ncheckpatch: MACRO_ARG_REUSE: it is \
                     a constant\n 1 file changed\n\ndiff --git a b\ncheckpatch: NOR: here\n";
        assert_eq!(excused(patch), ["MACRO_ARG_REUSE"]);
    }
}
