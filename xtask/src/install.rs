//! `cargo xtask install`: our software in its places, for packagers, for the lab, and for a host of one's own.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::run::Tool;
use crate::{deps, files};

/// The completions as they are generated, and where Debian's shells look for them.
const COMPLETIONS: &[(&str, &str)] = &[
    ("chaos.bash", "bash-completion/completions/chaos"),
    ("_chaos", "zsh/vendor-completions/_chaos"),
    ("chaos.fish", "fish/vendor_completions.d/chaos.fish"),
];

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Install below this folder, as packagers do
    #[arg(long, value_name = "DIR", default_value = "/")]
    destdir: PathBuf,

    /// Where the software will be on the host
    #[arg(long, value_name = "DIR", default_value = "/usr/local")]
    prefix: PathBuf,
}

pub(crate) fn command(options: &Options) -> Result<()> {
    install(&options.destdir, &options.prefix)
}

/// Builds what is installed and puts it below `destdir`, for a host that finds it below `prefix`.
pub(crate) fn install(destdir: &Path, prefix: &Path) -> Result<()> {
    deps::ensure(deps::BUILD)?;
    let workspace = files::workspace()?;
    let place = destdir.join(prefix.strip_prefix("/").unwrap_or(prefix));
    cargo(&workspace).args(["build", "--quiet", "--release", "--package", "chaos-cli", "--bins"]).run()?;
    files::install(&files::target()?.join("release/chaos"), &place.join("bin/chaos"), 0o755)?;
    install_docs(&workspace, &place.join("share"))
}

/// The manual, the shells' completions and the examples.
fn install_docs(workspace: &Path, share: &Path) -> Result<()> {
    let made = tempfile::tempdir()?;
    // A program of its own, so that xtask can be built where the Xen headers are still missing.
    cargo(workspace)
        .args(["run", "--quiet", "--release", "--package", "chaos-cli", "--example", "gen-docs", "--"])
        .arg(made.path())
        .run()?;
    for page in files::sorted_dir(&made.path().join("man1"))? {
        files::install(&page, &share.join("man/man1").join(name(&page)), 0o644)?;
    }
    let completions = made.path().join("completions");
    for (made, place) in COMPLETIONS {
        files::install(&completions.join(made), &share.join(place), 0o644)?;
    }
    for example in files::sorted_dir(&workspace.join("docs/examples"))? {
        files::install(&example, &share.join("doc/lightvm/examples").join(name(&example)), 0o644)?;
    }
    Ok(())
}

fn name(path: &Path) -> &Path {
    Path::new(path.file_name().unwrap_or_default())
}

/// Cargo in the workspace, as we were started by it.
pub(crate) fn cargo(workspace: &Path) -> Tool {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    Tool::tied(cargo).dir(workspace)
}
