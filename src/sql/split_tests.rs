// A test says what is wrong by panicking.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use crate::{
    failure::Failure,
    order::Transaction,
    script::{Kind, LARGE, Script},
};

fn read(text: &str) -> Result<Script, Failure> {
    Script::parse("f.sql", text.as_bytes(), Transaction::Auto, String::new())
}

fn good(text: &str) -> Script {
    read(text).unwrap_or_else(|failure| panic!("{failure}\n{text}"))
}

/// What is refused: the reason and the line.
fn refused(text: &str) -> (&'static str, usize) {
    match read(text) {
        Ok(script) => panic!("passes: {script:?}"),
        Err(failure) => (failure.reason, failure.place.map_or(0, |place| place.line)),
    }
}

#[test]
fn the_grammar_splits_and_nothing_else() {
    let script = good(
        "-- a ; comment\nCREATE TABLE a (id int); /* nested /* ; */ ; */\n\
         CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $body$\nBEGIN\n  NEW.b := ';';\n  RETURN NEW;\nEND\n$body$;\n\
         DO $$ BEGIN PERFORM 1; PERFORM $x$;$x$; END $$;\n\
         INSERT INTO a VALUES (1), (2);;\n\
         COMMENT ON TABLE a IS E'it\\'s; \"here\"'",
    );
    let lines: Vec<usize> = script
        .statements
        .iter()
        .map(|statement| statement.line)
        .collect();
    assert_eq!(lines, [2, 3, 9, 10, 11]);
    assert!(script.whole);
    assert!(
        script.statements[1].text.ends_with("$body$"),
        "{:?}",
        script.statements[1]
    );
    assert!(script.statements[4].text.starts_with("COMMENT ON"));
}

#[test]
fn byte_order_mark_and_carriage_returns_are_no_trouble() {
    let script = good("\u{feff}CREATE TABLE a (id int);\r\n\r\nCREATE TABLE b (id int);\r\n");
    assert_eq!(script.statements.len(), 2);
    assert_eq!(script.statements[1].line, 3);
    assert!(script.statements[0].text.starts_with("CREATE"));
}

#[test]
fn what_cannot_be_run_here_is_refused_with_its_line() {
    assert_eq!(
        refused("SELECT 1;\nBEGIN;\nSELECT 2;"),
        ("OwnTransaction", 2)
    );
    for end in [
        "COMMIT",
        "END",
        "ROLLBACK",
        "ABORT",
        "SAVEPOINT a",
        "START TRANSACTION",
        "PREPARE TRANSACTION 'x'",
    ] {
        assert_eq!(
            refused(&format!("SELECT 1;\n\n{end};")),
            ("OwnTransaction", 3),
            "{end}"
        );
    }
    assert_eq!(refused("SELECT 1;\n\\i other.sql\n"), ("PsqlCommand", 2));
    assert_eq!(refused("\\set x 1\nSELECT :x;"), ("PsqlCommand", 1));
    assert_eq!(
        refused("SELECT 1;\nCOPY a FROM STDIN;\n1\t2\n\\.\n"),
        ("CopyFromStdin", 2)
    );
    assert_eq!(
        refused("copy a (b) from stdin with (format csv);\n1,2\n\\."),
        ("CopyFromStdin", 1)
    );
    assert_eq!(refused("COPY a TO STDOUT"), ("Refused", 1));
    assert_eq!(refused("\n\nSET ROLE owner;"), ("SessionRole", 3));
    assert_eq!(refused("SET SESSION AUTHORIZATION a"), ("SessionRole", 1));
    assert_eq!(refused("DISCARD ALL"), ("Refused", 1));
    assert_eq!(refused("ALTER SYSTEM SET work_mem = '1GB'"), ("Refused", 1));
    assert_eq!(refused("CREATE DATABASE a"), ("Refused", 1));
}

#[test]
fn a_syntax_error_never_passes() {
    for (text, line) in [
        ("ALTER TABLE ${schema}.t DROP COLUMN a;", 1),
        ("SELECT 1;\nALTER TABEL a;", 2),
        ("SELECT 'never ends;", 1),
        ("SELECT $$never ends;", 1),
        ("SELECT (1;", 1),
        ("SELECT 1);", 1),
        ("/* never ends", 1),
        ("hello", 1),
        ("SELECT 1; {{ table }}", 1),
    ] {
        let (reason, at) = refused(text);
        assert_eq!((reason, at), ("SyntaxError", line), "{text}");
    }
}

#[test]
fn empty_and_large_files_are_refused() {
    for text in ["", "  \n", "-- nothing\n", ";;", "\u{feff}"] {
        assert_eq!(refused(text).0, "Empty", "{text:?}");
    }
    let large = format!("SELECT 1; -- {}", "x".repeat(1024 * 1024));
    assert_eq!(refused(&large).0, "TooLarge");
    let full = format!("SELECT '{}'", "x".repeat(LARGE - 9));
    assert_eq!(good(&full).statements.len(), 1);
    assert_eq!(
        Script::parse("f", b"SELECT '\xff'", Transaction::Auto, String::new())
            .unwrap_err()
            .reason,
        "NotText"
    );
}

#[test]
fn hostile_text_takes_nothing_down() {
    assert_eq!(
        refused(&format!(
            "SELECT {}1{}",
            "(".repeat(20_000),
            ")".repeat(20_000)
        ))
        .0,
        "TooDeep"
    );
    assert_eq!(
        refused(&format!("SELECT {}", "[".repeat(20_000))).0,
        "TooDeep"
    );
    // Deep without a parenthesis. Whether it passes or not: it ends.
    let _ = read(&format!("SELECT {} 1", "NOT ".repeat(3_000)));
    let _ = read(&format!("SELECT {} 1", "- ".repeat(3_000)));
    let _ = read(&format!(
        "SELECT {} 1 {}",
        "CASE WHEN ".repeat(5_000),
        "THEN 1 END ".repeat(5_000)
    ));
}

#[test]
fn a_file_goes_by_statement_as_soon_as_one_demands_it() {
    let kinds = |text: &str| {
        let script = good(text);
        (
            script.whole,
            script
                .statements
                .into_iter()
                .map(|statement| statement.kind)
                .collect::<Vec<_>>(),
        )
    };
    assert_eq!(
        kinds("ALTER TABLE a ADD b int; SET search_path = x"),
        (true, vec![Kind::Plain, Kind::Setting])
    );
    assert_eq!(
        kinds(
            "ALTER TABLE a ADD CONSTRAINT c CHECK (b > 0) NOT VALID; ALTER TABLE a VALIDATE CONSTRAINT c;"
        ),
        (false, vec![Kind::Plain, Kind::Validate])
    );
    assert_eq!(kinds("VACUUM a"), (false, vec![Kind::Outside]));
    assert_eq!(
        kinds("REINDEX INDEX CONCURRENTLY a"),
        (false, vec![Kind::Outside])
    );
    assert_eq!(
        kinds("REINDEX (CONCURRENTLY) TABLE a"),
        (false, vec![Kind::Outside])
    );
    assert_eq!(kinds("REINDEX TABLE a"), (true, vec![Kind::Plain]));
    assert_eq!(
        kinds("ALTER TABLE a DETACH PARTITION b CONCURRENTLY"),
        (false, vec![Kind::Outside])
    );
    assert_eq!(
        kinds("DROP INDEX CONCURRENTLY IF EXISTS s.a"),
        (
            false,
            vec![Kind::DropIndex {
                name: "s.a".into(),
                if_exists: true
            }]
        )
    );
    assert_eq!(
        kinds("SET LOCAL work_mem = '1MB'"),
        (true, vec![Kind::Plain])
    );
    let (whole, kinds) =
        kinds("CREATE UNIQUE INDEX CONCURRENTLY \"I\" ON s.t USING btree (lower(a)) WHERE b;");
    assert!(!whole);
    let [Kind::Index(index)] = &kinds[..] else {
        panic!("{kinds:?}")
    };
    assert_eq!(index.name, "\"I\"");
    assert_eq!(index.table, "s.t");
    assert_eq!(index.before, "CREATE UNIQUE INDEX ON");
    assert_eq!(index.after, " USING btree (lower(a)) WHERE b");
}

#[test]
fn indexes_that_nobody_could_find_again_are_refused() {
    assert_eq!(
        refused("CREATE INDEX CONCURRENTLY ON t (a)"),
        ("UnnamedIndex", 1)
    );
    assert_eq!(
        refused("CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON t (a)"),
        ("IfNotExists", 1)
    );
    assert_eq!(refused("DROP INDEX CONCURRENTLY a, b"), ("Refused", 1));
    let text = "SELECT 1;\nVACUUM a;";
    let failure =
        Script::parse("f", text.as_bytes(), Transaction::File, String::new()).unwrap_err();
    assert_eq!(
        (failure.reason, failure.place.unwrap().line),
        ("NotInTransaction", 2)
    );
}
