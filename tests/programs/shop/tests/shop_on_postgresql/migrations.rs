//! `shop migrate`: re-runnable, in order, polite, and clean when it fails.

use std::{
    io::{BufRead as _, BufReader},
    process::Stdio,
};

use crate::postgres_server::PostgresServer;
use crate::shop_process::{eventually, migrate, migrated, said, shop};

#[test]
fn every_phase_can_be_run_again() {
    let server = PostgresServer::start();
    let url = server.url();
    for phase in [
        "expand --version v1",
        "expand --version v2",
        "backfill --version v2",
        "expand --version v3",
        "expand --version v4",
        "contract --version v4",
    ] {
        migrated(&url, phase);
        let (columns, record) = (server.columns(), server.record());
        let users = server.count("SELECT count(*) FROM users");
        migrated(&url, phase);
        assert_eq!(server.columns(), columns, "{phase}");
        assert_eq!(server.record(), record, "{phase}");
        assert_eq!(server.count("SELECT count(*) FROM users"), users, "{phase}");
    }
    let expected = [
        "1 expand",
        "2 expand",
        "2 backfill",
        "3 expand",
        "4 expand",
        "4 contract",
    ];
    assert_eq!(server.record(), expected);
    assert_eq!(server.columns(), ["full_name", "id"]);
    assert_eq!(
        server.count("SELECT count(*) FROM users WHERE full_name LIKE 'User %'"),
        100
    );
}

#[test]
fn an_empty_database_goes_straight_to_the_newest() {
    let server = PostgresServer::start();
    migrated(&server.url(), "expand --version v4");
    assert_eq!(server.columns(), ["full_name", "id", "name"]);
    assert_eq!(
        server.count("SELECT count(*) FROM users WHERE full_name IS NULL"),
        0
    );
}

#[test]
fn migrations_at_the_same_time_do_each_step_once() {
    let server = PostgresServer::start();
    let command = |_| {
        let mut command = shop(&server.url());
        command.args(["migrate", "expand", "--version", "v4"]);
        command.spawn().unwrap()
    };
    let children: Vec<_> = (0..4).map(command).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(server.count("SELECT count(*) FROM users"), 100);
    assert_eq!(server.record().len(), 5);
}

/// A first installation that dies leaves nothing: a part of it would look like an older release.
#[test]
fn a_first_migration_that_fails_half_way_can_be_run_again() {
    let server = PostgresServer::start();
    let mut client = server.client();
    // Only v4's own step fails.
    client
        .batch_execute(
            "CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS
             $$BEGIN IF current_query() LIKE '%DROP NOT NULL%' THEN RAISE 'refused'; END IF; END$$;
             CREATE EVENT TRIGGER refuse ON ddl_command_start EXECUTE FUNCTION refuse()",
        )
        .unwrap();
    let died = migrate(&server.url(), "expand --version v4");
    assert!(said(&died).contains("refused"), "{}", said(&died));
    assert_eq!((server.columns(), server.record()), (vec![], vec![]));
    client.batch_execute("DROP EVENT TRIGGER refuse").unwrap();
    migrated(&server.url(), "expand --version v4");
    assert_eq!(server.columns(), ["full_name", "id", "name"]);
}

#[test]
fn releases_cannot_be_left_out_or_come_back_after_the_contract() {
    let server = PostgresServer::start();
    let url = server.url();
    migrated(&url, "expand --version v1");
    let skipped = migrate(&url, "expand --version v3");
    assert!(!skipped.status.success());
    assert!(said(&skipped).contains("v3 cannot follow schema version 1: release v2 first"));
    assert_eq!(server.columns(), ["id", "name"]);

    let early = migrate(&url, "contract --version v4");
    assert!(
        said(&early).contains("v4 needs schema version 2"),
        "{}",
        said(&early)
    );

    for version in 2..=4 {
        migrated(&url, &format!("expand --version v{version}"));
    }
    migrated(&url, "contract --version v4");
    let back = migrate(&url, "expand --version v3");
    assert!(said(&back).contains("v3 cannot run any more: schema version 4 has dropped"));
    assert!(!back.status.success());
}

#[test]
fn a_taken_lock_is_asked_for_again_and_users_are_let_through() {
    let server = PostgresServer::start();
    let url = server.url();
    migrated(&url, "expand --version v1");
    let mut other = server.client();
    let mut transaction = other.transaction().unwrap();
    transaction
        .batch_execute("LOCK TABLE users IN ROW EXCLUSIVE MODE")
        .unwrap();

    let short = "expand --version v2 --lock-timeout-ms 50 --lock-attempts 3";
    let refused = migrate(&url, short);
    assert!(!refused.status.success());
    assert!(
        said(&refused).contains("through 3 attempts"),
        "{}",
        said(&refused)
    );
    assert_eq!(server.columns(), ["id", "name"]);

    let mut waiting = shop(&url)
        .args("migrate expand --version v2 --lock-timeout-ms 50 --lock-attempts 1000".split(' '))
        .spawn()
        .unwrap();
    let asks = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'users'::regclass";
    eventually("it asks for the lock", || server.count(asks) == 1);
    eventually("it lets users through", || server.count(asks) == 0);
    transaction.commit().unwrap();
    assert!(waiting.wait().unwrap().success());
    assert_eq!(server.columns(), ["full_name", "id", "name"]);
}

#[test]
fn a_bad_expand_fails_and_leaves_nothing_behind() {
    let server = PostgresServer::start();
    let url = server.url();
    migrated(&url, "expand --version v1");
    for fault in [
        migrate(&url, "expand --version v2 --fault bad-migration"),
        {
            // After a good v2 too.
            migrated(&url, "expand --version v2");
            migrate(&url, "expand --version v2 --fault bad-migration")
        },
    ] {
        assert_eq!(fault.status.code(), Some(1));
        assert!(said(&fault).contains("full_name"), "{}", said(&fault));
    }
    assert_eq!(server.columns(), ["full_name", "id", "name"]);
    assert_eq!(server.record(), ["1 expand", "2 expand"]);

    let fresh = PostgresServer::start();
    migrated(&fresh.url(), "expand --version v1");
    migrate(&fresh.url(), "expand --version v2 --fault bad-migration");
    assert_eq!(fresh.columns(), ["id", "name"]);
    assert_eq!(fresh.record(), ["1 expand"]);
}

#[test]
fn the_backfill_goes_in_batches_and_comes_back_for_held_rows() {
    let server = PostgresServer::start();
    let url = server.url();
    migrated(&url, "expand --version v1");
    migrated(&url, "expand --version v2");
    let mut client = server.client();
    let many = "INSERT INTO users (name) SELECT 'Old ' || n FROM generate_series(1, 900) n";
    client.batch_execute(many).unwrap();
    let mut holder = server.client();
    let mut held = holder.transaction().unwrap();
    held.batch_execute("SELECT FROM users WHERE id = 5 FOR UPDATE")
        .unwrap();

    let mut backfill = shop(&url)
        .args("migrate backfill --version v2 --batch 100 --pause-ms 1".split(' '))
        .spawn()
        .unwrap();
    let left = "SELECT count(*) FROM users WHERE full_name IS NULL";
    eventually("all but the held row are filled", || {
        server.count(left) == 1
    });
    assert!(
        backfill.try_wait().unwrap().is_none(),
        "it must not give up on the held row"
    );
    assert!(!server.record().contains(&"2 backfill".to_owned()));
    held.commit().unwrap();
    assert!(backfill.wait().unwrap().success());
    assert_eq!(
        server.count("SELECT count(*) FROM users WHERE full_name = name"),
        1000
    );
    assert!(server.record().contains(&"2 backfill".to_owned()));
    // Ten batches and the held row: each is a transaction of its own.
    let transactions = "SELECT count(DISTINCT xmin::text) FROM users";
    assert!(server.count(transactions) >= 10);
}

#[test]
fn the_contract_refuses_to_lose_a_name() {
    let server = PostgresServer::start();
    let url = server.url();
    migrated(&url, "expand --version v4");
    server
        .client()
        .batch_execute("INSERT INTO users (name) VALUES ('Late')")
        .unwrap();
    let refused = migrate(&url, "contract --version v4");
    assert!(!refused.status.success());
    assert!(
        said(&refused).contains("1 users have no full_name"),
        "{}",
        said(&refused)
    );
    migrated(&url, "backfill --version v4");
    migrated(&url, "contract --version v4");
    assert_eq!(
        server.count("SELECT count(*) FROM users WHERE full_name = 'Late'"),
        1
    );
}

#[test]
fn a_migration_waits_for_the_database_and_says_when_it_gives_up() {
    let mut server = PostgresServer::prepare();
    let gave_up = migrate(&server.url(), "expand --version v1 --wait-seconds 0");
    assert!(!gave_up.status.success());
    assert!(said(&gave_up).contains("PostgreSQL"), "{}", said(&gave_up));

    let mut waiting = shop(&server.url())
        .args(["migrate", "expand", "--version", "v1"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(waiting.stderr.take().unwrap()).lines();
    let waits = lines.any(|line| line.unwrap().contains("waiting for PostgreSQL"));
    assert!(waits, "it must wait");
    server.launch();
    // What it says after that goes nowhere, and must not fill the pipe.
    let read = std::thread::spawn(move || lines.for_each(drop));
    assert!(waiting.wait().unwrap().success());
    read.join().unwrap();
}
