//! The API server and the kubelet are away in the middle of a release. Each takes what it stops away from
//! every other test: they run one by one, after all others.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::time::{Duration, SystemTime};

use futures::FutureExt as _;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use stepgate::api::status::Outcome;
use stepgate::api::{PhaseKind, Rollout};
use testbed::install::OPERATOR;
use testbed::outage::Part;
use testbed::{Namespace, Result, kill, postgres};

use crate::app::APP;
use crate::clients::all_served;
use crate::phases::{
    ADD, SETUP, all_once, backfill, has_ended, hurry, more_rows, runner, schema, sql, version_1,
    version_2,
};
use crate::play::{PATIENCE, Play as _, condition, play, until_answered};
use crate::shop::{SHOP, apply_so, end, open, outcome_of};

/// How long the API server is away.
const AWAY: Duration = Duration::from_secs(60);
/// Within what time after it is ready all is watched again.
const SOON: Duration = Duration::from_secs(5);

/// A good release that has begun its second step, and is not there yet. Each step may take so many seconds.
async fn under_way(ns: &Namespace, deadline: u64) -> Result<i64> {
    let generation = apply_so(ns, "v2", |spec| {
        spec["strategy"]["progressDeadlineSeconds"] = json!(deadline);
    })
    .await?;
    ns.until("the second step", PATIENCE, |state| {
        let release = state.status(SHOP).release?;
        release.step().filter(|step| step.index == 1).map(drop)
    })
    .await?;
    Ok(generation)
}

/// Plays a test that takes this away. However it ends, the next one finds it there.
async fn without(part: Part, name: &str, test: impl AsyncFnOnce(&Namespace) -> Result<()>) {
    play(name, async |ns| {
        let played = AssertUnwindSafe(test(ns)).catch_unwind().await;
        part.start().await?;
        played.unwrap_or_else(|panic| resume_unwind(panic))
    })
    .await;
}

/// The release of this generation went out, and neither began anew nor went back since then.
async fn went_on(ns: &Namespace, generation: i64, since: SystemTime) -> Result<()> {
    let (revision, outcome, words) = end(ns, generation).await?;
    assert_eq!(outcome, Outcome::Stable, "{words}");
    let state = ns.view.now();
    assert_eq!(outcome_of(&state, &revision), Some(Outcome::Stable));
    let release = |rollout: &Rollout| rollout.status.as_ref()?.release.clone();
    let of_it = |rollout: &Rollout| release(rollout).filter(|r| r.revision == revision);
    let mut versions = state.versions.iter();
    let first = versions.find_map(|(_, rollout)| of_it(rollout));
    let started = first.expect("its release was seen").started;
    let later = state.versions.iter().filter(|(at, _)| *at > since);
    for release in later.filter_map(|(_, rollout)| of_it(rollout)) {
        assert_eq!(release.started, started, "it began anew");
        assert!(release.step().is_some_and(|s| s.index >= 1), "it went back");
    }
    Ok(())
}

/// Which pods of the operator were granted a watch of which resources since then, by the API server's
/// own log.
fn watches_since(since: SystemTime) -> BTreeSet<(String, String)> {
    let path = std::env::var("AUDIT_LOG").expect("AUDIT_LOG: the local cluster");
    let text = std::fs::read_to_string(path).expect("the audit log");
    let mut found = BTreeSet::new();
    let account = format!("system:serviceaccount:{OPERATOR}:");
    for line in text.lines().filter(|line| line.contains(&account)) {
        // The last line may be half written.
        let Ok(entry) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        let is = |place: &str, value: &str| entry.pointer(place) == Some(&json!(value));
        let granted = entry.pointer("/responseStatus/code") == Some(&json!(200));
        if !is("/verb", "watch") || !is("/stage", "ResponseStarted") || !granted {
            continue;
        }
        let text = |place: &str| {
            let found = entry.pointer(place).and_then(Value::as_str);
            found.unwrap_or_default().to_owned()
        };
        let at: Timestamp = text("/stageTimestamp").parse().expect("a time");
        let at = SystemTime::from(at);
        let pod = text("/user/extra/authentication.kubernetes.io~1pod-name/0");
        if at > since {
            found.insert((pod, text("/objectRef/resource")));
        }
    }
    found
}

#[tokio::test]
#[ignore = "it takes the API server away: make long"]
async fn an_api_server_that_is_away_for_a_minute_undoes_no_release_and_is_watched_again_at_once() {
    without(Part::ApiServer, "api-server", async |ns| {
        let (traffic, _) = open(ns).await?;
        let began = SystemTime::UNIX_EPOCH;
        let before = watches_since(began);
        let pods: BTreeSet<_> = before.iter().map(|(pod, _)| pod).collect();
        // Two of the operator, each of which watches six kinds at least.
        assert!(pods.len() >= 2 && before.len() >= 12, "{before:?}");
        // A third of the time that it is away.
        let generation = under_way(ns, 20).await?;

        Part::ApiServer.stop().await?;
        let stopped = SystemTime::now();
        tokio::time::sleep(AWAY).await;
        Part::ApiServer.start().await?;
        let ready = SystemTime::now();
        let missing = || {
            let again = watches_since(stopped);
            before.difference(&again).cloned().collect::<Vec<_>>()
        };
        while !missing().is_empty() {
            let late = ready.elapsed().unwrap_or_default();
            assert!(
                late < SOON,
                "not watched {late:?} after it was ready: {:?}",
                missing()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        went_on(ns, generation, stopped).await?;
        all_served(ns, &traffic.stop().await?, SystemTime::UNIX_EPOCH);
        Ok(())
    })
    .await;
}

#[tokio::test]
#[ignore = "it takes the kubelet away: make long"]
async fn a_kubelet_that_is_away_undoes_no_release_and_is_what_is_waited_for() {
    without(Part::Kubelet, "kubelet", async |ns| {
        let (_traffic, stable) = open(ns).await?;
        // Nobody knows that a node is silent before Kubernetes has waited for it for fifty seconds.
        let deadline = 75;
        let generation = under_way(ns, deadline).await?;
        Part::Kubelet.stop().await?;
        let stopped = SystemTime::now();
        // Kubernetes takes the pods of a node that says nothing from the Services after a while.
        ns.until("pods that nobody vouches for", PATIENCE, |state| {
            (state.ready_pods().count() == 0).then_some(())
        })
        .await?;
        ns.until("what is waited for", PATIENCE, |state| {
            let status = state.status(SHOP);
            let ready = condition(&status, "Ready")?;
            ready.message.contains("node0").then_some(())
        })
        .await?;
        // For longer than a step may take.
        tokio::time::sleep(Duration::from_secs(deadline)).await;
        let state = ns.view.now();
        let release = state.status(SHOP).release.expect("the release goes on");
        assert!(release.undo().is_none(), "{:?}", release.undo());
        assert_eq!(state.status(SHOP).stable.map(|s| s.revision), Some(stable));
        Part::Kubelet.start().await?;
        went_on(ns, generation, stopped).await
    })
    .await;
}

/// What the ledger has of the backfill, whoever is away.
async fn rows_done(ns: &Namespace) -> Result<i64> {
    let rows = "SELECT rows_done FROM stepgate.batches";
    let rows = postgres::query_without_kubelet(ns, rows).await?;
    Ok(rows.parse().expect("a number"))
}

#[tokio::test]
#[ignore = "it takes the kubelet away: make long"]
async fn a_backfill_goes_on_without_the_kubelet_and_from_its_checkpoint_when_its_pod_ends_meanwhile()
 {
    without(Part::Kubelet, "kubelet-backfill", async |ns| {
        // Slow enough to last longer than the outage.
        version_1(ns, &SETUP.replace("0.001", "0.004")).await?;
        postgres::files(ns, &[("expand.sql", ADD)]).await?;
        let phases = [("expand", sql("expand.sql")), ("backfill", backfill())];
        let stable = ns.release_to_the_end(&version_2(&phases)).await?;
        more_rows(ns, 1_000).await?;
        let pod = runner(ns).await?;

        Part::Kubelet.stop().await?;
        let before = rows_done(ns).await?;
        ns.until("pods that nobody vouches for", PATIENCE, |state| {
            (state.ready_pods().count() == 0).then_some(())
        })
        .await?;
        // It runs on, and who reads of it reads of the node.
        let told = schema(ns, "the node that says nothing", |schema| {
            schema.message.contains("node0")
        })
        .await?;
        assert_eq!(told.state, "Running");
        assert!(!told.message.contains("does not start"), "{told:?}");
        let meanwhile = rows_done(ns).await?;
        assert!(meanwhile > before, "{meanwhile} after {before} rows");
        assert!(meanwhile < 40_000, "the outage was too short");

        // Nobody starts another one before the kubelet is back.
        kill::container(ns.testbed(), ns.name(), &pod).await?;
        let left = rows_done(ns).await?;
        Part::Kubelet.start().await?;
        until_answered(ns, "another pod of the backfill", async || {
            Ok((runner(ns).await? != pod).then_some(()))
        })
        .await?;
        assert!(rows_done(ns).await? >= left, "it began anew");
        hurry(ns).await?;
        let ended = has_ended(PhaseKind::Backfill, "Succeeded");
        schema(ns, "the end of the backfill", ended).await?;
        // What was committed before the pod ended was not done again.
        all_once(ns).await?;
        let proved = "SELECT proved IS NOT NULL, rows_done FROM stepgate.batches";
        assert_eq!(postgres::query(ns, proved).await?, "t|40000");
        let state = ns.view.now();
        assert_eq!(state.databases["db"].spec.record.dirty, []);
        assert_eq!(state.status(APP).stable.map(|s| s.revision), Some(stable));
        Ok(())
    })
    .await;
}
