//! First deployments, and the plain release after them.

use std::time::SystemTime;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use serde_json::json;
use stepgate::api::status::Outcome;

use crate::app::{APP, Change as _, app};
use crate::play::{PATIENCE, Play as _, holds, outcome, play};

#[tokio::test]
async fn schema_first_then_pods_then_steps() {
    play("steps", async |ns| {
        let first = ns.release_to_the_end(&app("1").expand("exit 0")).await?;
        ns.pods(&[(&first, 4)]).await?;
        let began = SystemTime::now();
        let second = ns.release_to_the_end(&app("2").expand("exit 0")).await?;
        ns.pods(&[(&second, 4)]).await?;
        let state = ns.view.now();
        assert!(state.fewest_ready_since(began) >= 3, "{:?}", state.ready);
        for revision in [&first, &second] {
            let job = &state.jobs[&format!("{APP}-{revision}-expand-1")];
            let ended = job.status.as_ref().unwrap().completion_time.clone();
            let ended = ended.expect("the expand is complete").0;
            for pod in state.pods_of(revision) {
                let born = pod.creation_timestamp().unwrap().0;
                assert!(
                    born >= ended,
                    "pod {} came before its schema",
                    pod.name_any()
                );
            }
        }
        let mut steps: Vec<_> = state
            .versions
            .iter()
            .filter_map(|(_, r)| r.status.as_ref()?.release.clone())
            .filter(|release| release.revision == second)
            .filter_map(|release| release.step().map(|s| s.name.clone()))
            .collect();
        steps.dedup();
        assert_eq!(steps, ["canary", "half", "full"]);
        assert_eq!(outcome(&state, &second), Some(Outcome::Stable));
        // What tools wait for.
        let wait = ["wait", "sro/app", "--for=condition=Ready", "--timeout=5s"];
        ns.kubectl(&wait).await?;
        let wait = [
            "wait",
            "sro/app",
            "--for=condition=Reconciling=False",
            "--timeout=5s",
        ];
        ns.kubectl(&wait).await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn a_first_deployment_that_fails_makes_way_for_the_next() {
    play("first-fails", async |ns| {
        let broken = ns
            .release(&app("1").expand("echo no such table; exit 1"))
            .await?;
        let words = ns.stalled(broken, "ExpandFailed").await?;
        assert!(words.contains("no such table"), "{words}");
        assert!(ns.view.read(|state| {
            state
                .pods
                .values()
                .all(|p| p.labels().contains_key("stepgate.io/phase"))
        }));
        // The database is dirty: somebody has to look at it.
        let next = ns.release(&app("2").expand("exit 0")).await?;
        ns.stalled(next, "DatabaseDirty").await?;
        let canary = ns.status().canary.expect("a release waits").revision;
        ns.tell(APP, "retry", &format!("{canary} looked-at-it"))
            .await?;
        let stable = ns.ready(next).await?;
        assert_eq!(stable, canary);
        ns.pods(&[(&stable, 4)]).await
    })
    .await;
}

#[tokio::test]
async fn a_newer_revision_replaces_a_first_deployment_that_never_gets_ready() {
    play("first-replaced", async |ns| {
        let probe = json!({"exec": {"command": ["false"]}, "periodSeconds": 1});
        ns.release(&app("1").container("readinessProbe", probe))
            .await?;
        ns.until("pods that are not ready", PATIENCE, |state| {
            let of_app = |p: &Pod| p.labels().contains_key("stepgate.io/revision");
            let running = state.pods.values().filter(|p| of_app(p)).count();
            (running == 4 && !holds(&state.status(APP), "Available")).then_some(())
        })
        .await?;
        let stable = ns.release_to_the_end(&app("2")).await?;
        ns.pods(&[(&stable, 4)]).await
    })
    .await;
}

#[tokio::test]
async fn two_rollouts_on_a_database_take_turns() {
    play("turns", async |ns| {
        let script = "cat /proc/uptime; sleep 3; cat /proc/uptime";
        let mut other = app("1").expand(script);
        other["metadata"]["name"] = json!("other");
        let labels = json!({"app": "other"});
        let other = other
            .with("/selector/matchLabels", labels.clone())
            .with("/template/metadata/labels", labels);
        let generation = ns.release(&app("1").expand(script)).await?;
        ns.put(&other).await?;
        ns.ready(generation).await?;
        ns.until("the other one", PATIENCE, |state| {
            holds(&state.status("other"), "Ready").then_some(())
        })
        .await?;
        let mut runs = Vec::new();
        for job in ns.view.now().jobs.keys() {
            let log = ns.kubectl(&["logs", &format!("job/{job}")]).await?;
            let times = log
                .lines()
                .filter_map(|line| line.split(' ').next()?.parse().ok());
            let times: Vec<f64> = times.collect();
            runs.push((times[0], times[1]));
        }
        runs.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert_eq!(runs.len(), 2);
        assert!(runs[0].1 <= runs[1].0, "both ran at a time: {runs:?}");
        Ok(())
    })
    .await;
}
