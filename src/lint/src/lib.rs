//! What a statement of a schema change would do to users, by the phase that it stands in.
//!
//! [`lint`] judges one text, [`lint_files`] the files of a phase in their order. Both are pure: no
//! file, no clock, no process. Two things are the caller's:
//!
//! - **A process of its own.** The parser can end a process (a statement that is nested deeply
//!   enough exhausts the stack) or take much memory. Whoever lints SQL that he did not write starts
//!   a process, limits it, writes a [`wire::Request`] to its standard input and gives what comes
//!   back to [`wire::Session`], which says what is left to do. The process calls [`wire::serve`].
//! - **What to do about it.** [`Finding::blocks`] says whether a finding needs somebody: an error,
//!   or what cannot be judged and so needs an approval.
//!
//! How it is done: `text` reads what the parser never sees (commands of psql, comments that switch
//! rules off, nesting), squawk's parser and rules do the most, `own` adds what squawk does not
//! look at, `sift` takes out what does not matter here, and `catalogue` says of each rule how bad it
//! is in which phase, what it means for users, and the safe way.

mod body;
pub mod catalogue;
mod known;
mod own;
mod reading;
mod rows;
mod sift;
mod text;
mod tree;
pub mod wire;

#[cfg(test)]
mod cases;
#[cfg(test)]
mod corpus;
#[cfg(test)]
mod properties;

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::{Deserialize, Serialize};
use squawk_linter::{Linter, Rule};
use squawk_syntax::{SourceFile, SyntaxKind, ast::AstNode as _};

use catalogue::Entry;
use known::Known;

/// The phase that a file belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Before everything: it only reads.
    Preflight,
    /// Before the new code: nothing that breaks the old code or holds a lock for long.
    Expand,
    /// Beside both: rows only.
    Backfill,
    /// After the last old pod: drops are allowed, long locks are not.
    Contract,
    /// After the last new pod: like `Contract`.
    Revert,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// Users would notice, or it cannot run.
    Error,
    /// It cannot be seen what it does: somebody has to read and approve it.
    CannotJudge,
    /// Worth knowing.
    Warning,
}

/// A file of a phase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// What findings call it.
    pub name: String,
    /// The SQL.
    pub text: String,
}

/// What was found at one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The name of the [`Source`].
    pub file: String,
    /// The rule: squawk's name where it is squawk's.
    pub rule: String,
    /// How bad it is in this phase.
    pub severity: Severity,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What happens to users.
    pub message: String,
    /// What to do instead.
    pub safe_way: String,
    /// The page that shows it, as a path in the project.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipe: Option<String>,
    /// A comment of the file (`-- squawk-ignore …`) says that it is meant so.
    #[serde(default, skip_serializing_if = "is_false")]
    pub suppressed: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde asks for")]
const fn is_false(value: &bool) -> bool {
    !*value
}

impl Finding {
    /// Whether the phase may not run without somebody's doing.
    #[must_use]
    pub fn blocks(&self) -> bool {
        !self.suppressed && self.severity <= Severity::CannotJudge
    }
}

/// Something at a place, before it is known what it means in this phase.
struct Raw {
    rule: String,
    /// Bytes from the beginning.
    at: usize,
    /// Said after the rule's own message.
    detail: Option<String>,
    /// In the place of the rule's own.
    severity: Option<Severity>,
}

impl Raw {
    fn new(rule: &str, at: usize) -> Self {
        Self {
            rule: rule.to_owned(),
            at,
            detail: None,
            severity: None,
        }
    }

    fn saying(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}

/// The findings in one text, in order.
///
/// Run it in a process of its own unless you wrote the SQL: see the [crate].
#[must_use]
pub fn lint(sql: &str, phase: Phase) -> Vec<Finding> {
    let source = Source {
        name: "-".to_owned(),
        text: sql.to_owned(),
    };
    lint_files(&[source], phase)
}

/// The findings in all files of a phase, which run in this order: a table that one of them creates
/// is new to those after it.
#[must_use]
pub fn lint_files(files: &[Source], phase: Phase) -> Vec<Finding> {
    let mut known = Known::default();
    files
        .iter()
        .flat_map(|file| lint_file(file, phase, &mut known))
        .collect()
}

fn lint_file(file: &Source, phase: Phase, known: &mut Known) -> Vec<Finding> {
    let scanned = text::scan(&file.text);
    let mut found = scanned.found;
    if scanned.can_be_parsed {
        // The parser has been seen to panic on text that is no SQL.
        let judged = catch_unwind(AssertUnwindSafe(|| judge(&scanned.clean, phase, known)));
        found.extend(judged.unwrap_or_else(|_| vec![Raw::new("cannot-be-parsed", 0)]));
    }
    found.sort_by(|a, b| (a.at, &a.rule).cmp(&(b.at, &b.rule)));
    found.dedup_by(|a, b| a.at == b.at && a.rule == b.rule);
    let lines = text::Lines::new(&file.text);
    let mut findings = Vec::new();
    for raw in found {
        let Some(entry) = catalogue::entry(&raw.rule) else {
            continue;
        };
        let own = raw.severity.filter(|_| phase != Phase::Preflight);
        let Some(severity) = own.or_else(|| entry.severity(phase)) else {
            continue;
        };
        let (line, column) = lines.place(raw.at);
        findings.push(Finding {
            file: file.name.clone(),
            rule: raw.rule.clone(),
            severity,
            line,
            column,
            message: message(entry, raw.detail.as_deref()),
            safe_way: entry.safe_way.to_owned(),
            recipe: entry.recipe.map(|page| format!("docs/recipes/{page}.md")),
            suppressed: entry.may_be_suppressed() && scanned.ignores.covers(line, &raw.rule),
        });
    }
    findings
}

fn message(entry: &Entry, detail: Option<&str>) -> String {
    match detail {
        Some(detail) => format!("{}: {detail}", entry.message),
        None => entry.message.to_owned(),
    }
}

/// What the parsed text shows.
fn judge(sql: &str, phase: Phase, known: &mut Known) -> Vec<Raw> {
    let parsed = SourceFile::parse(sql);
    let lines = text::Lines::new(sql);
    let mut found: Vec<Raw> = parsed
        .errors()
        .iter()
        .map(|error| Raw::new("syntax-error", error.range().start().into()).saying(error.message()))
        .collect();
    // The first of a line is the one that helps.
    found.dedup_by_key(|raw| lines.place(raw.at).0);
    let statements: Vec<_> = parsed
        .tree()
        .stmts()
        .map(|statement| statement.syntax().clone())
        .collect();
    let is_empty = statements
        .iter()
        .all(|statement| statement.kind() == SyntaxKind::EMPTY_STMT);
    if is_empty && found.is_empty() {
        found.push(Raw::new("empty-file", 0));
        return found;
    }
    let in_transaction = !statements.iter().any(tree::demands_own_transaction);
    let first = known.read(&statements);

    // A new one for each file: it remembers.
    let all: Vec<Rule> = catalogue::squawk_rules();
    let mut linter = Linter::with_rules(&all, &[]);
    // What is new, and what lasts until the end of a transaction, is looked at here.
    linter.settings.assume_in_transaction = false;
    let told = linter.lint(&parsed, sql);
    found.extend(sift::sift(told, &statements, first, known, phase));
    found.extend(own::look(&statements, first, in_transaction, known));
    if phase == Phase::Preflight {
        found.extend(reading::look(&statements));
    }
    found
}
