//! Rules for the text of files: their length, and what they must not name.

use anyhow::Result;

use super::Tree;

/// A source file that is longer than this holds more than one thing.
const MAX_LINES: usize = 500;

/// Hosts of package registries, in parts so that this file may be in the tree itself. A checkout
/// works with whatever mirrors a machine has.
const HOSTS: &[&[&str]] = &[
    &["deb", "debian", "org"],
    &["security", "debian", "org"],
    &["snapshot", "debian", "org"],
    &["ftp", "debian", "org"],
    &["crates", "io"],
    &["pypi", "org"],
    &["pythonhosted", "org"],
    &["npmjs", "org"],
    &["npmjs", "com"],
];

/// A folder of the machines that we develop on.
const MACHINE_PATH: &[&str] = &["", "work", ""];

/// What git leaves around the two sides of a conflict.
const CONFLICT: &[&str] = &["<<<<<<< ", ">>>>>>> "];

/// Cargo writes the name of its registry into lock files, and reads it there.
const EXEMPT: &str = "Cargo.lock";

pub(super) fn check(tree: &Tree) -> Result<Vec<String>> {
    let hosts: Vec<String> = HOSTS.iter().map(|parts| parts.join(".")).collect();
    let path = MACHINE_PATH.join("/");
    let mut wrong = Vec::new();
    for (file, text) in tree.texts("") {
        let lines = text.lines().count();
        if file.ends_with(".rs") && lines > MAX_LINES {
            wrong.push(format!("{file}: {lines} lines, more than {MAX_LINES}"));
        }
        if file.ends_with(EXEMPT) {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let at = format!("{file}:{}", number + 1);
            if let Some(host) = hosts.iter().find(|host| line.contains(host.as_str())) {
                wrong.push(format!("{at}: names the host {host}"));
            }
            if names_path(line, &path) {
                wrong.push(format!("{at}: names a path of one machine"));
            }
            if CONFLICT.iter().any(|mark| line.starts_with(mark)) {
                wrong.push(format!("{at}: a merge was not finished"));
            }
        }
    }
    Ok(wrong)
}

/// Whether `line` has `path` as the beginning of an absolute path.
fn names_path(line: &str, path: &str) -> bool {
    let part = |char: char| char.is_alphanumeric() || "_-.)}".contains(char);
    line.match_indices(path).any(|(at, _)| !line[..at].ends_with(part))
}

#[cfg(test)]
mod tests {
    use super::{MACHINE_PATH, names_path};

    #[test]
    fn only_an_absolute_path_is_a_machines() {
        let path = MACHINE_PATH.join("/");
        assert!(names_path(&format!("see {path}main"), &path));
        assert!(names_path(&format!("\"{path}main\""), &path));
        assert!(!names_path(&format!("target{path}main"), &path));
    }
}
