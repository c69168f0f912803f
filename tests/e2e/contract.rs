//! A schema version after its release: backfill, gate and contract, on a real PostgreSQL.

use std::time::SystemTime;

use serde_json::{Value, json};
use stepgate::api::status::SchemaStatus;
use stepgate::api::{DatabaseRecord, PhaseKind};
use testbed::view::State;
use testbed::{Namespace, Result, postgres};

use crate::app::{APP, Change as _, app};
use crate::clients::all_served;
use crate::play::{PATIENCE, Play as _, condition, play};
use crate::shop::{SHOP, apply_so, end, open};

/// What the contract of a Rollout waits for, or how it ended.
async fn schema(
    ns: &Namespace,
    rollout: &str,
    what: &str,
    so: impl Fn(&SchemaStatus) -> bool,
) -> Result<SchemaStatus> {
    ns.until(what, PATIENCE, |state| {
        state.status(rollout).schema.filter(|schema| so(schema))
    })
    .await
}

/// Gives the approval that a contract waits for, by the command that its message names.
async fn approve(ns: &Namespace, rollout: &str, database: &str) -> Result<()> {
    let waits = |s: &SchemaStatus| s.message.starts_with("waits for: an approval");
    let waits = schema(
        ns,
        rollout,
        "a contract that waits for its approval alone",
        waits,
    )
    .await?;
    let (_, target) = waits
        .message
        .split_once("stepgate.io/approve=\"")
        .expect("the command");
    let target = target.split(' ').next().expect("what to approve");
    postgres::approve(ns, database, target, "1").await.map(drop)
}

/// The rows of `kubectl get sro,sdb`, of a Rollout and of a database, once they say this.
async fn rows(
    ns: &Namespace,
    (rollout, says): (&str, &str),
    (database, tells): (&str, &str),
) -> Result<[String; 2]> {
    ns.until(&format!("columns with {says:?}"), PATIENCE, |state| {
        let column = state.status(rollout).summary.message;
        let known = state.databases.get(database)?;
        let waits = &known.spec.record.summary.waits;
        (column.contains(says) && waits.contains(tells)).then_some(())
    })
    .await?;
    let table = ns.kubectl(&["get", "sro,sdb"]).await?;
    let row = |object: &str| {
        let mut rows = table.lines().map(str::to_owned);
        let row = rows.find(|row| row.split_whitespace().next() == Some(object));
        row.unwrap_or_else(|| panic!("no row of {object}:\n{table}"))
    };
    Ok([
        row(&format!("rollout.stepgate.io/{rollout}")),
        row(&format!("databaseschema.stepgate.io/{database}")),
    ])
}

fn contracted(schema: &SchemaStatus) -> bool {
    format!("{:?}", schema.phase) == "Contract" && schema.state == "Succeeded"
}

/// The columns of `users`.
async fn columns(ns: &Namespace) -> Result<String> {
    let query = "SELECT string_agg(column_name, ' ') FROM information_schema.columns \
                 WHERE table_name = 'users'";
    postgres::query(ns, query).await
}

/// v1 writes `name`, v4 knows only `full_name`, and the contract drops `name`.
#[tokio::test]
async fn a_column_is_renamed_and_the_old_one_dropped_without_a_failed_request() {
    play("versions", async |ns| {
        let (traffic, _) = open(ns).await?;
        for release in ["v2", "v3", "v4"] {
            let generation = apply_so(ns, release, |spec| {
                let phase = |phase: &str| json!({"command": ["shop", "migrate", phase]});
                if release == "v2" {
                    spec["schema"]["backfill"] = phase("backfill");
                }
                if release == "v4" {
                    spec["schema"]["contract"] = phase("contract");
                    spec["schema"]["contract"]["afterSeconds"] = json!(1);
                }
            })
            .await?;
            let (_, _, words) = end(ns, generation).await?;
            if release == "v2" {
                let filled = |s: &SchemaStatus| s.version == Some(2) && s.state == "Succeeded";
                schema(ns, SHOP, &words, filled).await?;
            }
        }
        assert!(columns(ns).await?.split_whitespace().any(|c| c == "name"));
        // Who looks reads that a person is waited for, and how to act.
        let says = "contract of version 4 waits for: an approval";
        let tells = "contract of version 4: an approval";
        let [rollout, database] = rows(ns, (SHOP, says), ("shop", tells)).await?;
        assert!(rollout.contains(says), "{rollout}");
        assert!(database.contains(tells), "{database}");
        let ready = condition(&ns.view.now().status(SHOP), "Ready").map(|c| c.message.clone());
        let ready = ready.expect("the condition");
        assert!(
            ready.contains("stepgate.io/approve=\"4/contract/"),
            "{ready}"
        );
        approve(ns, SHOP, "shop").await?;
        schema(ns, SHOP, "the end of the contract", contracted).await?;
        let table = ns.kubectl(&["get", "sro,sdb"]).await?;
        assert!(!table.contains("contract of version"), "{table}");
        assert!(!columns(ns).await?.split_whitespace().any(|c| c == "name"));
        let records = traffic.stop().await?;
        all_served(ns, &records, SystemTime::UNIX_EPOCH);
        // Nothing leads back to what reads `name`.
        let below = apply_so(ns, "v3", |_| {}).await?;
        ns.until("the undo floor", PATIENCE, |state: &State| {
            let status = state.status(SHOP);
            let stalled = condition(&status, "Stalled")?;
            let so =
                stalled.reason == "BelowUndoFloor" && stalled.observed_generation == Some(below);
            so.then_some(())
        })
        .await
    })
    .await;
}

/// A Rollout of version 2 whose phases are shell scripts.
fn version_2(contract: &str) -> Value {
    let command = |script: &str| json!({"command": ["sh", "-c", script], "deadlineSeconds": 60});
    let mut schema = json!({
        "database": "db",
        "version": 2,
        "expand": command("exit 0"),
        "backfill": command("exit 0"),
        "contract": command(contract),
    });
    schema["backfill"]["verify"] = json!({"command": ["sh", "-c", "exit 0"]});
    schema["contract"]["afterSeconds"] = json!(1);
    schema["contract"]["approval"] = json!("Automatic");
    app("2").with("/schema", schema)
}

fn version_1() -> Value {
    let expand = json!({"command": ["sh", "-c", "exit 0"], "deadlineSeconds": 60});
    let schema = json!({"database": "db", "version": 1, "expand": expand});
    app("1").with("/schema", schema)
}

/// Whoever says that it uses the database keeps the gate shut until it is at the version.
#[tokio::test]
async fn a_contract_waits_for_a_cron_job_and_no_return_passes_the_floor() {
    play("consumer", async |ns| {
        let image = "--image=localhost/stepgate/busybox:test";
        let schedule = "--schedule=0 3 * * *";
        let create = [
            "create", "cronjob", "nightly", image, schedule, "--", "true",
        ];
        ns.kubectl(&create).await?;
        let label = [
            "label",
            "cronjob",
            "nightly",
            "stepgate.io/uses-database=db",
        ];
        ns.kubectl(&label).await?;
        let annotate = [
            "annotate",
            "cronjob",
            "nightly",
            "stepgate.io/schema-version=1",
        ];
        ns.kubectl(&annotate).await?;
        ns.release_to_the_end(&version_1()).await?;
        let stable = ns.release_to_the_end(&version_2("exit 0")).await?;
        let waits = |s: &SchemaStatus| s.message.contains("CronJob nightly needs version 1");
        schema(ns, APP, "a contract that waits for the CronJob", waits).await?;
        let says = "contract of version 2 waits for: CronJob nightly needs version 1";
        let tells = "contract of version 2: CronJob nightly needs version 1";
        let [rollout, database] = rows(ns, (APP, says), ("db", tells)).await?;
        assert!(rollout.contains(says), "{rollout}");
        assert!(database.contains(tells), "{database}");
        assert_eq!(ns.view.now().databases["db"].spec.record.undo_floor, None);
        let annotate = [
            "annotate",
            "cronjob",
            "nightly",
            "--overwrite",
            "stepgate.io/schema-version=2",
        ];
        ns.kubectl(&annotate).await?;
        schema(ns, APP, "the end of the contract", contracted).await?;
        let state = ns.view.now();
        assert_eq!(state.databases["db"].spec.record.undo_floor, Some(2));
        assert_eq!(state.deployments.len(), 1, "the lower Deployment is gone");
        ns.tell(APP, "undo", &format!("{stable} back")).await?;
        let (result, words) = ns.answer("undo", "back").await?;
        assert_eq!(result, "Ignored", "{words}");
        assert!(words.contains("the contract of version 2"), "{words}");
        ns.pods(&[(&stable, 4)]).await
    })
    .await;
}

/// A contract that fails leaves what it has removed behind the floor, and runs again by a retry.
#[tokio::test]
async fn a_contract_that_fails_runs_again_by_a_retry() {
    play("contract-fails", async |ns| {
        ns.release_to_the_end(&version_1()).await?;
        let stable = ns
            .release_to_the_end(&version_2("echo no such column; exit 1"))
            .await?;
        let failed = |s: &SchemaStatus| s.state == "Failed";
        let failed = schema(ns, APP, "a contract that failed", failed).await?;
        assert!(failed.message.contains("kubectl logs"), "{failed:?}");
        let record = ns.view.now().databases["db"].spec.record.clone();
        assert_eq!(record.undo_floor, Some(2));
        assert_eq!(record.dirty.first().map(|d| d.job.clone()), failed.job);
        ns.release(&version_2("exit 0")).await?;
        ns.tell(APP, "retry", &format!("{stable} again")).await?;
        let (result, words) = ns.answer("retry", "again").await?;
        assert_eq!(result, "Done", "{words}");
        schema(ns, APP, "the end of the contract", contracted).await?;
        assert_eq!(ns.view.now().databases["db"].spec.record.dirty, []);
        Ok(())
    })
    .await;
}

fn backfills(record: &DatabaseRecord) -> usize {
    let phases = record.phases.iter();
    phases.filter(|p| p.phase == PhaseKind::Backfill).count()
}

/// What proves that every row is filled in says that one is not: nothing is removed, and a retry runs
/// the backfill again first.
#[tokio::test]
async fn a_contract_without_its_proof_removes_nothing() {
    play("contract-unproven", async |ns| {
        let with = |verify: &str| {
            let verify = json!({"command": ["sh", "-c", verify]});
            version_2("exit 0").with("/schema/backfill/verify", verify)
        };
        ns.release_to_the_end(&version_1()).await?;
        let stable = ns.release_to_the_end(&with("exit 65")).await?;
        let failed = |s: &SchemaStatus| s.state == "Failed";
        let failed = schema(ns, APP, "a contract without its proof", failed).await?;
        for words in ["rows are not filled in", "-c stepgate-verify"] {
            assert!(failed.message.contains(words), "{failed:?}");
        }
        let record = ns.view.now().databases["db"].spec.record.clone();
        let before = backfills(&record);
        assert_eq!((record.undo_floor, record.dirty), (None, Vec::new()));
        ns.release(&with("exit 0")).await?;
        ns.tell(APP, "retry", &format!("{stable} again")).await?;
        let (result, words) = ns.answer("retry", "again").await?;
        assert_eq!(result, "Done", "{words}");
        schema(ns, APP, "the end of the contract", contracted).await?;
        let record = ns.view.now().databases["db"].spec.record.clone();
        assert_eq!(backfills(&record), before + 1);
        Ok(())
    })
    .await;
}
