//! Preflight: what would stop a phase is named, and nothing is changed.

use std::{fs, process::Stdio};

use serde_json::json;

use crate::{
    runner::Task,
    server::{SECRET, Server, as_nobody, free_port, wait_for},
};

fn preflight(server: &Server) -> Task {
    looking_at(
        server,
        &[("expand.sql", "ALTER TABLE users ADD full_name text")],
    )
}

/// A preflight of files that another phase is about to run.
fn looking_at(server: &Server, files: &[(&str, &str)]) -> Task {
    let mut task = Task::files(server, "Preflight", files);
    task.order["upcoming"] = task.order["files"].take();
    task.order["files"] = json!([]);
    task
}

#[test]
fn files_of_its_own_may_only_read_and_say_what_is_wrong() {
    let server = Server::start();
    server.sql("CREATE TABLE users (id bigint PRIMARY KEY, name text)");
    let check = "DO $$ BEGIN IF EXISTS (SELECT FROM users WHERE name IS NULL) THEN \
                 RAISE EXCEPTION 'names are missing'; END IF; END $$";
    let task = |text: &str| Task::files(&server, "Preflight", &[("check.sql", text)]);
    task(check).run().done();
    server.sql("INSERT INTO users VALUES (1, NULL)");
    let refused = task(&format!("SELECT 1;\n{check}")).run();
    let refused = refused.failed("StatementFailed");
    assert!(refused.message().contains("raised an error"), "{refused:?}");
    assert_eq!(refused.report["line"], 2);
    for writes in [
        "UPDATE users SET name = 'a'",
        "ALTER TABLE users ADD full_name text",
        "SELECT 1; DELETE FROM users",
    ] {
        let refused = task(writes).run().failed("StatementFailed");
        assert_eq!(refused.report["sqlstate"], "25006", "{writes}");
        assert_eq!(refused.report["applied"], false);
    }
    assert_eq!(
        server.number("SELECT count(*) FROM users WHERE name IS NULL"),
        1
    );
    assert_eq!(
        server.number("SELECT count(*) FROM pg_namespace WHERE nspname = 'stepgate'"),
        0
    );
}

#[test]
fn a_good_database_passes_and_is_left_as_it_is() {
    let server = Server::start();
    server.sql("CREATE TABLE users (id bigint PRIMARY KEY)");
    preflight(&server).run().done();
    assert_eq!(
        server.number("SELECT count(*) FROM pg_namespace WHERE nspname = 'stepgate'"),
        0
    );
    assert_eq!(
        server.number("SELECT count(*) FROM pg_attribute WHERE attname = 'full_name'"),
        0
    );
    // It does not wait for a phase that runs.
    let task = Task::expand(&server, "SELECT pg_sleep(3)");
    let run = task.spawn();
    wait_for("an expand", || {
        server.log().contains("pg_sleep(3)").then_some(())
    });
    preflight(&server).with("deadlineSeconds", 1).run().done();
    run.end().done();
    let refused = preflight(&server)
        .with("database", "other")
        .run()
        .failed("WrongDatabase");
    assert_eq!(refused.report["applied"], false);
}

#[test]
fn everything_that_is_missing_is_named_with_its_grant() {
    let server = Server::start();
    let mut admin = server.at("shop");
    admin
        .batch_execute(
            "CREATE TABLE users (id bigint PRIMARY KEY); ALTER DATABASE shop OWNER TO admin; \
             REVOKE TEMPORARY ON DATABASE shop FROM PUBLIC; REVOKE pg_monitor FROM ddl",
        )
        .unwrap();
    let mut task = looking_at(
        &server,
        &[
            (
                "expand.sql",
                "SELECT 1;\nALTER TABLE users ADD full_name text;",
            ),
            ("index.sql", "CREATE INDEX CONCURRENTLY i ON users (id)"),
        ],
    );
    task.order["batches"] = json!([{"name": "names", "table": "users", "key": ["id"], "set": "id = id", "where": "false"}]);
    let _standby = server.standby();
    let refused = task.run().failed("MissingRights");
    for words in [
        "CREATE SCHEMA stepgate AUTHORIZATION ddl",
        "GRANT TEMPORARY ON DATABASE shop TO ddl",
        "expand.sql:2, statement 2: users belongs to admin: GRANT admin TO ddl",
        "GRANT SELECT, UPDATE ON users TO ddl",
        "GRANT pg_monitor",
    ] {
        assert!(
            refused.message().contains(words),
            "{words}: {}",
            refused.message()
        );
    }
    // Without its rights, a phase says the same of the ledger.
    Task::expand(&server, "SELECT 1")
        .run()
        .failed("MissingRights");
    admin.batch_execute("CREATE SCHEMA stepgate AUTHORIZATION ddl; GRANT TEMPORARY ON DATABASE shop TO ddl; GRANT ddl TO admin; ALTER TABLE users OWNER TO ddl").unwrap();
    task.run().failed("LagUnreadable");
    task.limit("maxLagSeconds", 0).run().done();
    // What it asked for is all that it needs: the role may still make no schema.
    Task::expand(&server, "SELECT 1")
        .limit("maxLagSeconds", 0)
        .run()
        .done();
}

#[test]
fn a_standby_is_refused() {
    let server = Server::start();
    let standby = server.standby();
    let refused = preflight(&server)
        .at(standby.url())
        .with("deadlineSeconds", 1)
        .run()
        .is(64, "DeadlineExceeded");
    assert!(refused.message().contains("is a standby"), "{refused:?}");
    // All hosts in one URI find the primary.
    let both = format!(
        "postgres://ddl:{SECRET}@127.0.0.1:{},127.0.0.1:{}/shop?sslmode=disable&target_session_attrs=read-write",
        standby.port(),
        server.port()
    );
    Task::expand(&server, "CREATE TABLE users ()")
        .at(both)
        .run()
        .done();
}

#[test]
fn a_role_that_may_only_read_is_refused() {
    let server = Server::start();
    server
        .at("shop")
        .batch_execute("ALTER ROLE ddl SET default_transaction_read_only = on")
        .unwrap();
    preflight(&server).run().failed("ReadOnly");
}

#[test]
fn a_pooler_is_refused_whatever_its_mode() {
    let server = Server::start();
    for mode in ["transaction", "session"] {
        let port = free_port();
        let settings = server.path(&format!("{mode}.ini"));
        fs::write(server.path("users.txt"), format!("\"ddl\" \"{SECRET}\"\n")).unwrap();
        fs::write(
            &settings,
            format!(
                "[databases]\nshop = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
                 unix_socket_dir =\npool_mode = {mode}\nauth_type = plain\nauth_file = {}\n\
                 ignore_startup_parameters = extra_float_digits\n",
                server.port(),
                server.path("users.txt").display()
            ),
        )
        .unwrap();
        let mut pooler = as_nobody("/usr/sbin/pgbouncer".as_ref())
            .arg(&settings)
            .stderr(Stdio::null())
            .spawn()
            .expect("the tests need PgBouncer (Debian: pgbouncer)");
        wait_for("PgBouncer", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        });
        let refused = preflight(&server).at(server.url_of(port)).run();
        pooler.kill().unwrap();
        pooler.wait().unwrap();
        let refused = refused.failed("Pooler");
        assert!(
            refused.message().contains("PostgreSQL's own host and port"),
            "{refused:?}"
        );
    }
}
