//! Others are not held up: short waits for locks, and a second session that cancels.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    runner::Task,
    server::{Server, wait_for},
};

#[test]
fn a_long_transaction_of_others_is_waited_for_in_short_waits() {
    let server = Server::start();
    server.sql("CREATE TABLE users (id int)");
    let mut old = server.app();
    old.batch_execute("BEGIN; SELECT count(*) FROM users")
        .unwrap();
    let task = Task::expand(&server, "ALTER TABLE users ADD full_name text");
    let run = task.spawn();
    run.says("55P03");
    run.says("The lock is held by pid");
    run.says("`test`, transaction of");
    // While it is tried again and again, nobody waits for long.
    let mut other = server.app();
    let mut longest = Duration::ZERO;
    for _ in 0..40 {
        let began = Instant::now();
        other.batch_execute("SELECT count(*) FROM users").unwrap();
        longest = longest.max(began.elapsed());
        thread::sleep(Duration::from_millis(50));
    }
    assert!(longest < Duration::from_millis(1500), "{longest:?}");
    old.batch_execute("COMMIT").unwrap();
    let done = run.end().done();
    assert!(done.again("LockTimeout") >= 1, "{done:?}");
    assert!(
        done.report["millisecondsTryingAgain"].as_u64().unwrap() > 1000,
        "{done:?}"
    );
}

#[test]
fn a_statement_that_others_wait_for_is_cancelled_and_tried_again() {
    let server = Server::start();
    server.sql("CREATE TABLE users (id int); CREATE TABLE slow (seconds int); INSERT INTO slow VALUES (30)");
    let task = Task::expand(
        &server,
        "LOCK TABLE users; SELECT pg_sleep(seconds) FROM slow",
    )
    .limit("blockedSeconds", 1);
    let run = task.spawn();
    wait_for("the lock", || {
        server.log().contains("pg_sleep(seconds)").then_some(())
    });
    server.sql("UPDATE slow SET seconds = 0");
    let began = Instant::now();
    server.sql("SELECT count(*) FROM users");
    let waited = began.elapsed();
    assert!(
        waited > Duration::from_millis(500) && waited < Duration::from_secs(5),
        "{waited:?}"
    );
    let done = run.end().done();
    assert!(done.again("OthersWaited") >= 1, "{done:?}");
    assert!(done.log.contains("1 other sessions waited"), "{done:?}");
}

#[test]
fn what_somebody_else_cancels_is_not_tried_again() {
    let server = Server::start();
    let task = Task::expand(&server, "SELECT pg_sleep(30)");
    let run = task.spawn();
    wait_for("the statement", || {
        server.log().contains("pg_sleep(30)").then_some(())
    });
    server.number("SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE application_name LIKE 'stepgate expand%'");
    let ended = run.end().failed("Cancelled");
    assert_eq!(ended.report["sqlstate"], "57014");
}

#[test]
fn a_deadlock_is_tried_again() {
    let server = Server::start();
    server.sql(
        "CREATE TABLE a (); CREATE TABLE b (); CREATE TABLE go (n int); INSERT INTO go VALUES (3)",
    );
    let task = Task::expand(
        &server,
        "SET lock_timeout = 0; SET deadlock_timeout = '100ms'; LOCK TABLE a; SELECT pg_sleep(n) FROM go; LOCK TABLE b",
    );
    // Whoever notices it first is the one that is ended.
    server
        .at("shop")
        .batch_execute("GRANT SET ON PARAMETER deadlock_timeout TO ddl")
        .unwrap();
    let run = task.spawn();
    wait_for("the first lock", || {
        server.log().contains("pg_sleep(n)").then_some(())
    });
    let mut other = server.at("shop");
    other
        .batch_execute("SET deadlock_timeout = '60s'; BEGIN; UPDATE go SET n = 0; LOCK TABLE b; LOCK TABLE a; COMMIT")
        .unwrap();
    let done = run.end().done();
    assert!(done.again("Deadlock") >= 1, "{done:?}");
}
