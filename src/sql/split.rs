//! Text to statements, by PostgreSQL's grammar, with the kind of each one.

use std::{collections::BTreeSet, thread};

use squawk_lexer::TokenKind;
use squawk_syntax::{
    SourceFile, SyntaxKind,
    ast::{self, AstNode, Stmt},
};

use crate::script::{Index, Kind, Statement};

/// As deep as parentheses may nest: the grammar is read by recursion, and its time grows faster
/// than the depth.
const DEEP: usize = 500;
/// Enough for text of the largest size, however it recurses. Only what is used counts as memory.
const STACK: usize = 256 * 1024 * 1024;

/// The line of a byte, from 1.
pub fn line(text: &str, at: usize) -> usize {
    let before = text.as_bytes().get(..at).unwrap_or(text.as_bytes());
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}

/// The statements of a text.
pub fn statements(text: &str) -> Result<Vec<Statement>, Objection> {
    aside(text, split)
}

/// Whether a piece of SQL that is put into a statement stays what it is there: `frame` is the
/// statement, with the piece in it.
pub fn fits(piece: &str, frame: &str) -> Result<(), String> {
    let words = |objection: Objection| objection.message;
    aside(piece, |piece| skim(piece).map(|_| ())).map_err(words)?;
    let statements = aside(frame, split).map_err(words)?;
    if statements.len() == 1 {
        Ok(())
    } else {
        Err("it is more than one expression".into())
    }
}

/// Why a text is refused, and where.
pub struct Objection {
    pub reason: &'static str,
    pub message: String,
    pub at: usize,
    /// From 1; 0 where it is not known.
    pub statement: usize,
}

fn object(reason: &'static str, at: usize, message: impl Into<String>) -> Objection {
    Objection {
        reason,
        message: message.into(),
        at,
        statement: 1,
    }
}

/// Runs the reading in a thread of its own: deep text finds the end of a usual stack, and a panic
/// of the grammar means that the text cannot be read.
fn aside<T: Send + 'static>(
    text: &str,
    read: fn(&str) -> Result<T, Objection>,
) -> Result<T, Objection> {
    let own = text.to_owned();
    let answer = thread::Builder::new()
        .stack_size(STACK)
        .spawn(move || {
            // Its words would be about the grammar's inside.
            read(&own)
        })
        .map(thread::JoinHandle::join);
    match answer {
        Ok(Ok(result)) => result,
        _ => Err(object(
            "SyntaxError",
            0,
            "the grammar gave up on this text; take it to pieces to find what it is",
        )),
    }
}

fn split(text: &str) -> Result<Vec<Statement>, Objection> {
    let backslash = skim(text)?;
    let parsed = SourceFile::parse(text);
    let mut statements = Vec::new();
    let mut refused = None;
    let (mut counted, mut number) = (0, 1);
    for stmt in parsed
        .tree()
        .stmts()
        .filter(|stmt| !matches!(stmt, Stmt::EmptyStmt(_)))
    {
        let range = stmt.syntax().text_range();
        let at = usize::from(range.start());
        number += line(text.get(counted..at).unwrap_or_default(), usize::MAX) - 1;
        counted = at;
        match kind(&stmt, text) {
            Ok(kind) => statements.push(Statement {
                text: text
                    .get(at..usize::from(range.end()))
                    .unwrap_or_default()
                    .trim_end_matches(';')
                    .to_owned(),
                line: number,
                kind,
                owned: owned(&stmt),
            }),
            Err((reason, message)) if refused.is_none() => {
                let mut objection = object(reason, at, message);
                objection.statement = statements.len() + 1;
                refused = Some(objection);
            }
            Err(_) => {}
        }
    }
    // The first one counts: what follows a COPY, or a line that is psql's, is not SQL.
    let syntax = parsed.errors().into_iter().next().map(|error| {
        let mut objection = object(
            "SyntaxError",
            error.range().start().into(),
            format!("syntax error: {}", error.message()),
        );
        let line = line(text, objection.at);
        let before = statements.iter().filter(|statement| statement.line < line);
        objection.statement = 1 + before.count().saturating_sub(1);
        objection
    });
    if let Some(objection) = [refused, backslash, syntax]
        .into_iter()
        .flatten()
        .min_by_key(|objection| objection.at)
    {
        return Err(objection);
    }
    // What is in no statement would be dropped in silence.
    for element in parsed.syntax_node().children_with_tokens() {
        let kind = element.kind();
        let known = Stmt::can_cast(kind)
            || matches!(
                kind,
                SyntaxKind::WHITESPACE | SyntaxKind::COMMENT | SyntaxKind::SEMICOLON
            );
        if !known {
            return Err(object(
                "SyntaxError",
                element.text_range().start().into(),
                "this is part of no statement",
            ));
        }
    }
    Ok(statements)
}

/// What the tokens tell before the grammar is asked: how deep they nest, and the first backslash.
fn skim(text: &str) -> Result<Option<Objection>, Objection> {
    let (mut at, mut depth, mut backslash) = (0, 0_usize, None);
    for token in squawk_lexer::tokenize(text) {
        let end = at + token.len as usize;
        match token.kind {
            TokenKind::OpenParen | TokenKind::OpenBracket => depth += 1,
            TokenKind::CloseParen | TokenKind::CloseBracket => {
                let Some(less) = depth.checked_sub(1) else {
                    return Err(object(
                        "SyntaxError",
                        at,
                        "syntax error: a parenthesis is closed that was not opened",
                    ));
                };
                depth = less;
            }
            TokenKind::Unknown
                if backslash.is_none()
                    && text
                        .get(at..end)
                        .is_some_and(|token| token.starts_with('\\')) =>
            {
                let rest = text.get(at..).unwrap_or_default();
                let command: String = rest
                    .chars()
                    .take_while(|letter| !letter.is_whitespace())
                    .take(20)
                    .collect();
                backslash = Some(object(
                    "PsqlCommand",
                    at,
                    format!(
                        "`{command}` is a command of psql, and not SQL: write what it does as SQL, or leave it out"
                    ),
                ));
            }
            _ => {}
        }
        if depth > DEEP {
            return Err(object(
                "TooDeep",
                at,
                format!("more than {DEEP} parentheses are open"),
            ));
        }
        at = end;
    }
    Ok(backslash)
}

type Refusal = (&'static str, String);

fn refuse<T>(reason: &'static str, message: &str) -> Result<T, Refusal> {
    Err((reason, message.to_owned()))
}

fn kind(stmt: &Stmt, text: &str) -> Result<Kind, Refusal> {
    match stmt {
        Stmt::Begin(_)
        | Stmt::Commit(_)
        | Stmt::Rollback(_)
        | Stmt::SavepointCreate(_)
        | Stmt::ReleaseSavepoint(_)
        | Stmt::PrepareTransaction(_)
        | Stmt::SetTransaction(_) => refuse(
            "OwnTransaction",
            "the runner makes the transactions, together with its ledger: take BEGIN, COMMIT and the \
             like out. `transaction: File` or `Statement` says what is one transaction",
        ),
        Stmt::SetRole(_)
        | Stmt::SetSessionAuth(_)
        | Stmt::ResetRole(_)
        | Stmt::ResetSessionAuth(_) => refuse(
            "SessionRole",
            "the role belongs to the connection: add `options=-c%20role%3DOWNER` to its URI",
        ),
        Stmt::Set(set) => setting(set),
        Stmt::Reset(_) => Ok(Kind::Setting),
        Stmt::Discard(_) => refuse(
            "Refused",
            "DISCARD takes the runner's lock away: use RESET for a setting",
        ),
        Stmt::Copy(_) if has(stmt, SyntaxKind::COPY_STDIN) => refuse(
            "CopyFromStdin",
            "COPY FROM STDIN has no input here: use INSERT, or load the rows from the application",
        ),
        Stmt::Copy(_) if has(stmt, SyntaxKind::COPY_STDOUT) => refuse(
            "Refused",
            "COPY TO STDOUT would print rows, and nobody reads them here",
        ),
        Stmt::CreateDatabase(_)
        | Stmt::DropDatabase(_)
        | Stmt::AlterSystem(_)
        | Stmt::CreateTablespace(_)
        | Stmt::DropTablespace(_)
        | Stmt::CreateSubscription(_)
        | Stmt::DropSubscription(_) => refuse(
            "Refused",
            "this changes the server and not this database's schema, and cannot be undone with the rest: \
             let whoever runs the server do it",
        ),
        Stmt::CreateIndex(index) if index.concurrently_token().is_some() => concurrent(index, text),
        Stmt::DropIndex(drop) if drop.concurrently_token().is_some() => {
            let mut names = drop.index_refs();
            match (names.next(), names.next()) {
                (Some(name), None) => Ok(Kind::DropIndex {
                    name: name.syntax().text().to_string(),
                    if_exists: drop.if_exists().is_some(),
                }),
                _ => refuse(
                    "Refused",
                    "DROP INDEX CONCURRENTLY takes one index a statement",
                ),
            }
        }
        Stmt::Reindex(_)
            if ["CONCURRENTLY", "DATABASE", "SCHEMA", "SYSTEM"]
                .iter()
                .any(|word| says(stmt, word)) =>
        {
            Ok(Kind::Outside)
        }
        Stmt::Vacuum(_) => Ok(Kind::Outside),
        Stmt::AlterTable(alter) => {
            let mut actions = alter.actions().peekable();
            let any = actions.peek().is_some();
            let mut all = any;
            for action in actions {
                match action {
                    ast::AlterTableAction::ValidateConstraint(_) => {}
                    ast::AlterTableAction::DetachPartition(detach)
                        if matches!(
                            detach.detach_partition_option(),
                            Some(ast::DetachPartitionOption::DetachConcurrently(_))
                        ) =>
                    {
                        return Ok(Kind::Outside);
                    }
                    _ => all = false,
                }
            }
            Ok(if all { Kind::Validate } else { Kind::Plain })
        }
        _ => Ok(Kind::Plain),
    }
}

fn setting(set: &ast::Set) -> Result<Kind, Refusal> {
    let words: Vec<String> = set
        .syntax()
        .text()
        .to_string()
        .split(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .take(4)
        .map(str::to_ascii_lowercase)
        .collect();
    let local = words.get(1).is_some_and(|word| word == "local");
    let name = words.get(
        if local || words.get(1).is_some_and(|word| word == "session") {
            2
        } else {
            1
        },
    );
    match name.map(String::as_str) {
        Some("role" | "session_authorization") => refuse(
            "SessionRole",
            "the role belongs to the connection: add `options=-c%20role%3DOWNER` to its URI",
        ),
        Some(
            "standard_conforming_strings" | "row_security" | "application_name" | "client_encoding",
        ) => refuse(
            "Refused",
            "the runner needs this setting as it is: leave the statement out",
        ),
        _ if local => Ok(Kind::Plain),
        _ => Ok(Kind::Setting),
    }
}

fn concurrent(index: &ast::CreateIndex, text: &str) -> Result<Kind, Refusal> {
    let Some(name) = index.index() else {
        return refuse(
            "UnnamedIndex",
            "CREATE INDEX CONCURRENTLY needs a name: without it nobody can tell, after an \
             interruption, whether the index is there",
        );
    };
    if index.if_not_exists().is_some() {
        return refuse(
            "IfNotExists",
            "IF NOT EXISTS takes an invalid or a different index of that name for the one that is \
             asked for: leave it out, the runner looks at the index itself",
        );
    }
    let relation = index.table_relation_name();
    let Some((relation, table)) = relation.and_then(|relation| {
        let table = relation.table_name_ref()?;
        Some((relation, table))
    }) else {
        return refuse("SyntaxError", "CREATE INDEX CONCURRENTLY without a table");
    };
    let after = text.get(
        usize::from(relation.syntax().text_range().end())
            ..usize::from(index.syntax().text_range().end()),
    );
    Ok(Kind::Index(Index {
        name: name.syntax().text().to_string(),
        table: table.syntax().text().to_string(),
        before: if index.unique_token().is_some() {
            "CREATE UNIQUE INDEX ON".into()
        } else {
            "CREATE INDEX ON".into()
        },
        after: after.unwrap_or_default().trim_end_matches(';').to_owned(),
    }))
}

fn owned(stmt: &Stmt) -> Vec<String> {
    let relation = match stmt {
        Stmt::AlterTable(alter) => alter.table_relation_name(),
        Stmt::CreateIndex(index) => index.table_relation_name(),
        _ => None,
    };
    let mut names = BTreeSet::new();
    names.extend(
        relation
            .and_then(|relation| relation.table_name_ref())
            .map(|name| name.syntax().text().to_string()),
    );
    if let Stmt::DropTable(drop) = stmt {
        names.extend(
            drop.table_name_refs()
                .map(|name| name.syntax().text().to_string()),
        );
    }
    names.into_iter().collect()
}

fn has(stmt: &Stmt, kind: SyntaxKind) -> bool {
    stmt.syntax().descendants().any(|node| node.kind() == kind)
}

/// Whether a keyword is one of the statement's own tokens.
fn says(stmt: &Stmt, word: &str) -> bool {
    stmt.syntax()
        .descendants_with_tokens()
        .filter_map(|element| element.into_token())
        .any(|token| token.text().eq_ignore_ascii_case(word))
}

#[cfg(test)]
#[path = "split_tests.rs"]
mod tests;
