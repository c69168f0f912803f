//! What a preflight may not have: statements that write. It runs in a transaction that may only
//! read, so this tells before what PostgreSQL would refuse then.

use squawk_syntax::{SyntaxKind, SyntaxNode};

use crate::{Raw, tree};

/// Statements that read, or of which only PostgreSQL can tell: it refuses what a block writes.
const READS: [SyntaxKind; 10] = [
    SyntaxKind::SELECT,
    SyntaxKind::COMPOUND_SELECT,
    SyntaxKind::PAREN_SELECT,
    SyntaxKind::VALUES,
    SyntaxKind::TABLE,
    SyntaxKind::SHOW,
    SyntaxKind::SET,
    SyntaxKind::RESET,
    SyntaxKind::DO,
    SyntaxKind::EMPTY_STMT,
];

/// Those that write inside a statement that reads.
const WRITES: [SyntaxKind; 5] = [
    SyntaxKind::INSERT,
    SyntaxKind::UPDATE,
    SyntaxKind::DELETE,
    SyntaxKind::MERGE,
    SyntaxKind::SELECT_INTO,
];

/// Looks at the statements of a file.
pub fn look(statements: &[SyntaxNode]) -> Vec<Raw> {
    let writes = |statement: &&SyntaxNode| {
        !READS.contains(&statement.kind())
            || WRITES
                .into_iter()
                .any(|kind| tree::contains(statement, kind))
    };
    let found = statements.iter().filter(writes);
    found
        .map(|statement| Raw::new("writes-in-preflight", tree::start(statement)))
        .collect()
}

#[cfg(test)]
mod tests {
    use crate::{Phase, lint};

    fn rules(sql: &str) -> Vec<String> {
        let found = lint(sql, Phase::Preflight);
        found.into_iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn what_reads_is_clean() {
        for sql in [
            "SELECT 1 / count(*) FROM users WHERE name IS NOT NULL;",
            "DO $$ BEGIN IF EXISTS (SELECT FROM users) THEN RAISE EXCEPTION 'no'; END IF; END $$;",
            "WITH big AS (SELECT id FROM users) SELECT count(*) FROM big;",
            "SHOW server_version; VALUES (1);",
        ] {
            assert_eq!(rules(sql), Vec::<String>::new(), "{sql}");
        }
    }

    #[test]
    fn what_writes_is_an_error_whatever_else_it_is() {
        for sql in [
            "ALTER TABLE users ADD COLUMN full_name text;",
            "UPDATE users SET name = 'a';",
            "WITH gone AS (DELETE FROM users RETURNING id) SELECT count(*) FROM gone;",
            "SELECT * INTO copy FROM users;",
            "TRUNCATE users;",
            "CREATE INDEX CONCURRENTLY one ON users (id);",
            "VACUUM users;",
        ] {
            assert_eq!(rules(sql), ["writes-in-preflight"], "{sql}");
        }
        assert_eq!(
            rules("BEGIN;"),
            ["transaction-control", "writes-in-preflight"]
        );
        assert_eq!(
            rules("SELEC 1;").first().map(String::as_str),
            Some("syntax-error")
        );
    }
}
