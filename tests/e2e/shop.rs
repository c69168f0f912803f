//! The shop under traffic, on PostgreSQL, measured by Prometheus.

use std::time::SystemTime;

use serde_json::{Value, json};
use stepgate::api::status::Outcome;
use testbed::traffic::Traffic;
use testbed::view::State;
use testbed::{Namespace, Result, install, kill, reach};

use crate::clients::all_served;
use crate::play::{PATIENCE, condition, play};

pub const SHOP: &str = "shop";
/// Requests a second: enough for a verdict, little enough for several at a time.
pub const RATE: u32 = 100;

/// Applies a release of the shop, for a small machine that does much else: four pods, a limit of
/// one second, and a slow release that is slower still.
async fn apply(ns: &Namespace, release: &str) -> Result<i64> {
    apply_so(ns, release, |_| {}).await
}

/// The same, changed so.
pub async fn apply_so(ns: &Namespace, release: &str, change: impl Fn(&mut Value)) -> Result<i64> {
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
    change(spec);
    let applied = ns.put(&rollout).await?;
    Ok(applied.metadata.generation.unwrap_or_default())
}

/// How the release of this generation ended, and its revision.
pub async fn end(ns: &Namespace, generation: i64) -> Result<(String, Outcome, String)> {
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
pub async fn open(ns: &Namespace) -> Result<(Traffic, String)> {
    open_so(ns, |_| {}).await
}

/// The same, changed so.
async fn open_so(ns: &Namespace, change: impl Fn(&mut Value)) -> Result<(Traffic, String)> {
    ns.add_database_and_service().await?;
    let generation = apply_so(ns, "v1", change).await?;
    ns.until("pods in the Service", PATIENCE, |state| {
        State::serves(state).then_some(())
    })
    .await?;
    let traffic = Traffic::start(&reach::service(ns, SHOP).await?, RATE)?;
    let (revision, outcome, words) = end(ns, generation).await?;
    assert_eq!(outcome, Outcome::Stable, "{words}");
    Ok((traffic, revision))
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
        all_served(ns, &records, SystemTime::UNIX_EPOCH);
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
            let got = traffic.records()?.to_vec();
            // Its last pods have answered their last requests before the next release begins.
            ns.until("only pods of stable", PATIENCE, |state| {
                (!state.has_pods_beside(&stable)).then_some(())
            })
            .await?;
            if !["errors", "crash"].contains(&release) {
                all_served(ns, &got, began);
            }
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
        all_served(ns, &traffic.stop().await?, SystemTime::UNIX_EPOCH);
        Ok(())
    })
    .await;
}

/// Batch by batch, a quarter of the four pods at a time.
fn rolling(spec: &mut Value) {
    spec["strategy"] = json!({
        "type": "Rolling",
        "progressDeadlineSeconds": 30,
        "rolling": {"batch": "25%", "holdSeconds": 5, "bakeSeconds": 10},
    });
}

/// The steps that a release of this revision was at, in order.
fn steps_of(state: &State, revision: &str) -> Vec<String> {
    let mut steps: Vec<String> = Vec::new();
    for (_, rollout) in &state.versions {
        let release = rollout.status.as_ref().and_then(|s| s.release.as_ref());
        let release = release.filter(|release| release.revision == revision);
        let step = release.and_then(|release| Some(release.step()?.name.clone()));
        if let Some(step) = step.filter(|step| steps.last() != Some(step)) {
            steps.push(step);
        }
    }
    steps
}

#[tokio::test]
async fn a_rolling_release_goes_out_batch_by_batch_and_a_bad_one_comes_back() {
    play("rolling", async |ns| {
        let (mut traffic, _) = open_so(ns, rolling).await?;
        let generation = apply_so(ns, "v2", rolling).await?;
        let (good, outcome, words) = end(ns, generation).await?;
        assert_eq!(outcome, Outcome::Stable, "{words}");
        let steps = steps_of(&ns.view.now(), &good);
        assert_eq!(steps, ["batch-1", "batch-2", "batch-3", "last"]);
        all_served(ns, traffic.records()?, SystemTime::UNIX_EPOCH);
        let generation = apply_so(ns, "errors", rolling).await?;
        let (bad, outcome, words) = end(ns, generation).await?;
        assert_eq!(outcome, Outcome::Failed, "{words}");
        assert!(words.contains("check error-rate"), "{words}");
        let state = ns.view.now();
        let stable = state.status(SHOP).stable.map(|s| s.revision);
        assert_eq!(stable, Some(good));
        assert!(!steps_of(&state, &bad).contains(&"last".to_owned()));
        Ok(())
    })
    .await;
}

/// The first step has a test that runs so.
fn tested(command: &'static str) -> impl Fn(&mut Value) {
    move |spec| {
        let test = json!({"name": "smoke", "command": ["shop", command], "deadlineSeconds": 60});
        spec["strategy"]["canary"]["steps"][0]["tests"] = json!([test]);
    }
}

#[tokio::test]
async fn a_test_comes_before_the_hold_and_its_failure_undoes() {
    play("tested", async |ns| {
        let (traffic, stable) = open_so(ns, tested("--help")).await?;
        let generation = apply_so(ns, "v2", tested("no-such-command")).await?;
        let (bad, outcome, words) = end(ns, generation).await?;
        assert_eq!(outcome, Outcome::Failed, "{words}");
        // With the end of its log.
        assert!(
            words.starts_with("test smoke of step canary failed"),
            "{words}"
        );
        assert!(words.contains("no-such-command"), "{words}");
        let state = ns.view.now();
        assert_eq!(state.status(SHOP).stable.map(|s| s.revision), Some(stable));
        assert_eq!(steps_of(&state, &bad), ["canary"]);
        let held = |rollout: &stepgate::api::Rollout| {
            let release = rollout.status.as_ref()?.release.as_ref()?;
            let step = release.step().filter(|_| release.revision == bad)?;
            step.held.since.clone()
        };
        let mut versions = state.versions.iter();
        assert!(
            !versions.any(|(_, rollout)| held(rollout).is_some()),
            "it was held"
        );
        let selector = ["get", "jobs", "-l", "stepgate.io/test", "-o", "name"];
        let jobs = ns.kubectl(&selector).await?;
        assert_eq!(jobs.trim(), "", "the undo deletes its Job");

        let generation = apply_so(ns, "v2", |spec| {
            tested("--help")(spec);
            spec["template"]["metadata"]["annotations"]["again"] = json!("1");
        })
        .await?;
        let (_, outcome, words) = end(ns, generation).await?;
        assert_eq!(outcome, Outcome::Stable, "{words}");
        let jobs = ns.kubectl(&selector).await?;
        assert_eq!(jobs.lines().count(), 1, "one Job for one test: {jobs}");
        all_served(ns, &traffic.stop().await?, SystemTime::UNIX_EPOCH);
        Ok(())
    })
    .await;
}

pub fn outcome_of(state: &State, revision: &str) -> Option<Outcome> {
    let history = state.status(SHOP).history;
    let found = history.into_iter().find(|e| e.revision == revision);
    found.map(|e| e.outcome)
}
