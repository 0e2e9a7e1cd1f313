//! Tells Rust code from its comments and strings.

/// One line of a source file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// The line with comments and the contents of literals left out.
    pub(super) code: String,
    /// The comment on the line.
    pub(super) comment: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Code,
    LineComment,
    BlockComment(usize),
    Text { hashes: Option<usize> },
}

/// Splits `text` into lines of code and comment.
pub(super) fn lines(text: &str) -> Vec<Line> {
    let chars: Vec<char> = text.chars().collect();
    let mut lines = Vec::new();
    let mut line = Line { code: String::new(), comment: String::new() };
    let mut state = State::Code;
    let mut at = 0;
    while let Some(&char) = chars.get(at) {
        if char == '\n' {
            lines.push(std::mem::replace(
                &mut line,
                Line { code: String::new(), comment: String::new() },
            ));
            if state == State::LineComment {
                state = State::Code;
            }
            at += 1;
            continue;
        }
        let rest = &chars[at..];
        let mut step = 1;
        match state {
            State::Code => {
                if rest.starts_with(&['/', '/']) {
                    line.comment.push(char);
                    state = State::LineComment;
                } else if rest.starts_with(&['/', '*']) {
                    state = State::BlockComment(1);
                    step = 2;
                } else if let Some(hashes) = raw_string(rest, line.code.chars().last()) {
                    state = State::Text { hashes: Some(hashes) };
                    step = hashes + 2;
                } else if char == '"' {
                    state = State::Text { hashes: None };
                } else if let Some(length) = character(rest) {
                    step = length;
                } else {
                    line.code.push(char);
                }
            }
            State::LineComment => line.comment.push(char),
            State::BlockComment(depth) => {
                if rest.starts_with(&['*', '/']) {
                    state = if depth == 1 { State::Code } else { State::BlockComment(depth - 1) };
                    step = 2;
                } else if rest.starts_with(&['/', '*']) {
                    state = State::BlockComment(depth + 1);
                    step = 2;
                } else {
                    line.comment.push(char);
                }
            }
            State::Text { hashes: None } if char == '\\' => {
                // A line that ends in a backslash ends all the same.
                step = if rest.get(1) == Some(&'\n') { 1 } else { 2 };
            }
            State::Text { hashes } => {
                let hashes = hashes.unwrap_or(0);
                if char == '"'
                    && rest[1..].iter().take(hashes).filter(|next| **next == '#').count() == hashes
                {
                    state = State::Code;
                    step = 1 + hashes;
                }
            }
        }
        at += step;
    }
    lines.push(line);
    lines
}

/// The number of # of a raw string that begins here.
fn raw_string(rest: &[char], before: Option<char>) -> Option<usize> {
    if rest.first() != Some(&'r')
        || before.is_some_and(|char| {
            (char.is_alphanumeric() || char == '_') && char != 'b' && char != 'c'
        })
    {
        return None;
    }
    let hashes = rest[1..].iter().take_while(|char| **char == '#').count();
    (rest.get(1 + hashes) == Some(&'"')).then_some(hashes)
}

/// The length of a character literal that begins here; a lifetime is none.
fn character(rest: &[char]) -> Option<usize> {
    if rest.first() != Some(&'\'') {
        return None;
    }
    if rest.get(1) == Some(&'\\') {
        let end = rest.iter().skip(3).position(|char| *char == '\'')?;
        return Some(end + 4);
    }
    (rest.get(2) == Some(&'\'')).then_some(3)
}

#[cfg(test)]
mod tests {
    use super::lines;

    fn code(text: &str) -> String {
        lines(text).into_iter().map(|line| line.code).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn comments_and_literals_are_not_code() {
        assert_eq!(code("a // unsafe\nb /* unsafe /* x */ */ c"), "a \nb  c");
        assert_eq!(code("f(\"unsafe \\\" {\") + 1"), "f() + 1");
        assert_eq!(code("r#\"unsafe \" {\"# ; br\"x\" d"), " ; b d");
        assert_eq!(code("'{' '\\'' '\\u{7f}' &'a str"), "   &'a str");
        assert_eq!(code("\"one\ntwo\" three"), "\n three");
    }

    #[test]
    fn a_comment_stays_with_its_line() {
        let read = lines("// SAFETY: x\nunsafe {}");
        assert_eq!(read[0].comment, "// SAFETY: x");
        assert_eq!(read[1].code, "unsafe {}");
    }
}
