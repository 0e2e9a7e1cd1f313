//! Text of others as it may be shown: without what a terminal would obey.

/// `text` without escape sequences and control characters; tabs stay.
pub(crate) fn plain(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        match character {
            '\x1b' => skip_sequence(&mut rest),
            '\t' => kept.push(character),
            _ if character.is_control() => {}
            _ => kept.push(character),
        }
    }
    kept
}

/// Takes what belongs to an ESC that has been read (ECMA-48): a control sequence, a string such as
/// a window's title, or a short escape.
fn skip_sequence(rest: &mut std::str::Chars<'_>) {
    match rest.next() {
        Some('[') => {
            rest.find(|character| ('@'..='~').contains(character));
        }
        Some(']' | 'P' | '_' | '^' | 'X') => {
            while let Some(character) = rest.next() {
                match character {
                    '\x07' => return,
                    // ST, the end of a string, is ESC and a backslash.
                    '\x1b' => {
                        rest.next();
                        return;
                    }
                    _ => {}
                }
            }
        }
        Some(' '..='/') => {
            rest.find(|character| !(' '..='/').contains(character));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn what_a_terminal_would_obey_is_gone() {
        // As SeaBIOS begins, and as cargo colours.
        assert_eq!(plain("\x1bc\x1b[?7l\x1b[2J\x1b[0mSeaBIOS\r"), "SeaBIOS");
        assert_eq!(plain("\x1b[1;31merror\x1b[0m:\ttext"), "error:\ttext");
        assert_eq!(plain("\x1b]0;title\x07a\x1b]0;title\x1b\\b\x1b(Bc\x08"), "abc");
        assert_eq!(plain("cut \x1b[12"), "cut ");
        assert_eq!(plain("cut \x1b"), "cut ");
        assert_eq!(plain("Grüße"), "Grüße");
    }
}
