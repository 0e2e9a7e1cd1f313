//! Tests that are marked `#[ignore]`: each must be run somewhere else. The lab runs those of the
//! packages that `suites::UNIT_TESTS` names.

use anyhow::Result;

use super::Tree;
use crate::suites::UNIT_TESTS;

pub(super) fn check(tree: &Tree) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for (file, text) in tree.texts(".rs") {
        let package = file.split('/').next().unwrap_or_default();
        if !UNIT_TESTS.contains(&package) {
            wrong.extend(text.lines().zip(1..).filter(|(line, _)| is_ignored(line)).map(
                |(_, number)| {
                    format!("{file}:{number}: nobody runs this test: see suites::UNIT_TESTS")
                },
            ));
        }
    }
    Ok(wrong)
}

fn is_ignored(line: &str) -> bool {
    line.trim_start().starts_with("#[ignore")
}

#[cfg(test)]
mod tests {
    use super::is_ignored;

    #[test]
    fn the_attribute_is_found() {
        assert!(is_ignored("    #[ignore = \"needs root\"]") && is_ignored("#[ignore]"));
        assert!(!is_ignored("/// `#[ignore]` is"));
    }
}
