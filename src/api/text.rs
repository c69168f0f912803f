//! Text of others, before it is repeated in a status or an Event.

/// The most letters of it that are repeated. A status is written as a whole: one text that is too
/// large for the API server would silence all of it.
const LONGEST: usize = 1024;

/// The text as it may be repeated: at most [`LONGEST`] letters, and none that a terminal would
/// obey or that hides others.
#[must_use]
pub(crate) fn bounded(text: &str) -> String {
    let mut safe = String::with_capacity(text.len().min(LONGEST));
    let mut letters = text.chars();
    for letter in letters.by_ref().take(LONGEST) {
        match letter {
            '\n' | '\t' => safe.push(letter),
            letter if letter.is_control() || turns(letter) => safe.extend(letter.escape_unicode()),
            letter => safe.push(letter),
        }
    }
    match letters.count() {
        0 => {}
        more => safe.push_str(&format!("… ({more} characters more)")),
    }
    safe
}

/// Whether a letter changes the direction in which the text around it is shown.
const fn turns(letter: char) -> bool {
    matches!(letter, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{200E}' | '\u{200F}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_and_says_so() {
        assert_eq!(bounded("as it is\n\tü"), "as it is\n\tü");
        let long = "ü".repeat(240_000);
        let cut = bounded(&long);
        assert!(cut.chars().count() < LONGEST + 40, "{}", cut.len());
        assert!(cut.ends_with("ü… (238976 characters more)"));
    }

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        let told = bounded("a\u{1b}[2Jb\rc\u{202e}d\u{0}");
        assert_eq!(told, "a\\u{1b}[2Jb\\u{d}c\\u{202e}d\\u{0}");
    }
}
