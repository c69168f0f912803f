//! Files: one transaction with the ledger, or statement by statement; what has run does not run
//! again.

use crate::{
    runner::Task,
    server::{Server, wait_for},
};

#[test]
fn a_file_runs_once_in_one_transaction_with_its_entry() {
    let server = Server::start();
    let task = Task::files(
        &server,
        "Expand",
        &[
            (
                "a.sql",
                "CREATE TABLE users (id bigint PRIMARY KEY);\r\nINSERT INTO users VALUES (1), (2);",
            ),
            (
                "b.sql",
                "\u{feff}ALTER TABLE users ADD full_name text;\nDO $$ BEGIN INSERT INTO users VALUES (3); END $$;",
            ),
        ],
    );
    let first = task.run().done();
    assert_eq!(first.report["applied"], true);
    assert!(first.log.contains("b.sql:2, statement 2"), "{}", first.log);
    assert_eq!(server.number("SELECT count(*) FROM users"), 3);
    assert_eq!(
        server.texts("SELECT phase || ' ' || file || ' ' || done || '/' || statements FROM stepgate.files ORDER BY 1"),
        ["expand a.sql 2/2", "expand b.sql 2/2"]
    );
    // Both files began in one transaction with their entry.
    let again = task.run().done();
    assert!(
        again.log.contains("a.sql: was done before"),
        "{}",
        again.log
    );
    assert_eq!(server.number("SELECT count(*) FROM users"), 3);
}

#[test]
fn an_error_leaves_nothing_and_says_where_without_data() {
    let server = Server::start();
    let task = Task::expand(
        &server,
        "CREATE TABLE t (id int PRIMARY KEY);\n\nINSERT INTO t VALUES (424242), (424242);\nCREATE TABLE u ();",
    );
    let failed = task.run().is(64, "StatementFailed");
    assert_eq!(failed.report["sqlstate"], "23505");
    assert_eq!(
        (&failed.report["statement"], &failed.report["line"]),
        (&2.into(), &3.into())
    );
    assert!(
        failed.message().contains("t_pkey") && failed.message().contains("public.t"),
        "{failed:?}"
    );
    assert!(!failed.log.contains("424242"), "{}", failed.log);
    assert_eq!(failed.report["applied"], false);
    assert_eq!(
        server.number("SELECT count(*) FROM pg_class WHERE relname IN ('t', 'u')"),
        0
    );

    let failed = Task::expand(&server, "SELECT 1;\nSELECT\n  'secret data'::int;")
        .run()
        .failed("StatementFailed");
    assert_eq!(
        (&failed.report["sqlstate"], &failed.report["line"]),
        (&"22P02".into(), &3.into())
    );
    assert!(!failed.log.contains("secret data"), "{}", failed.log);
    let failed = Task::expand(&server, "DO $$ BEGIN RAISE 'row 4711'; END $$")
        .run()
        .failed("StatementFailed");
    assert_eq!(failed.report["sqlstate"], "P0001");
    assert!(!failed.log.contains("4711"), "{}", failed.log);
    // PostgreSQL points into the statement.
    let failed = Task::expand(&server, "SELECT 1;\nSELECT 1,\n 2,\n nowhere;")
        .run()
        .failed("StatementFailed");
    assert_eq!(
        (&failed.report["statement"], &failed.report["line"]),
        (&2.into(), &4.into())
    );
}

#[test]
fn statement_by_statement_goes_on_where_it_was() {
    let server = Server::start();
    server.sql("CREATE SCHEMA s; CREATE TABLE s.t (id int); INSERT INTO s.t VALUES (1)");
    let text = "SET search_path = s;\n\
                ALTER TABLE t ADD CONSTRAINT positive CHECK (id > 0) NOT VALID;\n\
                INSERT INTO t VALUES (2);\n\
                ALTER TABLE t VALIDATE CONSTRAINT positive;\n\
                ALTER TABLE missing ADD a int;\n\
                INSERT INTO t VALUES (3);";
    let task = Task::expand(&server, text);
    let failed = task.run().failed("StatementFailed");
    assert_eq!(
        (&failed.report["applied"], &failed.report["statement"]),
        (&true.into(), &5.into())
    );
    assert_eq!(server.number("SELECT done::bigint FROM stepgate.files"), 4);
    server.sql("CREATE TABLE s.missing ()");
    let done = task.run().done();
    // The setting holds for the rest, and nothing ran twice.
    assert!(!done.log.contains("statement 3"), "{}", done.log);
    assert_eq!(server.number("SELECT count(*) FROM s.t"), 3);
    assert_eq!(
        server.number(
            "SELECT count(*) FROM pg_constraint WHERE conname = 'positive' AND convalidated"
        ),
        1
    );
}

#[test]
fn settings_of_a_file_do_not_reach_the_next() {
    let server = Server::start();
    Task::files(
        &server,
        "Expand",
        &[
            (
                "a.sql",
                "CREATE SCHEMA s; SET search_path = s; CREATE TABLE a ();",
            ),
            ("b.sql", "CREATE TABLE b ();"),
        ],
    )
    .run()
    .done();
    assert_eq!(
        server.texts("SELECT schemaname || '.' || tablename FROM pg_tables WHERE tablename IN ('a', 'b') ORDER BY 1"),
        ["public.b", "s.a"]
    );
}

#[test]
fn another_text_is_refused_before_anything_and_after_it_ran() {
    let server = Server::start();
    let mut task = Task::expand(&server, "CREATE TABLE a ();");
    let digest = task.order["files"][0]["sha256"].take();
    task.order["files"][0]["sha256"] = "0".repeat(64).into();
    let refused = task.run().is(64, "WrongHash");
    assert_eq!(refused.report["applied"], false);
    assert_eq!(
        server.number("SELECT count(*) FROM pg_namespace WHERE nspname = 'stepgate'"),
        0
    );
    task.order["files"][0]["sha256"] = digest;
    task.run().done();
    let changed = Task::expand(&server, "CREATE TABLE b ();")
        .run()
        .is(66, "LedgerDisagrees");
    assert!(changed.message().contains("version 7"), "{changed:?}");
    // A higher version's file of that name is another one.
    Task::expand(&server, "CREATE TABLE b ();")
        .with("version", 8)
        .run()
        .done();
}

#[test]
fn bad_input_is_named_and_nothing_is_touched() {
    let server = Server::start();
    for (text, reason, line) in [
        ("SELECT 1;\nBEGIN;", "OwnTransaction", 2),
        ("\\i x", "PsqlCommand", 1),
        ("ALTER TABEL x", "SyntaxError", 1),
    ] {
        let refused = Task::expand(&server, text).run().is(64, reason);
        assert_eq!(
            (&refused.report["file"], &refused.report["line"]),
            (&"expand.sql".into(), &line.into())
        );
    }
    Task::expand(&server, "").run().is(64, "Empty");
    let mut task = Task::expand(&server, "SELECT 1");
    task.order["files"][0]["path"] = "/nowhere/expand.sql".into();
    let refused = task.run().is(64, "FileMissing");
    assert!(refused.message().contains("ConfigMap"), "{refused:?}");
    let refused = Task::new(&server, "Expand")
        .with("surprise", 1)
        .run()
        .is(64, "BadOrder");
    assert!(refused.message().contains("surprise"), "{refused:?}");
    Task::new(&server, "Expand").at("").run().is(64, "BadUri");
    assert!(!server.log().contains("stepgate"), "nobody connected");
}

#[test]
fn a_wrong_database_is_refused() {
    let server = Server::start();
    Task::expand(&server, "CREATE TABLE a ();").run().done();
    let refused = Task::expand(&server, "CREATE TABLE b ();")
        .with("database", "other-db")
        .run()
        .failed("WrongDatabase");
    assert!(
        refused.message().contains("shop/shop-db")
            && refused.message().contains("UPDATE stepgate.owner"),
        "{refused:?}"
    );
    assert_eq!(
        server.number("SELECT count(*) FROM pg_class WHERE relname = 'b'"),
        0
    );
}

#[test]
fn two_runs_do_not_meet_and_the_second_says_who_is_there() {
    let server = Server::start();
    let task = Task::expand(&server, "CREATE TABLE a (); SELECT pg_sleep(3)");
    let first = task.spawn();
    wait_for("the first at work", || {
        server.log().contains("pg_sleep").then_some(())
    });
    let refused = Task::expand(&server, "CREATE TABLE b ()")
        .with("version", 8)
        .with("deadlineSeconds", 1)
        .run()
        .is(64, "DeadlineExceeded");
    assert!(
        refused
            .message()
            .contains("stepgate expand shop/web web-5d8f"),
        "{refused:?}"
    );
    // A backfill has a lock of its own.
    Task::files(&server, "Backfill", &[("c.sql", "CREATE TABLE c ()")])
        .run()
        .done();
    first.end().done();
    let waited = Task::expand(&server, "CREATE TABLE b ()")
        .with("version", 8)
        .run()
        .done();
    assert_eq!(waited.again("LockHeld"), 0);
}

#[test]
fn the_session_is_as_it_should_be() {
    let server = Server::start();
    Task::expand(
        &server,
        "CREATE TABLE seen AS SELECT name, setting FROM pg_settings WHERE name IN ('application_name', 'lock_timeout', \
         'idle_in_transaction_session_timeout', 'client_connection_check_interval', 'row_security')",
    )
    .run()
    .done();
    assert_eq!(
        server.texts("SELECT name || '=' || setting FROM seen ORDER BY 1"),
        [
            "application_name=stepgate expand shop/web web-5d8f",
            "client_connection_check_interval=2000",
            "idle_in_transaction_session_timeout=30000",
            "lock_timeout=1000",
            "row_security=off",
        ]
    );
}

#[test]
fn sql_that_would_hurt_users_does_not_run() {
    let server = Server::start();
    server.sql("CREATE TABLE users (id bigint PRIMARY KEY, name text)");
    let drop = "ALTER TABLE users ADD COLUMN age bigint;\nALTER TABLE users DROP COLUMN name;\n";
    let ended = Task::expand(&server, drop)
        .with("lint", "Enforce")
        .run()
        .is(64, "LintFailed");
    let words = ended.message();
    assert!(
        words.contains("expand.sql:2:19 ban-drop-column: "),
        "{words}"
    );
    assert!(words.contains("Instead: in the contract"), "{words}");
    let columns = "SELECT count(*) FROM information_schema.columns WHERE table_name = 'users'";
    assert_eq!(server.number(columns), 2);
    // It is meant so; or nobody is to look.
    let meant = drop.replace(
        "ALTER TABLE users DROP",
        "-- squawk-ignore ban-drop-column\nALTER TABLE users DROP",
    );
    let names = |name: &str| drop.replace("name;", &format!("{name};"));
    Task::expand(&server, &meant)
        .with("lint", "Enforce")
        .run()
        .done();
    server.sql("ALTER TABLE users DROP COLUMN age; ALTER TABLE users ADD COLUMN warned text");
    let warned = names("warned");
    let task = Task::expand(&server, &warned)
        .with("version", 8)
        .with("lint", "Warn");
    let run = task.spawn();
    run.says("lint: error: expand.sql:2:19 ban-drop-column: ");
    run.end().done();
}

#[test]
fn what_cannot_be_judged_is_for_whoever_approves_a_contract() {
    let server = Server::start();
    let block = "DO $$ BEGIN PERFORM 1; END $$;\n";
    let contract =
        || Task::files(&server, "Contract", &[("contract.sql", block)]).with("lint", "Enforce");
    let ended = contract().run().is(64, "LintFailed");
    assert!(ended.message().contains("approval: Manual"), "{ended:?}");
    contract().with("approved", true).run().done();
    // Nobody is asked before an expand: there it is a warning.
    let task = Task::expand(&server, block).with("lint", "Enforce");
    let run = task.spawn();
    run.says("lint: cannot be judged: expand.sql:1:1 opaque-block: ");
    run.end().done();
    // Unless nothing unread is to run.
    for (phase, name) in [("Expand", "expand.sql"), ("Backfill", "backfill.sql")] {
        let ended = Task::files(&server, phase, &[(name, block)])
            .with("version", 8)
            .with("lint", "Strict")
            .run()
            .is(64, "LintFailed");
        assert!(
            ended.message().contains("schema.lint: Enforce"),
            "{ended:?}"
        );
        assert!(!ended.message().contains("approval"), "{ended:?}");
    }
    let strict = contract().with("version", 8).with("lint", "Strict");
    let ended = strict.run().is(64, "LintFailed");
    assert!(ended.message().contains("approval: Manual"), "{ended:?}");
    let strict = contract().with("version", 8).with("lint", "Strict");
    strict.with("approved", true).run().done();
    // A preflight can only read.
    let preflight = Task::files(&server, "Preflight", &[("check.sql", block)]);
    let strict = preflight.with("version", 8).with("lint", "Strict");
    strict.run().done();
}

#[test]
fn what_a_revert_takes_back_runs_again_and_so_does_a_later_revert() {
    let server = Server::start();
    server.sql("CREATE TABLE users (id bigint PRIMARY KEY)");
    let run = |phase: &str, text: &str| {
        let name = format!("{}.sql", phase.to_lowercase());
        Task::files(&server, phase, &[(&name, text)]).run().done()
    };
    let (up, down) = (
        "ALTER TABLE users ADD full_name text;\nCREATE INDEX CONCURRENTLY by_name ON users (full_name)",
        "DROP INDEX CONCURRENTLY by_name;\nALTER TABLE users DROP full_name",
    );
    let there = || {
        server.number("SELECT count(*) FROM pg_class WHERE relname = 'by_name'")
            + server.number("SELECT count(*) FROM pg_attribute WHERE attname = 'full_name' AND NOT attisdropped AND attrelid = 'users'::regclass")
    };
    for _ in 0..2 {
        run("Expand", up);
        assert_eq!(there(), 2);
        let again = run("Expand", up);
        assert!(again.log.contains("was done before"), "{}", again.log);
        run("Revert", down);
        assert_eq!(there(), 0);
        let again = run("Revert", down);
        assert!(again.log.contains("was done before"), "{}", again.log);
    }
    assert_eq!(
        server.texts("SELECT phase FROM stepgate.files ORDER BY 1"),
        ["revert"]
    );
}
