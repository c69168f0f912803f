//! The shop under traffic, on PostgreSQL, measured by Prometheus.

use std::time::SystemTime;

use load::{Record, Summary};
use serde_json::json;
use stepgate::api::status::Outcome;
use testbed::traffic::Traffic;
use testbed::view::State;
use testbed::{Namespace, Result, install, kill, reach};

use crate::play::{PATIENCE, condition, play};

const SHOP: &str = "shop";
/// Requests a second: enough for a verdict, little enough for several at a time.
const RATE: u32 = 100;

/// Applies a release of the shop, for a small machine that does much else: four pods, a limit of
/// one second, and a slow release that is slower still.
async fn apply(ns: &Namespace, release: &str) -> Result<i64> {
    let folder = format!("tests/programs/shop/manifests/releases/{release}");
    let text = ns.testbed().run_kubectl(&["kustomize", &folder]).await?;
    let mut rollout = install::documents(&text)?.remove(0);
    let spec = &mut rollout["spec"];
    spec["replicas"] = json!(4);
    spec["analysis"]["checks"][1]["latency"]["maxMilliseconds"] = json!(1000);
    let fault = &mut spec["template"]["spec"]["containers"][0]["env"][1];
    assert_eq!(fault["name"], "SHOP_FAULT");
    if release == "slow" {
        fault["value"] = json!("slow=1300");
    }
    let applied = ns.put(&rollout).await?;
    Ok(applied.metadata.generation.unwrap_or_default())
}

/// How the release of this generation ended, and its revision.
async fn end(ns: &Namespace, generation: i64) -> Result<(String, Outcome, String)> {
    ns.until("the end of the release", PATIENCE, |state| {
        let status = state.status(SHOP);
        let reconciling = condition(&status, "Reconciling")?;
        let over = reconciling.status == "False"
            && reconciling.observed_generation == Some(generation)
            && status.release.is_none();
        let ended = status.history.first().filter(|_| over)?;
        let message = ended.message.clone();
        Some((ended.revision.clone(), ended.outcome, message))
    })
    .await
}

/// v1 is out, and clients are served.
async fn open(ns: &Namespace) -> Result<(Traffic, String)> {
    ns.add_database_and_service().await?;
    let generation = apply(ns, "v1").await?;
    ns.until("pods in the Service", PATIENCE, |state| {
        State::serves(state).then_some(())
    })
    .await?;
    let traffic = Traffic::start(&reach::service(ns, SHOP).await?, RATE)?;
    let (revision, outcome, words) = end(ns, generation).await?;
    assert_eq!(outcome, Outcome::Stable, "{words}");
    Ok((traffic, revision))
}

fn sum(records: &[Record], since: SystemTime) -> Summary {
    Summary::of(records.iter().filter(|r| r.at >= since))
}

#[tokio::test]
async fn a_column_is_renamed_in_three_releases_and_no_request_fails() {
    play("rename", async |ns| {
        let (traffic, _) = open(ns).await?;
        for release in ["v2", "v3"] {
            let generation = apply(ns, release).await?;
            let (_, outcome, words) = end(ns, generation).await?;
            assert_eq!(outcome, Outcome::Stable, "{release}: {words}");
        }
        let records = traffic.stop().await?;
        let all = sum(&records, SystemTime::UNIX_EPOCH);
        assert_eq!(all.failed, 0, "{:?}", all.statuses);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn bad_releases_come_back_and_a_bad_migration_starts_no_pod() {
    play("bad", async |ns| {
        let (mut traffic, stable) = open(ns).await?;
        for (release, words) in [
            ("errors", "check error-rate"),
            ("slow", "check p95"),
            ("crash", ""),
            ("bad-migration", "expand failed"),
        ] {
            let began = SystemTime::now();
            let generation = apply(ns, release).await?;
            let (revision, outcome, message) = end(ns, generation).await?;
            assert_eq!(outcome, Outcome::Failed, "{release}: {message}");
            assert!(message.contains(words), "{release}: {message}");
            let state = ns.view.now();
            assert_eq!(
                state.status(SHOP).stable.map(|s| s.revision).as_ref(),
                Some(&stable)
            );
            let started = state.ever_had_pods(&revision);
            assert_eq!(started, release != "bad-migration", "{release}");
            let got = sum(traffic.records()?, began);
            // Its last pods have answered their last requests before the next release begins.
            ns.until("only pods of stable", PATIENCE, |state| {
                (!state.has_pods_beside(&stable)).then_some(())
            })
            .await?;
            let errors = ["errors", "crash"].contains(&release);
            assert!(errors || got.failed == 0, "{release}: {:?}", got.statuses);
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn the_operator_is_killed_at_a_step_and_goes_on_there() {
    play("killed", async |ns| {
        let (traffic, _) = open(ns).await?;
        let generation = apply(ns, "v2").await?;
        let step = |state: &State| {
            let release = state.status(SHOP).release?;
            let step = release.step().filter(|s| s.reached.is_some())?;
            Some((step.index, release.started.clone()))
        };
        let second = |state: &State| step(state).filter(|(index, _)| *index == 1);
        let (_, started) = ns.until("the second step", PATIENCE, second).await?;
        let (leader, _) = kill::leader(ns.testbed()).await?;
        kill::kill(ns.testbed(), &leader).await?;
        let killed = SystemTime::now();
        let (revision, _, words) = end(ns, generation).await?;
        let state = ns.view.now();
        assert_eq!(
            outcome_of(&state, &revision),
            Some(Outcome::Stable),
            "{words}"
        );
        for (_, rollout) in state.versions.iter().filter(|(at, _)| *at > killed) {
            let Some(release) = rollout.status.as_ref().and_then(|s| s.release.as_ref()) else {
                continue;
            };
            assert_eq!(release.started, started, "it began anew");
            assert!(release.step().is_some_and(|s| s.index >= 1), "it went back");
        }
        let all = sum(&traffic.stop().await?, SystemTime::UNIX_EPOCH);
        assert_eq!(all.failed, 0, "{:?}", all.statuses);
        Ok(())
    })
    .await;
}

fn outcome_of(state: &State, revision: &str) -> Option<Outcome> {
    let history = state.status(SHOP).history;
    let found = history.into_iter().find(|e| e.revision == revision);
    found.map(|e| e.outcome)
}
