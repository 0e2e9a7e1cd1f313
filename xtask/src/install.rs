//! `cargo xtask install`: our software in its places, for packagers, for the lab, and for a host of
//! one's own.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::run::Tool;
use crate::{deps, files};

/// What the completions are called as they are generated, and where Debian's shells look for them;
/// {} is the program.
const COMPLETIONS: &[(&str, &str)] = &[
    ("{}.bash", "bash-completion/completions/{}"),
    ("_{}", "zsh/vendor-completions/_{}"),
    ("{}.fish", "fish/vendor_completions.d/{}.fish"),
];

/// Programs: name, package, folder below the prefix.
const PROGRAMS: &[(&str, &str, &str)] =
    &[("chaos", "chaos-cli", "bin"), ("xendevd", "xendevd", "sbin")];

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Install below this folder, as packagers do
    #[arg(long, value_name = "DIR", default_value = "/")]
    destdir: PathBuf,

    /// Where the software will be on the host
    #[arg(long, value_name = "DIR", default_value = "/usr/local")]
    prefix: PathBuf,
}

/// Builds as whoever calls, and copies as root: through sudo, for a user's own host.
pub(crate) fn command(options: &Options) -> Result<()> {
    let staged = tempfile::tempdir()?;
    install(staged.path(), &options.prefix)?;
    let destdir = &options.destdir;
    let copy = if destdir == Path::new("/") && !deps::is_root() {
        println!("copying to {} and /etc/xen as root, through sudo", options.prefix.display());
        deps::as_root("sh")?
    } else {
        fs::create_dir_all(destdir)
            .with_context(|| format!("cannot make {}", destdir.display()))?;
        Tool::new("sh")
    };
    // Removed first, since a program that runs cannot be written to.
    const COPY: &str = r#"umask 022 && cp --recursive --remove-destination -- "$1/." "$2""#;
    copy.args(["-c", COPY, "sh"]).arg(staged.path()).arg(destdir).run()
}

/// Builds what is installed and puts it below `destdir`, for a host that finds it below `prefix`.
pub(crate) fn install(destdir: &Path, prefix: &Path) -> Result<()> {
    deps::ensure(deps::BUILD)?;
    let workspace = files::workspace()?;
    let place = destdir.join(prefix.strip_prefix("/").unwrap_or(prefix));
    let mut build = cargo(&workspace).args(["build", "--quiet", "--release", "--bins"]);
    for (_, package, _) in PROGRAMS {
        build = build.args(["--package", package]);
    }
    build.run()?;
    for (program, _, folder) in PROGRAMS {
        files::install(
            &files::target()?.join("release").join(program),
            &place.join(folder).join(program),
            0o755,
        )?;
    }
    install_daemon(&workspace.join("xendevd"), destdir, prefix)?;
    install_docs(&workspace, &place.join("share"))
}

/// What goes with xendevd: its unit, and the script that libxl runs for devices that it serves.
fn install_daemon(from: &Path, destdir: &Path, prefix: &Path) -> Result<()> {
    let place = destdir.join(prefix.strip_prefix("/").unwrap_or(prefix));
    let adapted = |name: &str| -> Result<String> {
        let path = from.join(name);
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(text
            .replace("/usr/local/sbin/xendevd", &prefix.join("sbin/xendevd").display().to_string()))
    };
    files::write(
        &place.join("lib/systemd/system/xendevd.service"),
        adapted("xendevd.service")?,
        0o644,
    )?;
    // Where libxl looks for scripts that are named without a folder.
    files::write(&destdir.join("etc/xen/scripts/xendevd-hook"), adapted("xendevd-hook")?, 0o755)
}

/// The manual, the shells' completions, the examples, and the pages on the daemon.
fn install_docs(workspace: &Path, share: &Path) -> Result<()> {
    for (program, package, _) in PROGRAMS {
        let made = tempfile::tempdir()?;
        // A program of its own, so that xtask can be built where the Xen headers are still missing.
        cargo(workspace)
            .args([
                "run",
                "--quiet",
                "--release",
                "--package",
                package,
                "--example",
                "gen-docs",
                "--",
            ])
            .arg(made.path())
            .run()?;
        for section in files::sorted_dir(made.path())?
            .iter()
            .filter(|dir| name(dir).to_string_lossy().starts_with("man"))
        {
            for page in files::sorted_dir(section)? {
                files::install(
                    &page,
                    &share.join("man").join(name(section)).join(name(&page)),
                    0o644,
                )?;
            }
        }
        for (made_as, place) in COMPLETIONS {
            let from = made.path().join("completions").join(made_as.replace("{}", program));
            files::install(&from, &share.join(place.replace("{}", program)), 0o644)?;
        }
    }
    let docs = share.join("doc/lightvm");
    for page in files::find(&workspace.join("docs"), "md")? {
        files::install(&page, &docs.join(name(&page)), 0o644)?;
    }
    for example in files::sorted_dir(&workspace.join("docs/examples"))? {
        files::install(&example, &docs.join("examples").join(name(&example)), 0o644)?;
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

/// Programs by name.
pub(crate) type Programs = BTreeMap<String, PathBuf>;

/// What a command of cargo builds of one kind of target: `bin`, `test`, `example`.
pub(crate) fn executables(command: Tool, kind: &str) -> Result<Programs> {
    let messages =
        command.args(["--quiet", "--message-format", "json-render-diagnostics"]).output()?;
    let mut programs = Programs::new();
    for line in messages.lines() {
        let message: Value =
            serde_json::from_str(line).context("cargo printed something that is not JSON")?;
        let target = &message["target"];
        if target["kind"][0] == kind
            && let (Some(name), Some(path)) =
                (target["name"].as_str(), message["executable"].as_str())
        {
            programs.insert(name.to_owned(), PathBuf::from(path));
        }
    }
    Ok(programs)
}
