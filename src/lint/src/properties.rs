//! What holds for every text.

use proptest::{
    collection::vec,
    prelude::{Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest},
    sample::select,
};
use squawk_lexer::{TokenKind, tokenize};

use crate::{Phase, cases::found, corpus::CASES, lint};

/// Words that statements are made of, so that random ones come close to real ones.
const WORDS: &[&str] = &[
    "ALTER",
    "TABLE",
    "ADD",
    "COLUMN",
    "DROP",
    "CREATE",
    "INDEX",
    "CONCURRENTLY",
    "ON",
    "users",
    "id",
    "bigint",
    "(",
    ")",
    ",",
    ";",
    "UPDATE",
    "SET",
    "=",
    "1",
    "WHERE",
    "IN",
    "SELECT",
    "FROM",
    "LIMIT",
    "DO",
    "$$",
    "BEGIN",
    "END",
    "'",
    "\"",
    "--",
    "/*",
    "*/",
    "\n",
    "\\",
    "CASE",
    "WHEN",
    "FUNCTION",
    "RETURNS",
    "LANGUAGE",
    "plpgsql",
    "AS",
    "NOT",
    "NULL",
    "VALID",
    "VALIDATE",
    "CONSTRAINT",
    "CHECK",
    "RENAME",
    "TO",
    "COPY",
    "STDIN",
    "squawk-ignore-file",
    "ü",
    "\u{feff}",
    "U&'",
    "E'\\",
    "::",
    ".",
    "[",
    "]",
    "EXECUTE",
    "IF",
    "EXISTS",
    "CASCADE",
    "DEFAULT",
];

fn texts() -> impl Strategy<Value = String> {
    let words = vec(select(WORDS), 0..60).prop_map(|words| words.join(" "));
    let glued = vec(select(WORDS), 0..40).prop_map(|words| words.concat());
    // A real statement, with a piece of it gone and another one in its place.
    let broken = (select(CASES), any::<(usize, usize)>(), select(WORDS)).prop_map(
        |((sql, ..), (from, to), word)| {
            let signs: Vec<char> = sql.chars().collect();
            let from = from % (signs.len() + 1);
            let to = from + to % (signs.len() - from + 1).min(12);
            let kept = |signs: &[char]| signs.iter().collect::<String>();
            format!(
                "{} {word} {}",
                kept(&signs[..from]),
                kept(&signs[to.min(signs.len())..])
            )
        },
    );
    prop_oneof![words, glued, broken, any::<String>()]
}

/// What may stand between two words.
fn gaps() -> impl Strategy<Value = Vec<&'static str>> {
    let gap = select(vec![
        " ",
        "\n",
        "\r\n\t",
        " /* x */ ",
        " -- x\n",
        "/* DROP /* nested */ */ ",
        " -- '; \"\n",
    ]);
    vec(gap, 64)
}

proptest! {
    #[test]
    fn every_text_gets_an_answer_that_lies_within_it(text in texts()) {
        for phase in [Phase::Expand, Phase::Contract] {
            for finding in lint(&text, phase) {
                let line = text.split('\n').nth(finding.line - 1);
                let length = line.map(|line| line.chars().count());
                prop_assert!(length.is_some_and(|length| finding.column <= length + 1), "{finding:?}");
                prop_assert!(!finding.message.is_empty());
            }
        }
    }

    /// Comments and line breaks hide nothing, and make nothing.
    #[test]
    fn what_stands_between_words_does_not_matter((sql, expand, contract) in select(CASES), gaps in gaps()) {
        if !sql.starts_with('\\') {
            let (mut at, mut gaps) = (0, gaps.into_iter().cycle());
            let mut text = String::new();
            for token in tokenize(sql) {
                let end = at + token.len as usize;
                match token.kind {
                    TokenKind::Whitespace => text += gaps.next().unwrap_or(" "),
                    _ => text += &sql[at..end],
                }
                at = end;
            }
            // One word may be told at two places of a line, and at one of several lines.
            let told = |phase| {
                let mut rules: Vec<_> = found(&text, phase).split(", ").map(str::to_owned).collect();
                rules.sort();
                rules.dedup();
                rules.join(", ")
            };
            let sorted = |rules: &str| {
                let mut rules: Vec<_> = rules.split(", ").collect();
                rules.sort_unstable();
                rules.join(", ")
            };
            prop_assert_eq!(told(Phase::Expand), sorted(expand), "{}", text);
            prop_assert_eq!(told(Phase::Contract), sorted(contract), "{}", text);
        }
    }
}
