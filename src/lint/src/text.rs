//! What is read from the text itself: what the parser never sees, or must not see.

use std::collections::BTreeSet;

use squawk_lexer::{LiteralKind, TokenKind, tokenize};

use crate::Raw;

/// Brackets and CASE in one another. People's SQL stays below 20; the parser can bear some thousand.
const DEEPEST: usize = 200;

/// What was read.
pub struct Scanned {
    /// The text with the comments that switch rules off blanked out, each byte in its place.
    pub clean: String,
    pub found: Vec<Raw>,
    /// What comments say is meant so.
    pub ignores: Ignores,
    pub can_be_parsed: bool,
}

/// Rules that comments switch off.
#[derive(Default)]
pub struct Ignores {
    all: bool,
    file: BTreeSet<String>,
    lines: BTreeSet<(usize, String)>,
}

impl Ignores {
    /// Whether a comment covers a finding: one of the file, or one in its line or the line before.
    pub fn covers(&self, line: usize, rule: &str) -> bool {
        let at = |line: usize| self.lines.contains(&(line, rule.to_owned()));
        self.all || self.file.contains(rule) || at(line) || line.checked_sub(1).is_some_and(at)
    }
}

/// Where lines begin.
pub struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub fn new(text: &'a str) -> Self {
        let after = text.match_indices('\n').map(|(at, _)| at + 1);
        Self {
            text,
            starts: std::iter::once(0).chain(after).collect(),
        }
    }

    /// Line and column of a byte, both from 1.
    pub fn place(&self, at: usize) -> (usize, usize) {
        let line = self.starts.partition_point(|start| *start <= at);
        let start = self.starts[line.saturating_sub(1)];
        let before = self.text.get(start..at.min(self.text.len()));
        (
            line.max(1),
            before.map_or(0, |text| text.chars().count()) + 1,
        )
    }
}

/// Reads a text.
pub fn scan(text: &str) -> Scanned {
    let lines = Lines::new(text);
    let mut scanned = Scanned {
        clean: text.to_owned(),
        found: Vec::new(),
        ignores: Ignores::default(),
        can_be_parsed: true,
    };
    let mut blank = Vec::new();
    let (mut at, mut depth, mut line_is_empty) = (0, 0_usize, true);
    for token in tokenize(text) {
        let end = (at + token.len as usize).min(text.len());
        let word = text.get(at..end).unwrap_or_default();
        match token.kind {
            TokenKind::LineComment | TokenKind::BlockComment { .. }
                if comment(word, lines.place(at).0, at, &mut scanned) =>
            {
                blank.push(at..end);
            }
            TokenKind::Literal {
                kind: LiteralKind::DollarQuotedString { .. },
            } if is_too_deep(word) => deep(at, &mut scanned),
            TokenKind::OpenParen | TokenKind::OpenBracket => {
                depth += 1;
                if depth == DEEPEST {
                    deep(at, &mut scanned);
                }
            }
            TokenKind::CloseParen | TokenKind::CloseBracket => depth = depth.saturating_sub(1),
            TokenKind::Ident if word.eq_ignore_ascii_case("case") => {
                depth += 1;
                if depth == DEEPEST {
                    deep(at, &mut scanned);
                }
            }
            TokenKind::Ident if word.eq_ignore_ascii_case("end") => depth = depth.saturating_sub(1),
            TokenKind::Semi => depth = 0,
            _ if word.starts_with('\\') && line_is_empty => {
                let rest = text[at..].lines().next().unwrap_or(word);
                let command = rest.split_whitespace().next().unwrap_or(rest);
                let raw = Raw::new("psql-command", at).saying(command);
                scanned.found.push(raw);
                blank.push(at..at + rest.len());
            }
            _ => {}
        }
        line_is_empty = match token.kind {
            TokenKind::Whitespace => line_is_empty || word.contains('\n'),
            TokenKind::LineComment | TokenKind::BlockComment { .. } => line_is_empty,
            _ => false,
        };
        at = end;
    }
    for range in blank {
        let spaces: String = scanned.clean[range.clone()]
            .bytes()
            .map(|byte| if byte == b'\n' { '\n' } else { ' ' })
            .collect();
        scanned.clean.replace_range(range, &spaces);
    }
    scanned
}

fn deep(at: usize, scanned: &mut Scanned) {
    scanned.can_be_parsed = false;
    scanned.found.push(Raw::new("nested-too-deeply", at));
}

/// The same of a function's body, which is parsed as well.
fn is_too_deep(quoted: &str) -> bool {
    let Some(body) = quoted
        .find('$')
        .and_then(|from| quoted[from + 1..].find('$').map(|to| from + 1 + to + 1))
        .and_then(|start| quoted.get(start..))
    else {
        return false;
    };
    let mut depth = 0_usize;
    let mut at = 0;
    tokenize(body).any(|token| {
        let end = (at + token.len as usize).min(body.len());
        at = end;
        match token.kind {
            TokenKind::OpenParen | TokenKind::OpenBracket => depth += 1,
            TokenKind::CloseParen | TokenKind::CloseBracket => depth = depth.saturating_sub(1),
            TokenKind::Semi => depth = 0,
            _ => {}
        }
        depth >= DEEPEST
    })
}

/// Whether a comment is one that squawk obeys; what it says is kept.
fn comment(word: &str, line: usize, at: usize, scanned: &mut Scanned) -> bool {
    let body = word
        .strip_prefix("--")
        .or_else(|| {
            word.strip_prefix("/*")
                .and_then(|rest| rest.strip_suffix("*/"))
        })
        .unwrap_or_default()
        .trim_start();
    if body.starts_with("squawk-disable-assume-in-transaction") {
        scanned.found.push(Raw::new("comment-without-effect", at));
        return true;
    }
    let body = body.find("--").map_or(body, |end| &body[..end]).trim_end();
    let (names, whole_file) = if let Some(names) = body.strip_prefix("squawk-ignore-file") {
        (names, true)
    } else if let Some(names) = body.strip_prefix("squawk-ignore") {
        (names, false)
    } else {
        return false;
    };
    let names: Vec<_> = names
        .split(',')
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .collect();
    match (whole_file, names.is_empty()) {
        (true, true) => scanned.ignores.all = true,
        (true, false) => scanned.ignores.file.extend(names),
        (false, true) => scanned.found.push(Raw::new("comment-without-effect", at)),
        (false, false) => {
            // A comment over several lines speaks for the line where it begins.
            let names = names.into_iter().map(|name| (line, name));
            scanned.ignores.lines.extend(names);
        }
    }
    true
}
