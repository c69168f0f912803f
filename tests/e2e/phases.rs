//! Phases on a real PostgreSQL that are cut off, fail and pass later, are taken back, or hurt.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use serde_json::{Value, json};
use stepgate::api::PhaseKind;
use stepgate::api::status::{Outcome, SchemaStatus};
use testbed::{Error, Namespace, Result, kill, postgres};

use crate::app::{APP, Change as _, app};
use crate::play::{PATIENCE, Play as _, condition, outcome, play, until_answered};
use crate::shop::{SHOP, apply_so, open};

/// How long a backfill may take that is cut off again and again.
pub const LONG: Duration = Duration::from_secs(240);

pub const ADD: &str = "ALTER TABLE users ADD COLUMN full_name text;\n";
const DROP: &str = "ALTER TABLE users DROP COLUMN full_name;\n";

/// A table whose rows are slow to change, and which remembers each time that one is.
pub const SETUP: &str = "
CREATE TABLE users (id bigint PRIMARY KEY, name text NOT NULL);
INSERT INTO users SELECT n, 'user ' || n FROM generate_series(1, 40000) n;
CREATE TABLE filled (id bigint NOT NULL);
CREATE FUNCTION remember() RETURNS trigger LANGUAGE plpgsql AS
  $do$ BEGIN PERFORM pg_sleep(0.001); INSERT INTO filled VALUES (NEW.id); RETURN NEW; END $do$;
CREATE TRIGGER remember BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION remember();
";

/// Version 1 is out, and whoever runs SQL is the owner.
pub async fn version_1(ns: &Namespace, setup: &str) -> Result<String> {
    ns.add_database_and_service().await?;
    postgres::query(ns, setup).await?;
    postgres::connection(ns, "shop").await?;
    let schema = json!({"database": "db", "version": 1});
    ns.release_to_the_end(&app("1").with("/schema", schema))
        .await
}

pub fn sql(file: &str) -> Value {
    let files = json!([{"configMapKeyRef": {"name": "sql", "key": file}}]);
    json!({"sql": {"files": files}, "deadlineSeconds": 120})
}

/// Version 2, with these phases.
pub fn version_2(phases: &[(&str, Value)]) -> Value {
    let connection = json!({"secretKeyRef": {"name": "ddl", "key": "uri"}});
    let mut schema =
        json!({"database": "db", "version": 2, "postgres": {"connection": connection}});
    for (phase, how) in phases {
        schema[*phase] = how.clone();
    }
    app("2").with("/schema", schema)
}

pub fn backfill() -> Value {
    json!({
        "batches": [{
            "name": "names", "table": "public.users", "key": ["id"],
            "set": "full_name = name", "where": "full_name IS NULL", "maxRows": 500,
        }],
        "stallSeconds": 120,
    })
}

/// Waits until the schema of the Rollout stands so.
pub async fn schema(
    ns: &Namespace,
    what: &str,
    so: impl Fn(&SchemaStatus) -> bool,
) -> Result<SchemaStatus> {
    ns.until(what, LONG, |state| {
        state.status(APP).schema.filter(|schema| so(schema))
    })
    .await
}

pub fn has_ended(phase: PhaseKind, state: &'static str) -> impl Fn(&SchemaStatus) -> bool {
    move |schema| schema.phase == phase && schema.state == state
}

/// Waits until so many rows more than now are filled in.
pub async fn more_rows(ns: &Namespace, more: u32) -> Result<()> {
    let count = async || -> Result<u32> {
        let text = postgres::query(ns, "SELECT count(*) FROM filled").await?;
        Ok(text.parse().expect("a number"))
    };
    let first = count().await?;
    let what = format!("{more} rows more than {first}");
    until_answered(ns, &what, async || {
        Ok((count().await? >= first + more).then_some(()))
    })
    .await
}

/// From now on its rows are quick to change: the rest of a backfill need not last.
pub async fn hurry(ns: &Namespace) -> Result<()> {
    let quick = "CREATE OR REPLACE FUNCTION remember() RETURNS trigger LANGUAGE plpgsql AS
      $do$ BEGIN INSERT INTO filled VALUES (NEW.id); RETURN NEW; END $do$";
    postgres::query(ns, quick).await.map(drop)
}

/// The pod of the Job that runs now.
pub async fn runner(ns: &Namespace) -> Result<String> {
    let of_a_phase = ListParams::default().labels("stepgate.io/phase");
    let pods = ns.api::<Pod>().list(&of_a_phase).await;
    let pods = pods.map_err(Error::api("pods of phases"))?;
    let runs = |pod: &Pod| {
        pod.status
            .as_ref()?
            .phase
            .clone()
            .filter(|p| p == "Running")
    };
    let pod = pods.items.iter().find(|pod| runs(pod).is_some());
    pod.map(kube::ResourceExt::name_any)
        .ok_or_else(|| Error::refused("no phase runs"))
}

/// Each row is filled in, and none of them twice.
pub async fn all_once(ns: &Namespace) -> Result<()> {
    let left = "SELECT count(*) FROM users WHERE full_name IS DISTINCT FROM name";
    assert_eq!(postgres::query(ns, left).await?, "0");
    let filled = "SELECT count(*) || ' ' || count(DISTINCT id) FROM filled";
    assert_eq!(postgres::query(ns, filled).await?, "40000 40000");
    Ok(())
}

#[tokio::test]
#[ignore = "it takes minutes: make long"]
async fn a_backfill_ends_and_fills_each_row_once_whoever_is_killed() {
    play("cut-off", async |ns| {
        version_1(ns, SETUP).await?;
        postgres::files(ns, &[("expand.sql", ADD)]).await?;
        let phases = [("expand", sql("expand.sql")), ("backfill", backfill())];
        let stable = ns.release_to_the_end(&version_2(&phases)).await?;

        more_rows(ns, 1_000).await?;
        let (leader, _) = kill::leader(ns.testbed()).await?;
        kill::kill(ns.testbed(), &leader).await?;

        more_rows(ns, 1_000).await?;
        let pod = runner(ns).await?;
        kill::container(ns.testbed(), ns.name(), &pod).await?;

        more_rows(ns, 1_000).await?;
        let begun = postgres::query(ns, "SELECT pg_postmaster_start_time()").await?;
        postgres::crash(ns).await?;

        let ended = has_ended(PhaseKind::Backfill, "Succeeded");
        schema(ns, "the end of the backfill", ended).await?;
        let again = postgres::query(ns, "SELECT pg_postmaster_start_time()").await?;
        assert_ne!(begun, again, "PostgreSQL was not restarted");
        all_once(ns).await?;
        let state = ns.view.now();
        let record = &state.databases["db"].spec.record;
        assert_eq!(record.dirty, []);
        assert_eq!(state.status(APP).stable.map(|s| s.revision), Some(stable));
        Ok(())
    })
    .await;
}

#[tokio::test]
#[ignore = "it takes minutes: make long"]
async fn an_expand_is_applied_once_though_postgresql_ends_in_the_middle_of_it() {
    play("expand-cut-off", async |ns| {
        version_1(ns, SETUP).await?;
        // Whole in one transaction, with its entry in the ledger.
        let slow = format!("{ADD}SELECT pg_sleep(15);\n");
        postgres::files(ns, &[("expand.sql", &slow)]).await?;
        let mut expand = sql("expand.sql");
        expand["retryLimit"] = json!(3);
        let slow = version_2(&[("expand", expand)]).with("/schema/lint", json!("Off"));
        let generation = ns.release(&slow).await?;
        let sleeps = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' \
                      AND query LIKE 'SELECT pg_sleep(15)%'";
        until_answered(ns, "the expand", async || {
            Ok((postgres::query(ns, sleeps).await? != "0").then_some(()))
        })
        .await?;
        postgres::crash(ns).await?;
        let stable = ns.ready(generation).await?;
        ns.pods(&[(&stable, 4)]).await?;
        let columns = "SELECT string_agg(column_name, ' ' ORDER BY column_name) \
                       FROM information_schema.columns WHERE table_name = 'users'";
        assert_eq!(postgres::query(ns, columns).await?, "full_name id name");
        let ran = "SELECT string_agg(phase || ' ' || file, ', ') FROM stepgate.files";
        assert_eq!(postgres::query(ns, ran).await?, "expand expand.sql");
        assert_eq!(ns.view.now().databases["db"].spec.record.dirty, []);
        Ok(())
    })
    .await;
}

#[tokio::test]
#[ignore = "it takes a minute: make long"]
async fn a_preflight_that_fails_runs_nothing_and_passes_once_what_it_lacks_is_there() {
    play("preflight", async |ns| {
        let setup = format!(
            "{SETUP}CREATE ROLE ddl LOGIN; ALTER TABLE users OWNER TO ddl;
            GRANT USAGE ON SCHEMA public TO ddl; GRANT pg_monitor TO ddl;"
        );
        let first = version_1(ns, &setup).await?;
        postgres::connection(ns, "ddl").await?;
        postgres::files(ns, &[("expand.sql", ADD)]).await?;
        let preflight = json!({"deadlineSeconds": 120});
        let phases = [("preflight", preflight), ("expand", sql("expand.sql"))];
        let generation = ns.release(&version_2(&phases)).await?;
        // It says what is missing, and what to do about it.
        ns.says("CREATE SCHEMA stepgate AUTHORIZATION ddl").await?;
        let state = ns.view.now();
        let record = &state.databases["db"].spec.record;
        assert_eq!(record.dirty, []);
        ns.pods(&[(&first, 4)]).await?;
        let there = "SELECT count(*) FROM information_schema.columns \
                     WHERE table_name = 'users' AND column_name = 'full_name'";
        assert_eq!(postgres::query(ns, there).await?, "0");

        let grant = "CREATE SCHEMA stepgate AUTHORIZATION ddl";
        postgres::query(ns, grant).await?;
        let second = ns.ready(generation).await?;
        ns.pods(&[(&second, 4)]).await?;
        assert_eq!(postgres::query(ns, there).await?, "1");
        Ok(())
    })
    .await;
}

#[tokio::test]
#[ignore = "it takes a minute: make long"]
async fn what_a_failed_release_has_expanded_is_taken_back_where_that_was_asked_for() {
    play("revert", async |ns| {
        let first = version_1(ns, SETUP).await?;
        postgres::files(ns, &[("expand.sql", ADD), ("revert.sql", DROP)]).await?;
        let mut revert = sql("revert.sql");
        revert["when"] = json!("AfterFailure");
        revert["approval"] = json!("Automatic");
        let phases = [("expand", sql("expand.sql")), ("revert", revert)];
        let bad = version_2(&phases).container("command", json!(["sh", "-c", "sleep 1; exit 7"]));
        let generation = ns.release(&bad).await?;
        let there = "SELECT count(*) FROM information_schema.columns \
                     WHERE table_name = 'users' AND column_name = 'full_name'";
        ns.stalled(generation, "CrashLooping").await?;
        let reverted = has_ended(PhaseKind::Revert, "Succeeded");
        schema(ns, "the end of the revert", reverted).await?;
        assert_eq!(postgres::query(ns, there).await?, "0");
        let state = ns.view.now();
        let bad = &state.status(APP).history[0].revision;
        assert_eq!(outcome(&state, bad), Some(Outcome::Failed));
        ns.pods(&[(&first, 4)]).await?;

        // The next release of the version expands once more.
        let phases = [("expand", sql("expand.sql"))];
        let second = ns.release_to_the_end(&version_2(&phases)).await?;
        ns.pods(&[(&second, 4)]).await?;
        assert_eq!(postgres::query(ns, there).await?, "1");
        Ok(())
    })
    .await;
}

/// Of those who write, one in two is refused from then on.
const HURTS: &str = "
CREATE FUNCTION hurt() RETURNS trigger LANGUAGE plpgsql AS
  $do$ BEGIN IF NEW.id % 2 = 0 THEN RAISE EXCEPTION 'no'; END IF; RETURN NEW; END $do$;
CREATE TRIGGER hurt BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION hurt();
";

#[tokio::test]
#[ignore = "it takes minutes: make long"]
async fn an_expand_that_hurts_is_not_taken_for_the_canary_that_has_no_pod() {
    play("expand-hurts", async |ns| {
        let (traffic, stable) = open(ns).await?;
        postgres::connection(ns, "shop").await?;
        postgres::files(ns, &[("expand.sql", HURTS)]).await?;
        let generation = apply_so(ns, "v2", |spec| {
            let schema = &mut spec["schema"];
            let connection = json!({"secretKeyRef": {"name": "ddl", "key": "uri"}});
            schema["postgres"] = json!({"connection": connection});
            schema["lint"] = json!("Off");
            schema["expand"] = sql("expand.sql");
            schema["expand"]["soak"] = json!({"holdSeconds": 20, "deadlineSeconds": 60});
        })
        .await?;
        let words = ns
            .until("Stalled=ExpandHurts", LONG, |state| {
                let status = state.status(SHOP);
                let stalled = condition(&status, "Stalled")?;
                let so = stalled.reason == "ExpandHurts"
                    && stalled.observed_generation == Some(generation);
                so.then(|| stalled.message.clone())
            })
            .await?;
        assert!(words.contains("error-rate"), "{words}");
        assert!(words.contains("schema change, not the new code"), "{words}");
        let state = ns.view.now();
        let canary = state.status(SHOP).release.expect("a release").revision;
        assert!(!state.ever_had_pods(&canary), "the new code ran");

        // Mended in the database, and measured again, it goes on to its end.
        postgres::query(ns, "DROP TRIGGER hurt ON users").await?;
        ns.tell(SHOP, "resume", &format!("{canary} mended")).await?;
        ns.until("the first pod of the canary", PATIENCE, |state| {
            state.ever_had_pods(&canary).then_some(())
        })
        .await?;
        let state = ns.view.now();
        assert_eq!(state.status(SHOP).stable.map(|s| s.revision), Some(stable));
        traffic.stop().await.map(drop)
    })
    .await;
}
