//! Who may import whom (docs/ARCHITECTURE.md): each package names what it may use of the workspace,
//! and whatever is not named is wrong.

use anyhow::{Context, Result};
use serde_json::Value;

use super::Tree;
use crate::install::cargo;

/// From low to high. h2-fake may be anybody's dev-dependency and nobody's else.
const LAYERS: &[(&str, &[&str])] = &[
    ("noxs", &[]),
    ("h2-sys", &[]),
    ("libh2", &["h2-sys", "noxs"]),
    ("h2-fake", &["libh2", "noxs"]),
    ("loopctl", &[]),
    ("xendevd", &["libh2", "loopctl"]),
    ("chaos-cli", &["libh2"]),
    ("guest-runtime", &["noxs"]),
    ("noop", &["guest-runtime"]),
    ("hello", &["guest-runtime"]),
    ("daytime", &["guest-runtime"]),
    ("blkcheck", &["guest-runtime"]),
    ("scribble", &["guest-runtime"]),
    ("mute", &["guest-runtime"]),
    ("lab-tests", &["libh2"]),
    // Has to build on a machine that has nothing of Xen yet.
    ("xtask", &[]),
];

const FAKE: &str = "h2-fake";

pub(super) fn check(tree: &Tree) -> Result<Vec<String>> {
    let text =
        cargo(&tree.root).args(["metadata", "--no-deps", "--format-version", "1"]).output()?;
    let metadata: Value = serde_json::from_str(&text).context("cargo metadata is not JSON")?;
    let packages = metadata["packages"].as_array().context("cargo metadata names no packages")?;
    let mut wrong = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let manifest = package["manifest_path"].as_str().unwrap_or_default();
        let text =
            std::fs::read_to_string(manifest).with_context(|| format!("cannot read {manifest}"))?;
        if !inherits_lints(&text) {
            wrong.push(format!("{name}: Cargo.toml does not inherit the workspace's lints"));
        }
        let Some((_, allowed)) = LAYERS.iter().find(|(layer, _)| *layer == name) else {
            wrong.push(format!("{name}: has no place in the layers (xtask/src/check/layers.rs)"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let used = dependency["name"].as_str().unwrap_or_default();
            if let Some(what) = judge(used, dependency["kind"].as_str(), allowed) {
                wrong.push(format!("{name}: {what}"));
            }
        }
    }
    Ok(wrong)
}

/// What is wrong with a dependency on `used`, of a kind as cargo metadata names it (none: a normal
/// one).
fn judge(used: &str, kind: Option<&str>, allowed: &[&str]) -> Option<String> {
    let ours = LAYERS.iter().any(|(layer, _)| *layer == used);
    let for_tests = kind == Some("dev");
    match used {
        FAKE if for_tests => None,
        FAKE => Some(format!("{used} may only be a dev-dependency")),
        // Nobody else sees the raw bindings, not even in tests.
        "h2-sys" if !allowed.contains(&used) => Some(format!("may not depend on {used}")),
        _ if ours && !for_tests && !allowed.contains(&used) => {
            Some(format!("may not depend on {used}"))
        }
        _ => None,
    }
}

fn inherits_lints(manifest: &str) -> bool {
    let mut lines = manifest.lines().map(str::trim).skip_while(|line| *line != "[lints]").skip(1);
    lines.find(|line| !line.is_empty() && !line.starts_with('#')) == Some("workspace = true")
}

#[cfg(test)]
mod tests {
    use super::{inherits_lints, judge};

    #[test]
    fn a_dependency_is_judged_by_layer_and_kind() {
        assert!(judge("h2-sys", None, &["libh2"]).is_some());
        assert!(judge("h2-sys", Some("dev"), &["libh2"]).is_some());
        assert!(judge("libh2", None, &["libh2"]).is_none());
        assert!(judge("h2-fake", Some("dev"), &[]).is_none());
        assert!(judge("h2-fake", Some("build"), &[]).is_some());
        assert!(judge("serde", None, &[]).is_none());
    }

    #[test]
    fn lints_are_inherited_in_their_own_section() {
        assert!(inherits_lints("[package]\n[lints]\nworkspace = true\n"));
        assert!(!inherits_lints("[lints]\n[dependencies]\nworkspace = true\n"));
    }
}
