//! Unsafe code stays where it may be, and each block says why it is sound.

use anyhow::Result;

use super::Tree;
use super::source::{self, Line};

/// Where unsafe code may be: the shared pages of NoXS, the bindings, h2's raw module, the ioctls of
/// loop devices, and the guests' runtime. A guest's own code needs none.
const ALLOWED: &[&str] =
    &["noxs/src/page.rs", "h2-sys/", "h2/src/raw", "loopctl/src/ioctl.rs", "guests/runtime/"];

pub(super) fn check(tree: &Tree) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    let mut unused = ALLOWED.to_vec();
    for (file, text) in tree.texts(".rs") {
        let lines = source::lines(&text);
        let place = ALLOWED.iter().find(|place| file.starts_with(**place));
        for (number, what) in uses(&lines, place.is_some()) {
            wrong.push(format!("{file}:{}: {what}", number + 1));
        }
        if keywords(&lines).next().is_some() {
            unused.retain(|other| Some(other) != place);
        }
    }
    wrong.extend(unused.iter().map(|place| {
        format!("{place}: has no unsafe code, but may (xtask/src/check/unsafe_code.rs)")
    }));
    Ok(wrong)
}

/// The line and the column of each keyword.
fn keywords(lines: &[Line]) -> impl Iterator<Item = (usize, usize)> {
    lines.iter().enumerate().flat_map(|(number, line)| {
        let found = line.code.match_indices("unsafe").map(move |(at, _)| (number, at));
        found.filter(|(_, at)| is_word(&line.code, *at))
    })
}

/// What is wrong, with the index of its line.
fn uses(lines: &[Line], allowed: bool) -> Vec<(usize, &'static str)> {
    let mut wrong = Vec::new();
    for (number, at) in keywords(lines) {
        let after = following(lines, number, at);
        if !allowed {
            wrong.push((number, "unsafe code has no place here"));
        } else if (after.starts_with('{') || after.starts_with("impl")) && !explained(lines, number)
        {
            wrong.push((number, "this unsafe code has no SAFETY comment directly above"));
        }
    }
    wrong
}

fn is_word(code: &str, at: usize) -> bool {
    let part = |char: char| char.is_alphanumeric() || char == '_';
    !code[..at].ends_with(part) && !code[at + "unsafe".len()..].starts_with(part)
}

/// What comes after the word, on its line or a later one.
fn following(lines: &[Line], number: usize, at: usize) -> String {
    let rest = &lines[number].code[at + "unsafe".len()..];
    let later = lines[number + 1..].iter().map(|line| line.code.as_str());
    [rest]
        .into_iter()
        .chain(later)
        .map(str::trim)
        .find(|text| !text.is_empty())
        .unwrap_or_default()
        .to_owned()
}

/// Whether the statement on this line has a SAFETY comment: on the line itself, or in the comment
/// that ends above it or above the statement's first line.
fn explained(lines: &[Line], number: usize) -> bool {
    let mut above = number;
    if lines[number].comment.contains("SAFETY:") {
        return true;
    }
    while above > 0 {
        above -= 1;
        let line = &lines[above];
        let code = line.code.trim();
        if line.comment.contains("SAFETY:") {
            return true;
        }
        // A statement that began further up, an attribute, or more of the comment.
        let open = code.is_empty() && !line.comment.is_empty()
            || code.starts_with("#[")
            || is_continued(code);
        if !open {
            return false;
        }
    }
    false
}

/// Whether a statement goes on behind this line of code.
fn is_continued(code: &str) -> bool {
    ["=", "(", ",", "&&", "||", "return", "=>", ".", "+", "-"].iter().any(|end| code.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::super::source::lines;
    use super::uses;

    #[test]
    fn unsafe_code_needs_a_place_and_a_reason() {
        let text = "// SAFETY: the pointer is ours\nlet x =\n    unsafe { *p };\n";
        assert_eq!(uses(&lines(text), true), []);
        assert_eq!(uses(&lines(text), false).len(), 1);
        assert_eq!(uses(&lines("let y = 1;\nunsafe { f() }"), true).len(), 1);
        assert_eq!(uses(&lines("// SAFETY: x\nlet y = 1;\nunsafe { f() }"), true).len(), 1);
        assert_eq!(uses(&lines("unsafe impl Send for X {}"), true).len(), 1);
    }

    #[test]
    fn only_the_keyword_counts() {
        assert_eq!(
            uses(&lines("#![forbid(unsafe_code)]\n// unsafe { }\nf(\"unsafe {\")"), false),
            []
        );
        assert_eq!(uses(&lines("pub unsafe fn f();\nunsafe extern \"C\" {}"), true), []);
    }
}
