//! Statements, and what is found in them in expand and in contract.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use crate::{Finding, Phase, Severity, Source, lint, lint_files};

/// Rules as `E rule`, in order; without those that only warn.
fn found(sql: &str, phase: Phase) -> String {
    let findings = lint(sql, phase);
    shown(
        findings
            .iter()
            .filter(|finding| finding.severity != Severity::Warning),
    )
}

fn shown<'a>(findings: impl Iterator<Item = &'a Finding>) -> String {
    let mut told: Vec<_> = findings
        .map(|finding| match finding.severity {
            Severity::Error => format!("E {}", finding.rule),
            Severity::CannotJudge => format!("J {}", finding.rule),
            Severity::Warning => format!("W {}", finding.rule),
        })
        .collect();
    told.dedup();
    told.join(", ")
}

/// Statement, in expand, in contract.
const CASES: &[(&str, &str, &str)] = &[
    // What expand is for.
    ("ALTER TABLE users ADD COLUMN full_name text", "", ""),
    (
        "ALTER TABLE users ADD COLUMN active boolean NOT NULL DEFAULT true",
        "",
        "",
    ),
    (
        "ALTER TABLE users ADD COLUMN seen timestamptz DEFAULT now()",
        "",
        "",
    ),
    (
        "CREATE TABLE t (id bigint PRIMARY KEY, user_id bigint REFERENCES users(id))",
        "",
        "",
    ),
    (
        "CREATE INDEX CONCURRENTLY users_name ON users (name)",
        "",
        "",
    ),
    ("COMMENT ON TABLE users IS 'x'", "", ""),
    ("GRANT SELECT ON users TO reader", "", ""),
    ("ANALYZE users", "", ""),
    ("SET lock_timeout = '500ms'", "", ""),
    ("CREATE VIEW v AS SELECT id FROM users", "", ""),
    (
        "INSERT INTO plans (id, name) VALUES (1, 'free') ON CONFLICT DO NOTHING",
        "",
        "",
    ),
    (
        "CREATE FUNCTION sync() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.a := NEW.b; RETURN NEW; END $$",
        "",
        "",
    ),
    (
        "CREATE TRIGGER sync BEFORE INSERT OR UPDATE ON users FOR EACH ROW EXECUTE FUNCTION sync()",
        "",
        "",
    ),
    // What breaks old code.
    (
        "ALTER TABLE users DROP COLUMN name",
        "E ban-drop-column",
        "",
    ),
    (
        "ALTER TABLE users DROP COLUMN name CASCADE",
        "E drop-cascade, E ban-drop-column",
        "J drop-cascade",
    ),
    ("DROP TABLE users", "E ban-drop-table", ""),
    ("DROP VIEW v", "E ban-drop-view", ""),
    ("DROP FUNCTION f()", "E ban-drop-function", ""),
    ("DROP TRIGGER sync ON users", "E ban-drop-trigger", ""),
    ("DROP INDEX CONCURRENTLY i", "E ban-drop-index", ""),
    (
        "DROP DATABASE shop",
        "E ban-drop-database",
        "E ban-drop-database",
    ),
    (
        "ALTER TABLE users RENAME COLUMN name TO full_name",
        "E renaming-column",
        "J renaming-column",
    ),
    (
        "ALTER TABLE users RENAME TO people",
        "E renaming-table",
        "J renaming-table",
    ),
    (
        "ALTER TABLE users ALTER COLUMN name DROP NOT NULL",
        "E ban-drop-not-null",
        "",
    ),
    (
        "ALTER TABLE users ALTER COLUMN name DROP DEFAULT",
        "E ban-drop-default",
        "",
    ),
    (
        "ALTER TABLE users ADD COLUMN name text NOT NULL",
        "E adding-required-field",
        "E adding-required-field",
    ),
    (
        "ALTER TABLE users ADD CONSTRAINT n CHECK (name IS NOT NULL) NOT VALID",
        "E ban-new-write-restriction",
        "",
    ),
    (
        "CREATE UNIQUE INDEX CONCURRENTLY u ON users (email)",
        "E ban-new-write-restriction",
        "",
    ),
    ("REVOKE SELECT ON users FROM app", "E ban-revoke", ""),
    (
        "ALTER TABLE users ENABLE ROW LEVEL SECURITY",
        "E ban-alter-row-level-security",
        "J ban-alter-row-level-security",
    ),
    (
        "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "J ban-replace-view-function",
        "",
    ),
    // Locks.
    (
        "CREATE INDEX users_name ON users (name)",
        "E require-concurrent-index-creation",
        "E require-concurrent-index-creation",
    ),
    (
        "DROP INDEX users_name",
        "E ban-drop-index, E require-concurrent-index-deletion",
        "E require-concurrent-index-deletion",
    ),
    (
        "ALTER TABLE users ALTER COLUMN name SET NOT NULL",
        "E adding-not-nullable-field, E ban-new-write-restriction",
        "E adding-not-nullable-field",
    ),
    (
        "ALTER TABLE users ALTER COLUMN id TYPE bigint",
        "E changing-column-type",
        "E changing-column-type",
    ),
    (
        "ALTER TABLE users ALTER COLUMN name TYPE varchar(200)",
        "J changing-column-type",
        "J changing-column-type",
    ),
    (
        "ALTER TABLE users ADD COLUMN id2 bigserial",
        "E serial-column",
        "E serial-column",
    ),
    (
        "ALTER TABLE users ADD COLUMN u uuid DEFAULT gen_random_uuid()",
        "E adding-field-with-default",
        "E adding-field-with-default",
    ),
    (
        "ALTER TABLE users ADD COLUMN a int CHECK (a > 0)",
        "E column-check",
        "E column-check",
    ),
    (
        "ALTER TABLE users ADD CONSTRAINT u UNIQUE (email)",
        "E ban-new-write-restriction, E disallowed-unique-constraint",
        "E disallowed-unique-constraint",
    ),
    (
        "ALTER TABLE users ADD CONSTRAINT e EXCLUDE USING gist (r WITH &&)",
        "E ban-new-write-restriction, E exclude-constraint",
        "E exclude-constraint",
    ),
    (
        "ALTER TABLE a ADD CONSTRAINT c CHECK (x > 0) NOT VALID; ALTER TABLE a VALIDATE CONSTRAINT c",
        "E ban-new-write-restriction, E validate-in-same-transaction",
        "E validate-in-same-transaction",
    ),
    ("ALTER TABLE a VALIDATE CONSTRAINT c", "", ""),
    (
        "LOCK TABLE users IN ACCESS EXCLUSIVE MODE",
        "E lock-table",
        "E lock-table",
    ),
    ("LOCK TABLE users IN ACCESS SHARE MODE", "", ""),
    ("VACUUM FULL users", "E vacuum-full", "E vacuum-full"),
    (
        "VACUUM (FULL, ANALYZE) users",
        "E vacuum-full",
        "E vacuum-full",
    ),
    ("CLUSTER users USING i", "E cluster", "E cluster"),
    (
        "REFRESH MATERIALIZED VIEW m",
        "E refresh-materialized-view",
        "E refresh-materialized-view",
    ),
    ("REFRESH MATERIALIZED VIEW CONCURRENTLY m", "", ""),
    (
        "ALTER TABLE users SET UNLOGGED",
        "E table-rewrite",
        "E table-rewrite",
    ),
    (
        "ALTER TABLE users SET TABLESPACE fast",
        "E table-rewrite",
        "E table-rewrite",
    ),
    (
        "ALTER TABLE m ATTACH PARTITION p FOR VALUES FROM (1) TO (2)",
        "J attach-partition",
        "J attach-partition",
    ),
    ("SET lock_timeout = 0", "E lock-timeout", "E lock-timeout"),
    (
        "SET LOCAL lock_timeout TO '10min'",
        "E lock-timeout",
        "E lock-timeout",
    ),
    (
        "SELECT set_config('lock_timeout', '0', false)",
        "E lock-timeout",
        "E lock-timeout",
    ),
    ("TRUNCATE users", "E truncate", "J truncate"),
    // Rows.
    (
        "UPDATE users SET full_name = name",
        "E unbounded-update",
        "E unbounded-update",
    ),
    (
        "DELETE FROM users",
        "E unbounded-delete",
        "E unbounded-delete",
    ),
    (
        "UPDATE users SET full_name = name WHERE full_name IS NULL",
        "J unseen-rows",
        "J unseen-rows",
    ),
    ("UPDATE users SET a = 1 WHERE id = 7 AND b IS NULL", "", ""),
    (
        "UPDATE users SET full_name = name WHERE id IN (SELECT id FROM users WHERE full_name IS NULL LIMIT 1000)",
        "",
        "",
    ),
    (
        "WITH x AS (DELETE FROM users RETURNING id) SELECT count(*) FROM x",
        "E unbounded-delete",
        "E unbounded-delete",
    ),
    (
        "INSERT INTO b SELECT * FROM a",
        "J unbounded-insert",
        "J unbounded-insert",
    ),
    (
        "INSERT INTO b SELECT * FROM a ORDER BY id LIMIT 1000",
        "",
        "",
    ),
    (
        "INSERT INTO b SELECT g FROM generate_series(1, 10) g",
        "",
        "",
    ),
    (
        "CREATE TABLE c AS SELECT * FROM a",
        "J unbounded-insert",
        "J unbounded-insert",
    ),
    (
        "UPDATE pg_attribute SET attnotnull = false WHERE attname = 'a'",
        "E catalogue-write",
        "E catalogue-write",
    ),
    // What cannot be judged.
    (
        "DO $$ BEGIN ALTER TABLE users DROP COLUMN name; END $$",
        "J opaque-block",
        "J opaque-block",
    ),
    ("CALL migrate()", "J opaque-call", "J opaque-call"),
    ("SELECT migrate()", "J opaque-call", "J opaque-call"),
    ("SELECT public.now()", "J opaque-call", "J opaque-call"),
    ("SELECT setval('users_id_seq', 100)", "", ""),
    (
        "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'DROP TABLE users'; END $$",
        "J opaque-function",
        "J opaque-function",
    ),
    (
        "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN DROP TABLE users; END $$",
        "J opaque-function",
        "J opaque-function",
    ),
    (
        "CREATE FUNCTION f() RETURNS void LANGUAGE plpython3u AS $$ pass $$",
        "J opaque-function",
        "J opaque-function",
    ),
    (
        "SET session_replication_role = replica",
        "J session-settings",
        "J session-settings",
    ),
    (
        "EXPLAIN ANALYZE DELETE FROM users",
        "J unknown-statement",
        "J unknown-statement",
    ),
    (
        "COPY users TO '/tmp/x'",
        "J unknown-statement",
        "J unknown-statement",
    ),
    ("LOAD 'x'", "J unknown-statement", "J unknown-statement"),
    // What cannot run.
    (
        "ALTER TABLE ${schema}.t DROP COLUMN a",
        "E syntax-error",
        "E syntax-error",
    ),
    ("ALTER TABLE users", "E syntax-error", "E syntax-error"),
    ("SELEC 1", "E syntax-error", "E syntax-error"),
    ("BEGIN", "E transaction-control", "E transaction-control"),
    ("COMMIT", "E transaction-control", "E transaction-control"),
    (
        "SAVEPOINT a",
        "E transaction-control",
        "E transaction-control",
    ),
    ("\\set x 1", "E psql-command", "E psql-command"),
    (
        "COPY users FROM STDIN",
        "E copy-from-stdin",
        "E copy-from-stdin",
    ),
    (
        "CREATE INDEX CONCURRENTLY ON users (name)",
        "E unnamed-index",
        "E unnamed-index",
    ),
    (
        "CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON users (name)",
        "E index-if-not-exists",
        "E index-if-not-exists",
    ),
];

#[test]
fn every_statement_is_judged_as_its_phase_demands() {
    let mut wrong = Vec::new();
    for (sql, expand, contract) in CASES {
        for (phase, expected) in [(Phase::Expand, expand), (Phase::Contract, contract)] {
            let told = found(sql, phase);
            if told != **expected {
                wrong.push(format!(
                    "{phase:?} {sql}\n    expected: {expected}\n    found:    {told}"
                ));
            }
        }
        assert_eq!(
            found(sql, Phase::Contract),
            found(sql, Phase::Revert),
            "{sql}"
        );
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn nothing_that_old_code_relies_on_may_go_in_a_backfill() {
    for (sql, expand, _) in CASES {
        assert_eq!(found(sql, Phase::Backfill), *expand, "{sql}");
    }
}

#[test]
fn a_table_of_the_same_files_is_new() {
    let new = "CREATE TABLE t (id bigint, name text);";
    let uses = "CREATE INDEX i ON t (name); ALTER TABLE t ADD CONSTRAINT c CHECK (id > 0); \
                ALTER TABLE public.t ALTER COLUMN name SET NOT NULL; LOCK TABLE t; UPDATE t SET id = 1; \
                ALTER TABLE t DROP COLUMN name; DROP TABLE t;";
    assert_eq!(found(&format!("{new}{uses}"), Phase::Expand), "");
    assert_ne!(found(uses, Phase::Expand), "");
    assert_ne!(
        found(&format!("{uses}{new}"), Phase::Expand),
        "",
        "it is made too late"
    );
    let files = [new, uses].map(|text| Source {
        name: "x.sql".to_owned(),
        text: text.to_owned(),
    });
    let told = lint_files(&files, Phase::Expand);
    assert_eq!(
        shown(told.iter().filter(|f| f.severity != Severity::Warning)),
        ""
    );
    // It may have been there.
    let perhaps = "CREATE TABLE IF NOT EXISTS t (id bigint); CREATE INDEX i ON t (id);";
    assert_eq!(
        found(perhaps, Phase::Expand),
        "E require-concurrent-index-creation"
    );
    // The same name in another schema.
    let other = "CREATE TABLE t (id bigint); CREATE INDEX i ON app.t (id);";
    assert_eq!(
        found(other, Phase::Expand),
        "E require-concurrent-index-creation"
    );
}

#[test]
fn a_unique_index_on_a_new_column_hinders_nobody() {
    let added = Source {
        name: "1.sql".to_owned(),
        text: "ALTER TABLE users ADD COLUMN mail text;".to_owned(),
    };
    let index = Source {
        name: "2.sql".to_owned(),
        text: "CREATE UNIQUE INDEX CONCURRENTLY u ON users (mail);".to_owned(),
    };
    assert_eq!(lint_files(&[added, index.clone()], Phase::Expand), []);
    assert_eq!(lint_files(&[index], Phase::Expand).len(), 1);
}

#[test]
fn the_contract_may_swap_tables_in_one_file() {
    let swap = "ALTER TABLE orders RENAME TO orders_old; ALTER TABLE orders_new RENAME TO orders;";
    assert_eq!(found(swap, Phase::Contract), "");
    assert_eq!(found(swap, Phase::Expand), "E renaming-table");
    let gone = "ALTER TABLE orders RENAME TO orders_old;";
    assert_eq!(found(gone, Phase::Contract), "J renaming-table");
}

#[test]
fn not_null_is_safe_after_its_check() {
    let safe = "ALTER TABLE t VALIDATE CONSTRAINT c; ALTER TABLE t ALTER COLUMN a SET NOT NULL; \
                ALTER TABLE t DROP CONSTRAINT c;";
    assert_eq!(found(safe, Phase::Contract), "");
    let files = safe.split_inclusive(';').map(|text| Source {
        name: "x.sql".to_owned(),
        text: text.to_owned(),
    });
    let files: Vec<_> = files.collect();
    assert_eq!(lint_files(&files, Phase::Contract), []);
    assert_eq!(lint_files(&files[1..], Phase::Contract).len(), 1);
}

#[test]
fn what_a_comment_suppresses_is_still_told() {
    let sql = "-- squawk-ignore ban-drop-column\nALTER TABLE t DROP COLUMN a;\nALTER TABLE t DROP COLUMN b;";
    let told = lint(sql, Phase::Expand);
    assert_eq!(told.len(), 2);
    assert!(told[0].suppressed && !told[0].blocks(), "{told:?}");
    assert!(!told[1].suppressed && told[1].blocks(), "{told:?}");
    let file =
        "-- squawk-ignore-file\nALTER TABLE t DROP COLUMN a; DO $$ BEGIN END $$; BEGIN; SELEC;";
    let told = lint(file, Phase::Expand);
    let open: Vec<_> = told
        .iter()
        .filter(|f| f.blocks())
        .map(|f| f.rule.as_str())
        .collect();
    assert_eq!(
        open,
        ["opaque-block", "transaction-control", "syntax-error"]
    );
    assert!(
        told.iter()
            .any(|f| f.rule == "ban-drop-column" && f.suppressed)
    );
    let own = "/* squawk-ignore truncate, lock-table */ TRUNCATE t;";
    assert!(lint(own, Phase::Expand).iter().all(|f| f.suppressed));
    let nothing = "-- squawk-disable-assume-in-transaction\nANALYZE t;";
    assert_eq!(
        lint(nothing, Phase::Expand)[0].rule,
        "comment-without-effect"
    );
}

#[test]
fn places_are_lines_and_characters() {
    let told = lint(
        "-- äöü\r\nSELECT count(*) FROM t; /* ü */ DROP TABLE t;",
        Phase::Expand,
    );
    let drop = told.iter().find(|f| f.rule == "ban-drop-table").unwrap();
    assert_eq!((drop.line, drop.column), (2, 33));
    // A byte order mark is no character of the file.
    assert_eq!(found("\u{feff}ANALYZE t;", Phase::Expand), "");
}

#[test]
fn an_empty_file_is_told() {
    for text in ["", " \n", "-- nothing\n", ";"] {
        let told = lint(text, Phase::Expand);
        assert_eq!(shown(told.iter()), "W empty-file", "{text:?}");
    }
}

#[test]
fn what_is_nested_too_deeply_is_not_parsed() {
    for (open, close) in [
        ("(", ")"),
        ("CASE WHEN true THEN ", " END"),
        ("ARRAY[", "]"),
    ] {
        let sql = format!("SELECT {}1{};", open.repeat(5_000), close.repeat(5_000));
        assert_eq!(found(&sql, Phase::Expand), "E nested-too-deeply");
    }
    let (open, close) = ("(".repeat(5_000), ")".repeat(5_000));
    let body = format!(
        "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $f$ BEGIN RETURN {open}1{close}; END $f$;"
    );
    assert_eq!(found(&body, Phase::Expand), "E nested-too-deeply");
}
