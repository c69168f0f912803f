//! Questions to the syntax tree, the same for every kind of statement.

use squawk_syntax::{SyntaxKind, SyntaxNode, SyntaxToken};

/// A table as the files name it. `public` and no schema are the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TableName {
    schema: Option<String>,
    name: String,
}

impl TableName {
    /// Whether it is one of the server's own.
    pub fn is_of_the_catalogue(&self) -> bool {
        match &self.schema {
            Some(schema) => matches!(schema.as_str(), "pg_catalog" | "information_schema"),
            None => self.name.starts_with("pg_"),
        }
    }

    /// The same schema, another name: what `RENAME TO` makes.
    pub fn renamed(&self, name: String) -> Self {
        Self {
            schema: self.schema.clone(),
            name,
        }
    }
}

/// The first token that means something.
pub fn start(node: &SyntaxNode) -> usize {
    node.descendants_with_tokens()
        .filter_map(squawk_syntax::SyntaxElement::into_token)
        .find(|token| !token.kind().is_trivia())
        .map_or_else(
            || node.text_range().start(),
            |token| token.text_range().start(),
        )
        .into()
}

/// Whether a word stands in the node itself, not below it.
pub fn has_token(node: &SyntaxNode, kind: SyntaxKind) -> bool {
    node.children_with_tokens()
        .any(|child| child.kind() == kind)
}

/// A child of that kind.
pub fn child(node: &SyntaxNode, kind: SyntaxKind) -> Option<SyntaxNode> {
    node.children().find(|child| child.kind() == kind)
}

/// All nodes of that kind, below or at the node.
pub fn all(node: &SyntaxNode, kind: SyntaxKind) -> impl Iterator<Item = SyntaxNode> + use<> {
    node.descendants().filter(move |inner| inner.kind() == kind)
}

/// Whether there is such a node below or at this one.
pub fn contains(node: &SyntaxNode, kind: SyntaxKind) -> bool {
    all(node, kind).next().is_some()
}

/// An identifier as the server understands it.
pub fn identifier(token: &SyntaxToken) -> String {
    let text = token.text();
    match text
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
    {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => text.to_lowercase(),
    }
}

/// The names in a path, outermost first.
pub fn segments(node: &SyntaxNode) -> Vec<String> {
    node.descendants()
        .filter(|inner| {
            matches!(
                inner.kind(),
                SyntaxKind::PATH_SEGMENT | SyntaxKind::PATH_SEGMENT_REF
            )
        })
        .filter_map(|segment| words(&segment).next().map(|token| identifier(&token)))
        .collect()
}

/// The tokens of a node without blanks and comments.
pub fn words(node: &SyntaxNode) -> impl Iterator<Item = SyntaxToken> + use<> {
    node.descendants_with_tokens()
        .filter_map(squawk_syntax::SyntaxElement::into_token)
        .filter(|token| !token.kind().is_trivia())
}

/// The only name in a node.
pub fn name(node: &SyntaxNode) -> Option<String> {
    words(node).next().map(|token| identifier(&token))
}

/// The table that a node names.
pub fn table(node: &SyntaxNode) -> Option<TableName> {
    let mut names = segments(node);
    let name = names.pop()?;
    let schema = names.pop().filter(|schema| schema != "public");
    Some(TableName { schema, name })
}

/// Where a table is named.
const NAMES: [SyntaxKind; 3] = [
    SyntaxKind::TABLE_NAME_REF,
    SyntaxKind::RELATION_NAME_REF,
    SyntaxKind::TABLE_NAME,
];

/// The tables that a statement changes: all of a list, otherwise the first one that it names.
pub fn targets(statement: &SyntaxNode) -> Vec<TableName> {
    let with = child(statement, SyntaxKind::WITH_CLAUSE).map(|with| with.text_range());
    let mut named = statement
        .descendants()
        .filter(|node| NAMES.contains(&node.kind()))
        .filter(|node| with.is_none_or(|with| !with.contains_range(node.text_range())))
        .filter_map(|node| table(&node));
    match statement.kind() {
        SyntaxKind::DROP_TABLE | SyntaxKind::TRUNCATE | SyntaxKind::LOCK => named.collect(),
        SyntaxKind::ALTER_TABLE
        | SyntaxKind::ALTER_FOREIGN_TABLE
        | SyntaxKind::CREATE_TABLE
        | SyntaxKind::CREATE_TABLE_AS
        | SyntaxKind::CREATE_INDEX
        | SyntaxKind::CREATE_TRIGGER
        | SyntaxKind::CREATE_POLICY
        | SyntaxKind::CREATE_RULE
        | SyntaxKind::DROP_TRIGGER
        | SyntaxKind::DROP_POLICY
        | SyntaxKind::UPDATE
        | SyntaxKind::DELETE
        | SyntaxKind::INSERT
        | SyntaxKind::MERGE => named.next().into_iter().collect(),
        _ => Vec::new(),
    }
}

/// Whether a statement of the node's kind and options cannot run inside a transaction.
pub fn demands_own_transaction(statement: &SyntaxNode) -> bool {
    match statement.kind() {
        SyntaxKind::VACUUM
        | SyntaxKind::CREATE_DATABASE
        | SyntaxKind::DROP_DATABASE
        | SyntaxKind::CREATE_TABLESPACE
        | SyntaxKind::DROP_TABLESPACE
        | SyntaxKind::ALTER_SYSTEM => true,
        _ => is_concurrent(statement),
    }
}

/// `CONCURRENTLY`, where it means that.
pub fn is_concurrent(statement: &SyntaxNode) -> bool {
    matches!(
        statement.kind(),
        SyntaxKind::CREATE_INDEX
            | SyntaxKind::DROP_INDEX
            | SyntaxKind::REINDEX
            | SyntaxKind::ALTER_TABLE
    ) && words(statement).any(|token| token.kind() == SyntaxKind::CONCURRENTLY_KW)
}
