//! How many rows a statement changes, as far as it can be seen.

use squawk_syntax::{SyntaxKind, SyntaxNode};

use crate::{Raw, tree};

/// Looks at UPDATE, DELETE, MERGE, INSERT … SELECT and CREATE TABLE AS.
pub fn look(statement: &SyntaxNode) -> Option<Raw> {
    let at = tree::start(statement);
    match statement.kind() {
        SyntaxKind::UPDATE => changed(statement, "unbounded-update", at),
        SyntaxKind::DELETE => changed(statement, "unbounded-delete", at),
        SyntaxKind::MERGE => Some(Raw::new("unseen-rows", at)),
        SyntaxKind::INSERT => copied(statement, at),
        SyntaxKind::CREATE_TABLE_AS | SyntaxKind::SELECT_INTO => copied(statement, at),
        _ => None,
    }
}

fn changed(statement: &SyntaxNode, unbounded: &str, at: usize) -> Option<Raw> {
    let Some(condition) = tree::child(statement, SyntaxKind::WHERE_CLAUSE) else {
        return Some(Raw::new(unbounded, at));
    };
    let Some(expression) = condition.children().next() else {
        return Some(Raw::new(unbounded, at));
    };
    match parts(&expression).iter().map(bound).min() {
        Some(Bound::Limit) => None,
        Some(Bound::Value) => Some(Raw::new("rows-by-value", at)),
        _ => Some(Raw::new("unseen-rows", at)),
    }
}

/// What bounds the rows of a condition, the best first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Bound {
    Limit,
    Value,
    None,
}

/// The conditions that all have to hold.
fn parts(expression: &SyntaxNode) -> Vec<SyntaxNode> {
    match expression.kind() {
        SyntaxKind::BIN_EXPR if tree::has_token(expression, SyntaxKind::AND_KW) => expression
            .children()
            .flat_map(|side| parts(&side))
            .collect(),
        SyntaxKind::PAREN_EXPR => match expression.children().next() {
            Some(inner) => parts(&inner),
            None => Vec::new(),
        },
        _ => vec![expression.clone()],
    }
}

fn bound(part: &SyntaxNode) -> Bound {
    let is = |kind| tree::has_token(part, kind);
    match part.kind() {
        SyntaxKind::BIN_EXPR if is(SyntaxKind::IN_KW) || is(SyntaxKind::EQ) => {
            if tree::contains(part, SyntaxKind::LIMIT_CLAUSE)
                || tree::contains(part, SyntaxKind::FETCH_CLAUSE)
            {
                Bound::Limit
            } else if part
                .children()
                .last()
                .is_some_and(|value| is_constant(&value))
            {
                Bound::Value
            } else {
                Bound::None
            }
        }
        SyntaxKind::BETWEEN_EXPR
            if !is(SyntaxKind::NOT_KW) && part.children().skip(1).all(|end| is_constant(&end)) =>
        {
            Bound::Value
        }
        _ => Bound::None,
    }
}

/// Whether a value stands there: a literal, a list of them, a cast of one.
fn is_constant(value: &SyntaxNode) -> bool {
    !tree::contains(value, SyntaxKind::NAME_REF)
        && !tree::contains(value, SyntaxKind::SELECT)
        && !tree::contains(value, SyntaxKind::CALL_EXPR)
}

fn copied(statement: &SyntaxNode, at: usize) -> Option<Raw> {
    // WITH NO DATA, and what comes from VALUES or from a function, is as long as it is written.
    if tree::words(statement).any(|word| word.kind() == SyntaxKind::DATA_KW)
        && tree::words(statement).any(|word| word.kind() == SyntaxKind::NO_KW)
    {
        return None;
    }
    let reads = tree::contains(statement, SyntaxKind::RELATION_FROM_ITEM)
        || tree::contains(statement, SyntaxKind::TABLE);
    let is_limited = tree::contains(statement, SyntaxKind::LIMIT_CLAUSE)
        || tree::contains(statement, SyntaxKind::FETCH_CLAUSE);
    if !reads || is_limited {
        return None;
    }
    let condition = tree::all(statement, SyntaxKind::WHERE_CLAUSE).next();
    let best = condition
        .and_then(|condition| condition.children().next())
        .and_then(|expression| parts(&expression).iter().map(bound).min());
    match best {
        Some(Bound::Limit) => None,
        Some(Bound::Value) => Some(Raw::new("rows-by-value", at)),
        _ => Some(Raw::new("unbounded-insert", at)),
    }
}
