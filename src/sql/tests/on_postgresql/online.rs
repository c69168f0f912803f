//! Statements beside the traffic: concurrent indexes, VALIDATE.

use crate::{
    runner::Task,
    server::{Server, wait_for},
};

const USERS: &str = "CREATE TABLE users (id bigint PRIMARY KEY, email text NOT NULL, active bool);
    INSERT INTO users SELECT n, 'user' || n, n % 2 = 0 FROM generate_series(1, 1000) AS n";
const INDEX: &str = "CREATE INDEX CONCURRENTLY by_email ON users (lower(email)) WHERE active;";

fn valid(server: &Server) -> i64 {
    server.number(
        "SELECT count(*) FROM pg_index WHERE indexrelid = to_regclass('by_email') AND indisvalid",
    )
}

#[test]
fn an_index_waits_for_old_transactions_and_is_built_once() {
    let server = Server::start();
    server.sql(USERS);
    let mut old = server.app();
    old.batch_execute("BEGIN; UPDATE users SET active = true WHERE id = 1")
        .unwrap();
    let task = Task::expand(&server, INDEX);
    let run = task.spawn();
    // Longer than lock_timeout, which does not hold for it.
    wait_for("the build waits", || {
        (server.number("SELECT count(*) FROM pg_locks WHERE NOT granted AND waitstart < now() - interval '2 s'") > 0).then_some(())
    });
    old.batch_execute("COMMIT").unwrap();
    let done = run.end().done();
    assert_eq!(done.report["triedAgain"], serde_json::json!({}));
    assert_eq!(valid(&server), 1);
    // As if the ledger's entry had been lost in a crash after the build.
    server.sql("DELETE FROM stepgate.files");
    task.run().done();
    assert_eq!(valid(&server), 1);
}

#[test]
fn an_interrupted_build_of_ours_is_dropped_and_built_again() {
    let server = Server::start();
    server.sql(USERS);
    let mut old = server.app();
    old.batch_execute("BEGIN; UPDATE users SET active = true WHERE id = 1")
        .unwrap();
    let task = Task::expand(&server, INDEX);
    let mut run = task.spawn();
    wait_for("an index that is not ready", || {
        (server.number("SELECT count(*) FROM pg_index WHERE indexrelid = to_regclass('by_email')")
            > 0)
        .then_some(())
    });
    run.kill();
    wait_for("the server has noticed", || {
        (server.number(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'stepgate expand%'",
        ) == 0)
            .then_some(())
    });
    assert_eq!(valid(&server), 0);
    old.batch_execute("COMMIT").unwrap();
    let done = task.run().done();
    assert!(
        done.log.contains("left of an interrupted build"),
        "{done:?}"
    );
    assert_eq!(valid(&server), 1);
}

#[test]
fn somebody_elses_index_is_left_alone() {
    let server = Server::start();
    server.sql(USERS);
    let mut other = server.app();
    other
        .batch_execute("UPDATE users SET email = 'twice' WHERE id IN (1, 2)")
        .unwrap();
    other
        .batch_execute("CREATE UNIQUE INDEX CONCURRENTLY by_email ON users (email)")
        .unwrap_err();
    let task = Task::expand(
        &server,
        "CREATE UNIQUE INDEX CONCURRENTLY by_email ON users (email)",
    );
    let refused = task.run().failed("InvalidIndex");
    assert!(
        refused
            .message()
            .contains("DROP INDEX CONCURRENTLY \"public\".\"by_email\""),
        "{refused:?}"
    );
    assert_eq!(
        server.number("SELECT count(*) FROM pg_class WHERE relname = 'by_email'"),
        1
    );
    server.sql("DROP INDEX by_email; CREATE INDEX by_email ON users (id)");
    let refused = task.run().failed("IndexDiffers");
    assert!(
        refused.message().contains("UNIQUE USING btree (email)"),
        "{refused:?}"
    );
    assert_eq!(refused.report["applied"], false);
}

#[test]
fn a_build_that_fails_leaves_no_index_that_refuses_rows() {
    let server = Server::start();
    server.sql(USERS);
    server.sql("UPDATE users SET email = 'twice' WHERE id IN (1, 2)");
    let failed = Task::expand(
        &server,
        "CREATE UNIQUE INDEX CONCURRENTLY by_email ON users (email)",
    )
    .run()
    .failed("StatementFailed");
    assert_eq!(
        (&failed.report["sqlstate"], &failed.report["applied"]),
        (&"23505".into(), &false.into())
    );
    assert!(!failed.log.contains("twice"), "{failed:?}");
    assert_eq!(
        server.number("SELECT count(*) FROM pg_class WHERE relname = 'by_email'"),
        0
    );
    server.sql("UPDATE users SET email = 'other' WHERE id = 2");
    Task::expand(
        &server,
        "CREATE UNIQUE INDEX CONCURRENTLY by_email ON users (email)",
    )
    .run()
    .done();
}

#[test]
fn an_index_is_dropped_once_and_constraints_are_validated() {
    let server = Server::start();
    server.sql(USERS);
    server.sql("CREATE INDEX old ON users (email); ALTER TABLE users ADD CONSTRAINT given CHECK (email <> '') NOT VALID");
    let task = Task::expand(
        &server,
        "DROP INDEX CONCURRENTLY old;\nALTER TABLE users VALIDATE CONSTRAINT given;\nVACUUM users;\nREINDEX INDEX CONCURRENTLY users_pkey;",
    );
    task.run().done();
    assert_eq!(
        server.number("SELECT count(*) FROM pg_class WHERE relname = 'old'"),
        0
    );
    assert_eq!(
        server
            .number("SELECT count(*) FROM pg_constraint WHERE conname = 'given' AND convalidated"),
        1
    );
    // The drop happened, its entry did not.
    server.sql("UPDATE stepgate.files SET done = 0, finished = NULL");
    task.run().done();
    let refused = Task::expand(&server, "DROP INDEX CONCURRENTLY never")
        .with("version", 8)
        .run()
        .failed("StatementFailed");
    assert!(refused.message().contains("IF EXISTS"), "{refused:?}");
}
