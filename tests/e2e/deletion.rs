//! Deleting a Rollout, or its DatabaseSchema, in mid-flight.

use std::time::{Duration, Instant};

use stepgate::api::Rollout;
use testbed::{Namespace, Result, view::State};

use crate::app::{APP, Change as _, app};
use crate::play::{PATIENCE, Play as _, play};

/// The name of a Job whose pod runs.
async fn running_expand(ns: &Namespace) -> Result<String> {
    ns.until("a running expand", PATIENCE, |state| {
        let mut running = state.jobs.iter().filter(|(_, job)| {
            let status = job.status.as_ref();
            status.is_some_and(|s| s.ready.unwrap_or(0) > 0)
        });
        running.next().map(|(name, _)| name.clone())
    })
    .await
}

/// Uid of the DatabaseSchema, if there is one.
fn database(state: &State) -> Option<String> {
    state.databases.get("db")?.metadata.uid.clone()
}

#[tokio::test]
async fn pods_go_and_the_job_that_runs_is_not_cut() {
    play("deletion", async |ns| {
        ns.release_to_the_end(&app("1").expand("exit 0")).await?;
        ns.release(&app("2").expand("sleep 8; echo done")).await?;
        let job = running_expand(ns).await?;
        ns.delete::<Rollout>(APP).await?;
        ns.until("the end of Rollout and Deployments", PATIENCE, |state| {
            let gone = state.rollouts.is_empty() && state.deployments.is_empty();
            gone.then_some(())
        })
        .await?;
        ns.until("the Job's success", PATIENCE, |state| {
            let status = state.jobs.get(&job)?.status.as_ref()?;
            assert_eq!(status.failed.unwrap_or(0), 0, "the Job was cut");
            (status.succeeded == Some(1)).then_some(())
        })
        .await?;
        // Its result is recorded, and the database is free for the next.
        ns.until("the result on record", PATIENCE, |state| {
            let record = &state.databases.get("db")?.spec.record;
            let recorded = record.phases.iter().any(|p| p.job == job && p.succeeded);
            (recorded && record.holder.is_none()).then_some(())
        })
        .await?;
        ns.release_to_the_end(&app("3").expand("exit 0"))
            .await
            .map(drop)
    })
    .await;
}

#[tokio::test]
async fn a_database_goes_when_its_job_has_ended_and_the_expand_runs_on_a_new_one() {
    play("database-deletion", async |ns| {
        ns.release_to_the_end(&app("1").expand("exit 0")).await?;
        let next = app("2").expand("sleep 10; echo done");
        let generation = ns.release(&next).await?;
        running_expand(ns).await?;
        let (runs, first) = (Instant::now(), ns.view.read(database));
        ns.kubectl(&["delete", "databaseschema", "db", "--wait=false"])
            .await?;
        ns.says("runs once more on a new one").await?;
        ns.until("another DatabaseSchema", PATIENCE, |state| {
            let now = database(state);
            (now.is_some() && now != first).then_some(())
        })
        .await?;
        let took = runs.elapsed();
        assert!(took > Duration::from_secs(5), "let go while its Job ran");
        ns.ready(generation).await?;

        // Whoever took the holder off a record left the finalizer there.
        let held = r#"{"metadata":{"finalizers":["stepgate.io/held"]}}"#;
        let patch = ["patch", "databaseschema", "db", "--type=merge", "-p", held];
        ns.kubectl(&patch).await?;
        ns.kubectl(&["delete", "databaseschema", "db", "--timeout=60s"])
            .await?;
        ns.release_to_the_end(&app("3").expand("exit 0"))
            .await
            .map(drop)
    })
    .await;
}
