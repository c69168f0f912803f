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
    let sides: Vec<_> = part.children().collect();
    match part.kind() {
        SyntaxKind::BIN_EXPR if is(SyntaxKind::IN_KW) || is(SyntaxKind::EQ) => {
            let (Some(left), Some(right)) = (sides.first(), sides.last()) else {
                return Bound::None;
            };
            // A comparison with one row of a query says nothing about how many are equal to it.
            let is_of_many = is(SyntaxKind::IN_KW)
                || tree::words(right).any(|word| word.kind() == SyntaxKind::ANY_KW);
            if is_constant(left) {
                Bound::None
            } else if is_of_many && is_limited(right) {
                Bound::Limit
            } else if is_constant(right) {
                Bound::Value
            } else {
                Bound::None
            }
        }
        SyntaxKind::BETWEEN_EXPR
            if !is(SyntaxKind::NOT_KW)
                && sides.first().is_some_and(|side| !is_constant(side))
                && sides.iter().skip(1).all(is_constant) =>
        {
            Bound::Value
        }
        _ => Bound::None,
    }
}

/// The most rows of a batch: what is locked for about half a second at worst.
const BATCH: u64 = 10_000;

/// Whether the outermost query below a node ends after so many rows.
fn is_limited(node: &SyntaxNode) -> bool {
    let query = node.descendants().find(|inner| {
        matches!(
            inner.kind(),
            SyntaxKind::SELECT | SyntaxKind::COMPOUND_SELECT
        )
    });
    query.is_some_and(|query| {
        query
            .children()
            .filter(|tail| {
                matches!(
                    tail.kind(),
                    SyntaxKind::LIMIT_CLAUSE | SyntaxKind::FETCH_CLAUSE
                )
            })
            .filter_map(|tail| tree::child(&tail, SyntaxKind::LITERAL))
            .filter_map(|literal| literal.text().to_string().trim().parse::<u64>().ok())
            .any(|most| most <= BATCH)
    })
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
    if !reads || is_limited(statement) {
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
