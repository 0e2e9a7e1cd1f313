//! The programs that the suites are.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::table::{DEBUG, LAST, SUITES};
use crate::cache::Key;
use crate::install::{Programs, cargo, executables};
use crate::run::Tool;

/// The example of the library, which a suite runs as its users would.
pub(super) const EXAMPLE: &str = "run-guest";

/// Packages with unit tests that need root or devices of the host. Those are marked `#[ignore]`,
/// and dom0 runs them like a suite of the package's name.
pub(crate) const UNIT_TESTS: &[&str] = &["loopctl", "xendevd"];

/// Test programs without what depends on the checkout's place, and without what takes an emulated
/// machine longer to copy than to run.
#[derive(Debug)]
pub(crate) struct Built {
    programs: Programs,
    _dir: TempDir,
}

impl Built {
    /// Where the program `name` is.
    pub(super) fn get(&self, name: &str) -> Result<&Path> {
        let path = self.programs.get(name);
        Ok(path.with_context(|| format!("there is no suite {name} in lab-tests"))?.as_path())
    }

    /// Everything that the outcome of a suite depends on.
    pub(super) fn inputs(&self, name: &str, host: &Key) -> Result<Key> {
        let mut key = host.clone();
        for name in [name, EXAMPLE] {
            let path = self.get(name)?;
            let program =
                fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            key.add(name, program);
        }
        Ok(key)
    }

    /// The tests of a suite.
    pub(super) fn tests(&self, suite: &str) -> Result<Vec<String>> {
        let listed = Tool::new(self.get(suite)?).args(["--list", "--format", "terse"]).output()?;
        let names = listed.lines().filter_map(|line| line.strip_suffix(": test"));
        Ok(names.map(str::to_owned).collect())
    }
}

/// Builds what the suites run.
pub(crate) fn build(root: &Path) -> Result<Built> {
    let tests = cargo(root).args(["build", "--package", "lab-tests", "--tests"]);
    let mut programs = executables(tests, "test")?;
    // With lab-tests named, the library has the same features, and is not built once more.
    let packages = ["--package", "libh2", "--package", "lab-tests"];
    let example = cargo(root).arg("build").args(packages).args(["--example", EXAMPLE]);
    programs.extend(executables(example, "example")?);
    let packages = UNIT_TESTS.iter().flat_map(|package| ["--package", package]);
    let tests = cargo(root).args(["test", "--no-run", "--lib"]).args(packages);
    programs.extend(executables(tests, "lib")?);
    every_suite_has_a_host(&programs)?;
    stripped(programs)
}

/// What goes: the debugging information has the checkout's folder in it, and the build id is made
/// from that.
const STRIP: &[&str] = &["--strip-debug", "--remove-section=.note.gnu.build-id"];

/// Copies without the debugging information.
fn stripped(programs: Programs) -> Result<Built> {
    let dir = tempfile::tempdir()?;
    let mut stripped = Programs::new();
    for (name, from) in programs {
        let to = dir.path().join(&name);
        Tool::new("strip").args(STRIP).arg("-o").arg(&to).arg(from).log_on_failure()?;
        stripped.insert(name, to);
    }
    Ok(Built { programs: stripped, _dir: dir })
}

/// A suite that no host runs would be a test that cannot fail.
fn every_suite_has_a_host(programs: &Programs) -> Result<()> {
    let named = |name: &str| {
        [LAST, DEBUG, EXAMPLE].contains(&name) || SUITES.iter().any(|suite| suite.name == name)
    };
    let left: Vec<&str> = programs.keys().map(String::as_str).filter(|name| !named(name)).collect();
    ensure!(left.is_empty(), "no host runs the suites {}", left.join(", "));
    for suite in SUITES {
        ensure!(programs.contains_key(suite.name), "lab-tests has no suite {}", suite.name);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Programs, stripped};
    use crate::run::Tool;

    #[test]
    fn the_folder_that_a_program_was_built_in_is_not_in_its_copy() {
        let dir = tempfile::tempdir().unwrap();
        let built = ["one", "another/and/deeper"].map(|folder| {
            let folder = dir.path().join(folder);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("life.c"), "int main(void) { return 0; }\n").unwrap();
            let args = ["-g", "-Wl,--build-id", "life.c", "-o", "life"];
            Tool::new("gcc").args(args).dir(&folder).log_on_failure().unwrap();
            folder.join("life")
        });
        let read = |path: &std::path::Path| std::fs::read(path).unwrap();
        assert_ne!(read(&built[0]), read(&built[1]));
        let copies =
            built.map(|path| stripped(Programs::from([("life".to_owned(), path)])).unwrap());
        let [one, another] = copies.map(|copy| read(copy.get("life").unwrap()));
        assert_eq!(one, another);
    }
}
