//! Rules for the text of files: their length, and what they must not name.

use anyhow::Result;

use super::Tree;

/// A source file that is longer than this holds more than one thing.
const MAX_LINES: usize = 500;

/// The columns of a line of Rust, and of a Markdown page.
const MAX_COLUMNS: usize = 100;
const MAX_PAGE_COLUMNS: usize = 120;

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
        wrong.extend(
            long_lines(file, &text)
                .map(|(number, length)| format!("{file}:{number}: {length} columns")),
        );
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

/// The number and the length of each line that is too long. Tables and what stands between fences,
/// a drawing or the output of a program, is as wide as it has to be, in pages and in comments.
fn long_lines(file: &str, text: &str) -> impl Iterator<Item = (usize, usize)> {
    let (page, most) = match file.rsplit_once('.') {
        Some((_, "rs")) => (false, MAX_COLUMNS),
        Some((_, "md")) => (true, MAX_PAGE_COLUMNS),
        _ => (false, usize::MAX),
    };
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(number, line)| {
        let bare = line.trim_start();
        let comment = bare.strip_prefix("//!").or_else(|| bare.strip_prefix("///"));
        let prose = if page { Some(bare) } else { comment.map(str::trim_start) };
        // A fence does not outlive its comment.
        fenced &= prose.is_some();
        let fence = prose.is_some_and(|prose| prose.starts_with("```"));
        let free = fenced || fence || prose.is_some_and(|prose| prose.starts_with('|'));
        fenced ^= fence;
        let length = line.chars().count();
        (length > most && !free && !is_one_word(line)).then_some((number + 1, length))
    })
}

/// Whether there is no place to break a line at: a link, behind an indentation or a list's mark.
fn is_one_word(line: &str) -> bool {
    let rest = line.trim_start_matches([' ', '*', '-', '/', '!']);
    !rest.contains(' ') && rest.contains("](")
}

/// Whether `line` has `path` as the beginning of an absolute path.
fn names_path(line: &str, path: &str) -> bool {
    let part = |char: char| char.is_alphanumeric() || "_-.)}".contains(char);
    line.match_indices(path).any(|(at, _)| !line[..at].ends_with(part))
}

#[cfg(test)]
mod tests {
    use super::{MACHINE_PATH, long_lines, names_path};

    fn lengths(file: &str, text: &str) -> Vec<(usize, usize)> {
        long_lines(file, text).collect()
    }

    #[test]
    fn lines_have_their_length() {
        let long = "x ".repeat(60);
        assert_eq!(lengths("a.rs", &format!("a\n{long}\n")), [(2, 120)]);
        assert_eq!(lengths("a.md", &format!("{long}\n{long}y\n")), [(2, 121)]);
        assert_eq!(lengths("a.c", &long), []);
    }

    #[test]
    fn drawings_tables_and_links_are_as_wide_as_they_are() {
        let long = "x ".repeat(70);
        let fenced = format!("```text\n{long}\n```\n{long}\n");
        assert_eq!(lengths("a.md", &fenced), [(4, 140)]);
        let comment = fenced.lines().map(|line| format!("//! {line}\n")).collect::<String>();
        assert_eq!(lengths("a.rs", &comment), [(4, 144)]);
        // One that was not closed ends with its comment.
        assert_eq!(lengths("a.rs", &format!("//! ```text\nfn x() {{}}\n{long}\n")), [(3, 140)]);
        assert_eq!(lengths("a.md", &format!("| {long} |\n")), []);
        assert_eq!(lengths("a.md", &format!("- [x]({})\n", "y".repeat(130))), []);
    }

    #[test]
    fn only_an_absolute_path_is_a_machines() {
        let path = MACHINE_PATH.join("/");
        assert!(names_path(&format!("see {path}main"), &path));
        assert!(names_path(&format!("\"{path}main\""), &path));
        assert!(!names_path(&format!("target{path}main"), &path));
    }
}
