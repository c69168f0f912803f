//! Batches: every row once, however keys look, whatever interrupts; then the proof.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    runner::Task,
    server::{Server, free_port, wait_for},
};

const LEFT: &str = "SELECT count(*) FROM users WHERE full_name IS NULL";

fn users(server: &Server, rows: i32) {
    server.sql(&format!(
        "CREATE TABLE users (id bigint PRIMARY KEY, name text, full_name text, times int NOT NULL DEFAULT 0);
         INSERT INTO users (id, name) SELECT n * 3, 'user' || n FROM generate_series(1, {rows}) AS n; ANALYZE users"
    ));
}

fn names() -> Value {
    json!({"name": "names", "table": "public.users", "key": ["id"],
           "set": "full_name = name, times = times + 1", "where": "full_name IS NULL", "maxRows": 1000})
}

/// What the ledger has of all batches; 0 before there is one.
fn rows_done(server: &Server) -> i64 {
    if server.number(
        "SELECT count(*) FROM pg_tables WHERE schemaname = 'stepgate' AND tablename = 'batches'",
    ) == 0
    {
        return 0;
    }
    server.number("SELECT coalesce(sum(rows_done), 0)::bigint FROM stepgate.batches")
}

#[test]
fn rows_are_filled_once_and_proved() {
    let server = Server::start();
    users(&server, 20_000);
    let task = Task::batch(&server, names());
    let done = task.run().done();
    assert_eq!(
        done.report["proofs"],
        json!([{"name": "names", "left": 0, "rows": 20_000}])
    );
    assert_eq!(server.number(LEFT), 0);
    assert_eq!(
        server.number("SELECT count(*) FROM users WHERE times = 1"),
        20_000
    );
    assert_eq!(
        server.number("SELECT rows_done FROM stepgate.batches WHERE proved IS NOT NULL"),
        20_000
    );
    // Older code has written since: the same order fills it again, and only that.
    server.sql("UPDATE users SET full_name = NULL WHERE id = 300");
    task.run().done();
    assert_eq!(
        server.number("SELECT count(*) FROM users WHERE times = 2"),
        1
    );
    // The contract counts before its first statement.
    let contract = |version: i32| {
        let mut task = Task::files(
            &server,
            "Contract",
            &[("contract.sql", "ALTER TABLE users DROP name")],
        )
        .with("version", version);
        task.order["proofs"] =
            json!([{"name": "names", "table": "users", "where": "full_name IS NULL"}]);
        task
    };
    server.sql("UPDATE users SET full_name = NULL WHERE id IN (3, 6)");
    let refused = contract(7).run().is(65, "ProofFailed");
    assert!(refused.message().contains("2 rows of users"), "{refused:?}");
    assert_eq!(refused.report["applied"], false);
    assert_eq!(server.number("SELECT count(*) FROM pg_attribute WHERE attrelid = 'users'::regclass AND attname = 'name'"), 1);
    task.run().done();
    contract(7).run().done();
    assert_eq!(server.number("SELECT count(*) FROM pg_attribute WHERE attrelid = 'users'::regclass AND attname = 'name'"), 0);
}

/// Their order is longer than Linux lets one variable be.
#[test]
fn sixteen_of_the_longest_batches_run() {
    let server = Server::start();
    users(&server, 50);
    let long = "é".repeat(4000);
    let batch = |n: usize| {
        json!({"name": format!("batch-{n}"), "table": "public.users", "key": ["id"],
               "set": format!("full_name = left('{long}', 1) || name"),
               "where": format!("full_name IS NULL AND '{long}' <> ''"), "maxRows": 1000})
    };
    let mut task = Task::batch(&server, batch(0));
    let batches: Vec<Value> = (0..16).map(batch).collect();
    task.order["batches"] = json!(batches);
    assert!(task.order.to_string().len() > 128 * 1024);
    task.run().done();
    assert_eq!(server.number(LEFT), 0);
    assert_eq!(
        server.number("SELECT count(*) FROM stepgate.batches WHERE proved IS NOT NULL"),
        16
    );
}

/// Its first file has dropped the column that the proof counts.
#[test]
fn a_contract_that_came_half_way_is_retried_without_its_proofs() {
    let server = Server::start();
    users(&server, 10);
    server.sql("UPDATE users SET full_name = name");
    let files = [
        ("a.sql", "ALTER TABLE users DROP full_name"),
        ("b.sql", "ALTER TABLE missing DROP name"),
    ];
    let mut task = Task::files(&server, "Contract", &files);
    task.order["proofs"] =
        json!([{"name": "names", "table": "users", "where": "full_name IS NULL"}]);
    let failed = task.run().is(1, "StatementFailed");
    assert_eq!(
        failed.report["proofs"],
        json!([{"name": "names", "left": 0}])
    );
    server.sql("CREATE TABLE missing (name text)");
    let done = task.run().done();
    assert!(done.log.contains("not counted again"), "{done:?}");
    assert_eq!(done.report.get("proofs"), None);
}

#[test]
fn a_killed_run_loses_at_most_a_batch() {
    let server = Server::start();
    users(&server, 30_000);
    // Slow enough to be met in the middle.
    server.sql(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.0002); RETURN NEW; END $$;
         CREATE TRIGGER slow BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION slow()",
    );
    let task = Task::batch(&server, names());
    for part in [2000, 6000, 10_000] {
        let mut run = task.spawn();
        wait_for("some rows", || (rows_done(&server) >= part).then_some(()));
        run.kill();
        wait_for("the server has noticed", || {
            (server.number("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'stepgate backfill%'") == 0).then_some(())
        });
        // The checkpoint and the rows were committed together.
        assert_eq!(
            server.number("SELECT count(*) FROM users WHERE full_name IS NOT NULL"),
            server.number("SELECT rows_done FROM stepgate.batches")
        );
    }
    task.run().done();
    assert_eq!(server.number(LEFT), 0);
    assert_eq!(
        server.number("SELECT count(*) FROM users WHERE times <> 1"),
        0,
        "no row twice"
    );
}

/// For want of memory, say: each begins with the same rows, and none commits a batch.
#[test]
fn processes_that_are_killed_again_and_again_have_one_time_without_progress() {
    let server = Server::start();
    users(&server, 10);
    server.sql(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(60); RETURN NEW; END $$;
         CREATE TRIGGER slow BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION slow()",
    );
    let task = Task::batch(&server, names()).with("stallSeconds", 600);
    let sessions = |state: &str| {
        server.number(&format!(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'stepgate backfill%' {state}"
        ))
    };
    for number in [1, 2] {
        let mut run = task.spawn();
        wait_for("a batch at work", || {
            (sessions("AND wait_event = 'PgSleep'") > 0).then_some(())
        });
        assert_eq!(
            server.number("SELECT pods::bigint FROM stepgate.starts"),
            number
        );
        run.kill();
        wait_for("the server has noticed", || {
            (sessions("") == 0).then_some(())
        });
        // A node may be away for long: that alone ends nothing.
        server.sql("UPDATE stepgate.starts SET moved = moved - interval '1 hour'");
    }
    let ended = task.run().is(75, "DeadlineExceeded");
    for words in [
        "600 s without progress (stallSeconds) are over",
        "were killed before they came forward",
    ] {
        assert!(ended.message().contains(words), "{ended:?}");
    }
    // Another attempt has its own time.
    server.sql("DROP TRIGGER slow ON users");
    task.with("attempt", 2).run().done();
    assert_eq!(server.number(LEFT), 0);
}

#[test]
fn a_restart_of_the_server_is_survived() {
    let mut server = Server::start();
    users(&server, 30_000);
    let task = Task::batch(&server, names()).limit("batchMs", 20);
    let run = task.spawn();
    wait_for("some rows", || (rows_done(&server) > 0).then_some(()));
    server.halt();
    server.launch();
    let done = run.end().done();
    assert!(done.again("ConnectionLost") >= 1, "{done:?}");
    assert_eq!(
        server.number("SELECT count(*) FROM users WHERE times <> 1"),
        0
    );
}

#[test]
fn every_kind_of_key_is_walked() {
    let server = Server::start();
    server.sql(
        "CREATE TABLE by_uuid (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), a int);
         INSERT INTO by_uuid (a) SELECT NULL FROM generate_series(1, 3000);
         CREATE TABLE by_text (\"Code\" varchar(40) COLLATE \"C\" PRIMARY KEY, a int);
         INSERT INTO by_text SELECT 'ß''\"\\{,}' || n FROM generate_series(1, 3000) AS n;
         CREATE TABLE by_two (tenant int, at timestamptz, a int, UNIQUE (tenant, at));
         ALTER TABLE by_two ALTER tenant SET NOT NULL, ALTER at SET NOT NULL;
         INSERT INTO by_two SELECT n % 7, '2026-01-01'::timestamptz + n * interval '1 ms' FROM generate_series(1, 3000) AS n;
         CREATE TABLE parts (day date, id int, a int, PRIMARY KEY (day, id)) PARTITION BY RANGE (day);
         CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (MINVALUE) TO ('2026-02-01');
         CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM ('2026-02-01') TO (MAXVALUE);
         INSERT INTO parts SELECT '2026-01-01'::date + n % 60, n FROM generate_series(1, 3000) AS n",
    );
    let batch = |table: &str, key: Value| json!({"name": table, "table": table, "key": key, "set": "a = 1", "where": "a IS NULL", "maxRows": 700});
    let mut task = Task::new(&server, "Backfill");
    task.order["batches"] = json!([
        batch("by_uuid", json!(["id"])),
        batch("by_text", json!(["Code"])),
        batch("by_two", json!(["tenant", "at"])),
        batch("parts", json!(["day", "id"])),
    ]);
    task.run().done();
    for table in ["by_uuid", "by_text", "by_two", "parts"] {
        assert_eq!(
            server.number(&format!("SELECT count(*) FROM {table} WHERE a = 1")),
            3000,
            "{table}"
        );
    }
    assert_eq!(
        server.number("SELECT count(*) FROM stepgate.batches WHERE rows_done = 3000 AND pass = 2"),
        4
    );
}

#[test]
fn a_batch_that_cannot_be_walked_is_refused_with_what_can() {
    let server = Server::start();
    server.sql("CREATE TABLE t (id int PRIMARY KEY, a int, b int UNIQUE, \"Odd\" text)");
    let refuse = |field: &str, value: Value, reason: &str, words: &str| {
        let mut batch =
            json!({"name": "n", "table": "t", "key": ["id"], "set": "a = 1", "where": "a IS NULL"});
        batch[field] = value;
        let refused = Task::batch(&server, batch).run();
        assert_eq!(refused.reason(), reason, "{refused:?}");
        assert!(
            refused.message().contains("batches[n]") && refused.message().contains(words),
            "{words}: {}",
            refused.message()
        );
    };
    refuse("table", json!("nowhere"), "NoTable", "does not exist");
    refuse("key", json!(["nothing"]), "BadKey", "on [id], [b]");
    refuse("key", json!(["b"]), "BadKey", "permits NULL");
    refuse("key", json!(["id", "b"]), "BadKey", "permits NULL");
    server.sql("ALTER TABLE t ALTER a SET NOT NULL");
    refuse("key", json!(["a"]), "BadKey", "no unique index");
    refuse("where", json!("a = 1) OR (true"), "BadWhere", "where");
    refuse("where", json!("a ="), "BadWhere", "where");
    refuse("where", json!("true; DROP TABLE t"), "BadWhere", "where");
    refuse("where", json!("(SELECT 1"), "BadWhere", "where");
    refuse("set", json!("a = 1 WHERE true"), "BadSet", "set");
    refuse("set", json!("a"), "BadSet", "set");
    refuse(
        "where",
        json!("nowhere IS NULL"),
        "StatementFailed",
        "nowhere",
    );
    // A comment at the end swallows nothing.
    server.sql("INSERT INTO t (id, a) VALUES (1, 0)");
    Task::batch(&server, json!({"name": "n", "table": "t", "key": ["id"], "set": "a = id + 1 -- next", "where": "t.a = 0 -- empty"}))
        .run()
        .done();
    assert_eq!(server.number("SELECT a::bigint FROM t"), 2);
}

#[test]
fn a_where_that_never_empties_is_noticed() {
    let server = Server::start();
    users(&server, 2000);
    let mut batch = names();
    batch["where"] = json!("name IS NOT NULL");
    let ended = Task::batch(&server, batch).run().failed("NeverEmpties");
    assert!(ended.message().contains("rolled back"), "{ended:?}");
    assert_eq!(
        server.number("SELECT count(*) FROM users WHERE times > 0"),
        0
    );
    // Older code that writes behind the walk: each batch empties another row.
    server.sql(
        "CREATE FUNCTION old_code() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           IF pg_trigger_depth() = 1 THEN UPDATE users SET full_name = NULL WHERE id IN (3, 6, 9); END IF; RETURN NULL; END $$;
         CREATE TRIGGER old_code AFTER UPDATE ON users FOR EACH STATEMENT EXECUTE FUNCTION old_code()",
    );
    let ended = Task::batch(&server, names()).run().failed("NeverEmpties");
    assert!(
        ended
            .message()
            .contains("as fast as they are filled (3 are left"),
        "{ended:?}"
    );
}

#[test]
fn rows_that_others_have_locked_are_passed_over_and_come_later() {
    let server = Server::start();
    users(&server, 3000);
    let mut other = server.app();
    other
        .batch_execute("BEGIN; SELECT 1 FROM users WHERE id IN (30, 60) FOR UPDATE")
        .unwrap();
    let task = Task::batch(&server, names());
    let run = task.spawn();
    run.says("2 rows are locked by others");
    run.says("`test`");
    assert_eq!(server.number(LEFT), 2);
    other.batch_execute("COMMIT").unwrap();
    run.end().done();
    // It may not wait for ever.
    other
        .batch_execute("BEGIN; UPDATE users SET full_name = NULL WHERE id = 30")
        .unwrap();
    server.sql("UPDATE users SET full_name = NULL WHERE id = 60");
    other
        .batch_execute("COMMIT; BEGIN; SELECT 1 FROM users WHERE id = 30 FOR UPDATE")
        .unwrap();
    let ended = task
        .with("stallSeconds", 3)
        .run()
        .is(75, "DeadlineExceeded");
    let words = "3 s without progress (stallSeconds) are over";
    assert!(ended.message().contains(words), "{ended:?}");
    assert_eq!(server.number(LEFT), 1);
}

#[test]
fn hidden_rows_are_an_error_and_not_done() {
    let server = Server::start();
    users(&server, 10);
    server.at("shop").batch_execute(
        "ALTER TABLE users OWNER TO admin; GRANT SELECT, UPDATE ON users TO ddl; ALTER TABLE users ENABLE ROW LEVEL SECURITY;
         CREATE POLICY few ON users USING (id < 10)").unwrap();
    let refused = Task::batch(&server, names())
        .run()
        .failed("StatementFailed");
    assert_eq!(refused.report["sqlstate"], "42501");
    assert!(
        refused.message().contains("row-level security"),
        "{refused:?}"
    );
}

#[test]
fn lag_pauses_the_batches() {
    let server = Server::start();
    users(&server, 60_000);
    let mut standby = server.standby();
    let port = free_port();
    let task = Task::batch(&server, names())
        .limit("maxLagSeconds", 2)
        .limit("batchMs", 50)
        .argument("--progress")
        .argument(format!("127.0.0.1:{port}"));
    // A standby that does not replay what it gets.
    standby
        .at("postgres")
        .batch_execute("SELECT pg_wal_replay_pause()")
        .unwrap();
    server.sql(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.0002); RETURN NEW; END $$;
         CREATE TRIGGER slow BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION slow()",
    );
    let run = task.spawn();
    run.says("s behind (maxLagSeconds 2): the batches wait");
    let before = server.number("SELECT rows_done FROM stepgate.batches");
    thread::sleep(Duration::from_secs(1));
    assert_eq!(
        server.number("SELECT rows_done FROM stepgate.batches"),
        before
    );
    assert!(before < 60_000);
    // Whoever reads how far it is reads why it stands.
    let told = progress_on(port).expect("its progress");
    let why = told["paused"].as_str().unwrap_or_default();
    assert!(why.contains("s behind (maxLagSeconds 2)"), "{told}");
    // The rest need not last.
    server.sql("DROP TRIGGER slow ON users");
    standby
        .at("postgres")
        .batch_execute("SELECT pg_wal_replay_resume()")
        .unwrap();
    run.says("replication has followed");
    wait_for("it goes on", || {
        let told = progress_on(port);
        told.is_none_or(|told| told["paused"].is_null())
            .then_some(())
    });
    run.end().done();
    standby.halt();
}

#[test]
fn a_slot_that_nobody_reads_pauses_too() {
    let server = Server::start();
    users(&server, 60_000);
    server
        .at("shop")
        .batch_execute("SELECT pg_create_physical_replication_slot('left_behind', true)")
        .unwrap();
    server.sql(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.0002); RETURN NEW; END $$;
         CREATE TRIGGER slow BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION slow()",
    );
    let task = Task::batch(&server, names())
        .limit("maxLagSeconds", 1)
        .limit("batchMs", 50);
    let run = task.spawn();
    run.says("the batches wait");
    server.sql("DROP TRIGGER slow ON users");
    server
        .at("shop")
        .batch_execute("SELECT pg_drop_replication_slot('left_behind')")
        .unwrap();
    run.end().done();
}

/// What a run says on its port of how far it is.
fn progress_on(port: u16) -> Option<Value> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream
        .write_all(b"GET /progress HTTP/1.1\r\nHost: x\r\n\r\n")
        .ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    Some(serde_json::from_str(text.split_once("\r\n\r\n")?.1).unwrap())
}

#[test]
fn progress_is_told_on_a_port() {
    let server = Server::start();
    users(&server, 20_000);
    server.sql(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.0002); RETURN NEW; END $$;
         CREATE TRIGGER slow BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION slow()",
    );
    let port = free_port();
    let task = Task::batch(&server, names())
        .argument("--progress")
        .argument(format!("127.0.0.1:{port}"));
    let run = task.spawn();
    let progress = wait_for("a rate", || {
        let progress = progress_on(port)?;
        (progress["rowsPerSecond"].as_f64()? > 0.0 && progress["secondsLeft"].is_number())
            .then_some(progress)
    });
    assert_eq!(
        (
            &progress["batch"],
            &progress["rowsTotal"],
            &progress["pass"]
        ),
        (&"names".into(), &20_000.into(), &1.into())
    );
    assert_eq!(
        (&progress["number"], &progress["batches"]),
        (&1.into(), &1.into())
    );
    assert!(progress["rowsDone"].as_i64().unwrap() > 0, "{progress}");
    let memory = run.memory();
    assert!(memory < 30_000, "{memory} KiB");
    run.end().done();
}
