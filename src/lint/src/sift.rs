//! What of squawk's findings matters here.

use squawk_linter::Violation;
use squawk_syntax::{SyntaxKind, SyntaxNode};

use crate::{
    Phase, Raw, Severity,
    catalogue::{self, Concerns},
    known::Known,
    own, tree,
};

/// Takes out what is about new tables, what is said twice, and what is another thing here.
pub fn sift(
    told: Vec<Violation>,
    statements: &[SyntaxNode],
    first: usize,
    known: &Known,
    phase: Phase,
) -> Vec<Raw> {
    told.into_iter()
        .filter_map(|violation| {
            let start = violation.text_range.start();
            let index = statements.partition_point(|one| one.text_range().end() <= start);
            let statement = statements.get(index)?;
            one(
                &violation,
                statement,
                first + index,
                statements,
                known,
                phase,
            )
        })
        .collect()
}

fn one(
    violation: &Violation,
    statement: &SyntaxNode,
    number: usize,
    statements: &[SyntaxNode],
    known: &Known,
    phase: Phase,
) -> Option<Raw> {
    let rule = violation.code.to_string();
    let range = violation.text_range;
    let entry = catalogue::entry(&rule)?;
    if entry.concerns == Concerns::TablesInUse && known.are_new(&tree::targets(statement), number) {
        return None;
    }
    let within = |kind| {
        tree::all(statement, kind).any(|node| {
            node.text_range().contains_range(range) || range.contains_range(node.text_range())
        })
    };
    let mut raw = Raw::new(&rule, range.start().into());
    match rule.as_str() {
        // Said better by the rule of the constraint's own kind.
        "constraint-missing-not-valid"
            if within(SyntaxKind::VALIDATE_CONSTRAINT)
                || within(SyntaxKind::UNIQUE_CONSTRAINT)
                || within(SyntaxKind::PRIMARY_KEY_CONSTRAINT)
                || within(SyntaxKind::FOREIGN_KEY_CONSTRAINT) =>
        {
            return None;
        }
        "constraint-missing-not-valid" if within(SyntaxKind::EXCLUDE_CONSTRAINT) => {
            "exclude-constraint".clone_into(&mut raw.rule);
        }
        // Old code does not know a new column: it stays NULL, or has its default.
        "ban-new-write-restriction"
            if within(SyntaxKind::ADD_COLUMN)
                || own::is_on_new_columns(statement, number, known) =>
        {
            return None;
        }
        // varchar may become longer, or text, without a rewrite.
        "changing-column-type" if may_only_widen(statement, &within) => {
            raw = raw.saying("unless it is varchar so far, and not longer");
            raw.severity = Some(Severity::CannotJudge);
        }
        // As squawk has it within a file.
        "adding-not-nullable-field"
            if tree::targets(statement)
                .iter()
                .all(|table| known.is_validated(table, number)) =>
        {
            return None;
        }
        "renaming-table"
            if matches!(phase, Phase::Contract | Phase::Revert)
                && own::name_is_taken_over(statement, statements) =>
        {
            return None;
        }
        _ => {}
    }
    Some(raw)
}

fn may_only_widen(statement: &SyntaxNode, within: &impl Fn(SyntaxKind) -> bool) -> bool {
    let mut types = tree::all(statement, SyntaxKind::SET_TYPE).peekable();
    within(SyntaxKind::SET_TYPE)
        && types.peek().is_some()
        && types.all(|node| {
            let text: String = tree::words(&node)
                .map(|word| word.text().to_lowercase() + " ")
                .collect();
            !tree::contains(&node, SyntaxKind::USING_EXPR)
                && ["type text ", "type varchar ", "type character varying "]
                    .iter()
                    .any(|to| text.contains(to))
        })
}
