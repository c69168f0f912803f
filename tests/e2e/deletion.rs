//! Deleting a Rollout in mid-flight.

use stepgate::api::Rollout;

use crate::app::{APP, Change as _, app};
use crate::play::{PATIENCE, Play as _, play};

#[tokio::test]
async fn pods_go_and_the_job_that_runs_is_not_cut() {
    play("deletion", async |ns| {
        ns.release_to_the_end(&app("1").expand("exit 0")).await?;
        ns.release(&app("2").expand("sleep 8; echo done")).await?;
        let job = ns
            .until("a running expand", PATIENCE, |state| {
                let mut running = state.jobs.iter().filter(|(_, job)| {
                    job.status
                        .as_ref()
                        .is_some_and(|s| s.ready.unwrap_or(0) > 0)
                });
                running.next().map(|(name, _)| name.clone())
            })
            .await?;
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
