//! Phases on a real PostgreSQL that wait for others: for a long transaction, for a standby.

use std::time::{Duration, SystemTime};

use load::Summary;
use serde_json::json;
use stepgate::api::PhaseKind;
use stepgate::api::status::Outcome;
use testbed::{Namespace, Result, postgres};

use crate::clients::all_served;
use crate::phases::{
    ADD, SETUP, all_once, backfill, has_ended, hurry, runner, schema, sql, version_1, version_2,
};
use crate::play::{Play as _, play, until_answered};
use crate::shop::{SHOP, apply_so, end, open};

/// How long its statements wait for a lock: less than the shop waits for one of its connections.
const LOCK_MS: u64 = 500;
/// The longest that users may wait behind one of them, on a busy machine.
const LONGEST: Duration = Duration::from_secs(3);

/// The log of the phase that runs, once it has been tried so often in vain.
async fn tries(ns: &Namespace, times: usize) -> Result<String> {
    until_answered(ns, "an expand that is tried again", async || {
        let log = ns.kubectl(&["logs", &runner(ns).await?]).await?;
        Ok((log.matches("next try in").count() >= times).then_some(log))
    })
    .await
}

#[tokio::test]
async fn an_expand_waits_for_a_long_transaction_and_no_user_waits_long_for_either() {
    play("long-transaction", async |ns| {
        let (mut traffic, stable) = open(ns).await?;
        postgres::connection(ns, "shop").await?;
        let expand = include_str!("../programs/shop/manifests/sql/v2/expand.sql");
        postgres::files(ns, &[("expand.sql", expand)]).await?;

        let report = postgres::Transaction::begin(ns, "SELECT count(*) FROM users").await?;
        let began = SystemTime::now();
        let generation = apply_so(ns, "v2", |spec| {
            let schema = &mut spec["schema"];
            let connection = json!({"secretKeyRef": {"name": "ddl", "key": "uri"}});
            schema["postgres"] = json!({"connection": connection, "lockTimeoutMs": LOCK_MS});
            schema["expand"] = sql("expand.sql");
            let steps = &mut spec["strategy"]["canary"]["steps"];
            for step in steps.as_array_mut().expect("its steps") {
                step["holdSeconds"] = json!(5);
            }
        })
        .await?;
        let log = tries(ns, 3).await?;
        // Whoever reads it knows whom to ask.
        assert!(log.contains("The lock is held by pid"), "{log}");
        assert!(log.contains("`psql`, transaction of"), "{log}");
        let state = ns.view.now();
        let record = &state.databases["shop"].spec.record;
        assert_eq!(record.dirty, []);
        assert_eq!(record.summary.runs, "expand of version 2 (shop)");
        assert!(!state.has_pods_beside(&stable), "the new code runs");

        let until = SystemTime::now();
        traffic.settled(until).await?;
        let meanwhile = traffic.records()?.iter();
        let meanwhile = meanwhile.filter(|r| r.at >= began && r.at <= until);
        let longest = Duration::from_secs_f64(Summary::of(meanwhile).max_ms / 1000.0);
        let least = Duration::from_millis(LOCK_MS / 2);
        assert!(longest > least, "nobody waited: {longest:?}");
        assert!(longest < LONGEST, "{longest:?}");

        report.commit().await?;
        let (_, outcome, words) = end(ns, generation).await?;
        assert_eq!(outcome, Outcome::Stable, "{words}");
        all_served(ns, &traffic.stop().await?, SystemTime::UNIX_EPOCH);
        let ran = "SELECT string_agg(phase || ' ' || file, ', ') FROM stepgate.files";
        assert_eq!(postgres::query(ns, ran).await?, "expand expand.sql");
        assert_eq!(ns.view.now().databases["shop"].spec.record.dirty, []);
        assert_eq!(ns.view.now().status(SHOP).release, None);
        Ok(())
    })
    .await;
}

#[tokio::test]
#[ignore = "it takes minutes: make long"]
async fn a_backfill_waits_for_a_standby_that_is_behind_says_so_and_goes_on() {
    play("standby", async |ns| {
        const STANDBY: &str = "postgres-standby";
        version_1(ns, SETUP).await?;
        ns.add_shop_parts(&["standby"]).await?;
        let streams = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
        until_answered(ns, "a standby", async || {
            Ok((postgres::query(ns, streams).await? == "1").then_some(()))
        })
        .await?;
        // It takes what it is sent, and does not replay it.
        let pause = "SELECT pg_wal_replay_pause()";
        until_answered(ns, "a standby that answers", async || {
            postgres::query_of(ns, STANDBY, pause).await.map(Some)
        })
        .await?;

        postgres::files(ns, &[("expand.sql", ADD)]).await?;
        let mut backfill = backfill();
        backfill["maxLagSeconds"] = json!(1);
        let phases = [("expand", sql("expand.sql")), ("backfill", backfill)];
        ns.release_to_the_end(&version_2(&phases)).await?;
        let behind = "s behind (maxLagSeconds 1): the batches wait";
        let told = schema(ns, "a backfill that waits for the standby", |schema| {
            let progress = schema.progress.as_ref();
            progress.is_some_and(|progress| progress.paused.contains(behind))
        })
        .await?;
        assert!(
            told.message.contains(", paused: replication is "),
            "{told:?}"
        );
        assert_eq!(told.state, "Running");
        // It stands where it was told to stand, though nobody has looked for seconds.
        let done = told.progress.expect("it").rows_done;
        assert!(done > 0 && done < 40_000, "{done} rows");
        let rows = "SELECT rows_done FROM stepgate.batches";
        assert_eq!(postgres::query(ns, rows).await?, done.to_string());

        hurry(ns).await?;
        let resume = "SELECT pg_wal_replay_resume()";
        postgres::query_of(ns, STANDBY, resume).await?;
        let ended = has_ended(PhaseKind::Backfill, "Succeeded");
        schema(ns, "the end of the backfill", ended).await?;
        all_once(ns).await?;
        let proved = "SELECT proved IS NOT NULL FROM stepgate.batches";
        assert_eq!(postgres::query(ns, proved).await?, "t");
        assert_eq!(ns.view.now().databases["db"].spec.record.dirty, []);
        // The standby is one.
        until_answered(ns, "each row on the standby", async || {
            let left = "SELECT count(*) FROM users WHERE full_name IS DISTINCT FROM name";
            let left = postgres::query_of(ns, STANDBY, left).await?;
            Ok((left == "0").then_some(()))
        })
        .await
    })
    .await;
}
