//! The operator's record and the ledger: whichever of them was restored from a backup, nothing runs
//! while they disagree, and the way out is said.

use serde_json::{Value, json};

use crate::{runner::Task, server::Server};

const USERS: &str = "CREATE TABLE users (id bigint PRIMARY KEY, name text)";

fn task(server: &Server, phase: &str, version: i64, text: &str) -> Task {
    Task::files(server, phase, &[("a.sql", text)]).with("version", version)
}

/// What is on record: versions whose phase has succeeded, and others.
fn record(phases: &[(&str, &[i64], &[i64])]) -> Value {
    let all = ["Expand", "Backfill", "Contract", "Revert"].map(|phase| {
        let known = phases.iter().find(|(of, ..)| *of == phase);
        let (done, others) = known.map_or((&[][..], &[][..]), |(_, done, others)| (*done, *others));
        json!({"phase": phase, "done": done, "others": others})
    });
    json!({ "phases": all })
}

/// Version 6 is expanded, version 7 too, with its backfill and its contract.
fn filled() -> Server {
    let server = Server::start();
    server.sql(USERS);
    server.sql("INSERT INTO users SELECT n, 'a' FROM generate_series(1, 10) n");
    task(&server, "Expand", 6, "ALTER TABLE users ADD mail text")
        .run()
        .done();
    let six = record(&[("Expand", &[6], &[])]);
    task(&server, "Expand", 7, "ALTER TABLE users ADD full_name text")
        .with("recorded", six)
        .run()
        .done();
    let both = || record(&[("Expand", &[6, 7], &[])]);
    Task::batch(
        &server,
        json!({"name": "names", "table": "public.users", "key": ["id"], "set": "full_name = name",
               "where": "full_name IS NULL"}),
    )
    .with("recorded", both())
    .run()
    .done();
    task(&server, "Contract", 7, "ALTER TABLE users DROP COLUMN name")
        .with("recorded", both())
        .run()
        .done();
    server
}

const NEXT: &str = "ALTER TABLE users ADD phone text";

fn columns(server: &Server) -> i64 {
    server.number("SELECT count(*) FROM pg_attribute WHERE attrelid = 'users'::regclass AND attnum > 0 AND NOT attisdropped")
}

#[test]
fn an_empty_record_is_a_baseline_and_one_that_agrees_lets_everything_run() {
    let server = filled();
    task(&server, "Expand", 8, NEXT).run().done();
    let all = record(&[
        ("Expand", &[6, 7, 8], &[]),
        ("Backfill", &[7], &[]),
        ("Contract", &[7], &[]),
    ]);
    let next = "ALTER TABLE users ADD fax text";
    task(&server, "Expand", 9, next)
        .with("recorded", all)
        .run()
        .done();
    // What was there when nothing was on record is where it begins.
    let later = record(&[("Expand", &[8], &[9])]);
    let next = "ALTER TABLE users ADD pager text";
    task(&server, "Expand", 10, next)
        .with("recorded", later)
        .run()
        .done();
    // But code of version 6 has lost what it needs, whatever is on record.
    let refused = task(&server, "Expand", 6, NEXT).run();
    let refused = refused.is(66, "RecordDisagrees");
    assert!(
        refused
            .message()
            .contains("the contract of version 7 has run")
    );
}

#[test]
fn a_record_older_than_the_database_stops_each_phase_and_the_way_out_works() {
    let server = filled();
    let old = record(&[("Expand", &[6], &[])]);
    let before = columns(&server);
    for phase in ["Preflight", "Expand", "Contract", "Revert"] {
        let text = if phase == "Preflight" {
            "SELECT 1"
        } else {
            NEXT
        };
        let refused = task(&server, phase, 8, text)
            .with("recorded", old.clone())
            .run()
            .is(66, "RecordDisagrees");
        assert_eq!(refused.report["applied"], false);
        for words in [
            "DatabaseSchema shop/shop-db",
            "by the ledger the contract of version 7 has run (Rollout web, ",
            "by the ledger the expand of version 7 has run",
            "kubectl annotate -n shop databaseschema shop-db --overwrite stepgate.io/baseline=\"7/7 ",
        ] {
            assert!(refused.message().contains(words), "{words}: {refused:#?}");
        }
        // For people who read the log.
        assert!(refused.log.contains("RecordDisagrees: "), "{refused:#?}");
    }
    assert_eq!(columns(&server), before);
    // As the operator writes it after that command.
    let mut baseline = record(&[("Expand", &[6], &[])]);
    for phase in 0..4 {
        baseline["phases"][phase]["from"] = 8.into();
    }
    task(&server, "Expand", 8, NEXT)
        .with("recorded", baseline)
        .run()
        .done();
}

#[test]
fn a_database_older_than_its_record_stops_everything_above_it() {
    let server = Server::start();
    server.sql(USERS);
    let newer = record(&[
        ("Expand", &[6, 7], &[]),
        ("Backfill", &[7], &[]),
        ("Contract", &[7], &[]),
    ]);
    // Of a time before the first phase, or another server.
    let refused = task(&server, "Expand", 8, NEXT)
        .with("recorded", newer.clone())
        .run()
        .is(66, "RecordDisagrees");
    let words = "the expand of version 6 is on record, and this database has no ledger";
    assert!(refused.message().contains(words), "{refused:#?}");
    assert!(refused.message().contains("stepgate.io/baseline=\"0/0 "));
    let ledgers = "SELECT count(*) FROM pg_namespace WHERE nspname = 'stepgate'";
    assert_eq!(server.number(ledgers), 0, "nothing was made there");
    // Of a time between the two.
    task(&server, "Expand", 6, "ALTER TABLE users ADD mail text")
        .run()
        .done();
    let refused = task(&server, "Expand", 8, NEXT)
        .with("recorded", newer)
        .run()
        .is(66, "RecordDisagrees");
    for words in [
        "the expand of version 7 is on record, and the ledger has nothing of it",
        "the backfill of version 7 is on record",
        "the contract of version 7 is on record",
        "stepgate.io/baseline=\"6/0 ",
    ] {
        assert!(refused.message().contains(words), "{words}: {refused:#?}");
    }
    // As the operator writes it after that command: the expand of 6 is where it begins.
    let mut restored = record(&[]);
    restored["phases"][0]["from"] = 7.into();
    task(&server, "Expand", 7, "ALTER TABLE users ADD full_name text")
        .with("recorded", restored)
        .run()
        .done();
}

#[test]
fn a_contract_that_stopped_half_way_is_no_whole_one_in_the_way_out() {
    let server = filled();
    let known = record(&[("Expand", &[6, 7], &[]), ("Contract", &[7], &[])]);
    task(&server, "Expand", 8, NEXT)
        .with("recorded", known)
        .run()
        .done();
    let known = || record(&[("Expand", &[6, 7, 8], &[]), ("Contract", &[7], &[])]);
    let text = "ALTER TABLE users DROP COLUMN mail; ALTER TABLE users DROP COLUMN nothing";
    let mut half = task(&server, "Contract", 8, text).with("recorded", known());
    half.order["files"][0]["transaction"] = "Statement".into();
    half.run().is(1, "StatementFailed");
    // The record is of a time before that.
    let refused = task(&server, "Expand", 9, "ALTER TABLE users ADD fax text")
        .with("recorded", known())
        .run()
        .is(66, "RecordDisagrees");
    for words in [
        "the contract of version 8 has begun",
        "stepgate.io/baseline=\"8/8+ ",
        "stopped half-way (a.sql, 1 of 2 statements)",
        "run it yourself first",
    ] {
        assert!(refused.message().contains(words), "{words}: {refused:#?}");
    }
}

#[test]
fn a_backfill_minds_nothing_that_may_run_beside_it() {
    let server = filled();
    // The expand of a hotfix began after the order was written, or was taken back.
    let known = record(&[("Expand", &[6, 7], &[]), ("Contract", &[7], &[])]);
    let hotfix = task(&server, "Expand", 8, NEXT).with("recorded", known);
    hotfix.run().done();
    let written = record(&[("Expand", &[6, 7, 9], &[]), ("Contract", &[], &[])]);
    let batch = json!({"name": "mails", "table": "public.users", "key": ["id"],
                       "set": "mail = ''", "where": "mail IS NULL"});
    let backfill = |version: i64| {
        let task = Task::batch(&server, batch.clone()).with("version", version);
        task.with("recorded", written.clone())
    };
    backfill(8).run().done();
    // That its own version is contracted already is no matter of a moment.
    backfill(7).run().is(66, "RecordDisagrees");
}

#[test]
fn a_phase_that_ran_before_its_end_was_recorded_goes_on() {
    let server = filled();
    let before = record(&[("Expand", &[6], &[])]);
    let again = task(&server, "Expand", 8, NEXT);
    let known = record(&[("Expand", &[6, 7], &[]), ("Contract", &[7], &[])]);
    let again = again.with("recorded", known);
    again.run().done();
    let again = again.run().done();
    assert!(again.log.contains("was done before"), "{}", again.log);
    // But not where more than that is unknown.
    task(&server, "Expand", 8, NEXT)
        .with("recorded", before)
        .run()
        .is(66, "RecordDisagrees");
}

#[test]
fn a_ledger_without_the_newest_table_goes_on_and_gets_it() {
    let server = filled();
    server.sql("DROP TABLE stepgate.baseline");
    let known = record(&[
        ("Expand", &[6, 7], &[]),
        ("Backfill", &[7], &[]),
        ("Contract", &[7], &[]),
    ]);
    task(&server, "Expand", 8, NEXT)
        .with("recorded", known)
        .run()
        .done();
    let there =
        "SELECT count(*) FROM pg_tables WHERE schemaname = 'stepgate' AND tablename = 'baseline'";
    assert_eq!(server.number(there), 1);
}
