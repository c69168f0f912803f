//! Statements, and what is found in them in expand and in contract.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use crate::{Finding, Phase, Severity, Source, corpus::CASES, lint, lint_files};

/// Rules as `E rule`, in order; without those that only warn.
pub fn found(sql: &str, phase: Phase) -> String {
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
