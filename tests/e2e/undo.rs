//! Releases that are rolled back.

use std::time::SystemTime;

use serde_json::{Value, json};
use stepgate::api::status::Outcome;
use testbed::{Namespace, Result};

use crate::app::{Change as _, app};
use crate::play::{Play as _, outcome, play};

/// Releases a good one and then `bad`, which must end for this reason, stable whole all along.
async fn comes_back(ns: &Namespace, bad: &Value, reason: &str) -> Result<String> {
    let stable = ns.release_to_the_end(&app("1")).await?;
    ns.pods(&[(&stable, 4)]).await?;
    let began = SystemTime::now();
    let generation = ns.release(bad).await?;
    let words = ns.stalled(generation, reason).await?;
    ns.pods(&[(&stable, 4)]).await?;
    let state = ns.view.now();
    assert!(state.fewest_ready_since(began) >= 3, "{:?}", state.ready);
    let status = state.status("app");
    assert_eq!(status.stable.map(|s| s.revision).as_ref(), Some(&stable));
    let bad = &status.history[0].revision;
    assert_eq!(outcome(&state, bad), Some(Outcome::Failed));
    Ok(words)
}

/// Takes a quota away. The ReplicaSet controller backs off after each refusal, for minutes in the
/// end; it looks at once where its object changes.
async fn lift(ns: &Namespace, quota: &str) -> Result<()> {
    ns.kubectl(&["delete", "quota", quota]).await?;
    let annotate = [
        "annotate",
        "replicasets",
        "--all",
        "quota=lifted",
        "--overwrite",
    ];
    ns.kubectl(&annotate).await.map(drop)
}

#[tokio::test]
async fn a_crash_loop_is_undone_before_the_progress_deadline() {
    play("crash", async |ns| {
        let script = json!(["sh", "-c", "sleep 1; exit 7"]);
        let bad = app("2")
            .hold(0, 5)
            .container("command", script)
            .with("/strategy/progressDeadlineSeconds", json!(600));
        comes_back(ns, &bad, "CrashLooping").await?;
        // Ready again after its first crash, it did not pass for a canary that is well.
        let state = ns.view.now();
        let bad = state.status("app").history[0].revision.clone();
        let born = state.born.values();
        let of_it = born.filter(|of| of.as_ref() == Some(&bad));
        assert_eq!(of_it.count(), 1, "one pod of it was all there ever was");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_container_that_ends_once_holds_its_release_up_for_a_while() {
    play("restart", async |ns| {
        ns.release_to_the_end(&app("1")).await?;
        let once = "test -e /seen/it || { touch /seen/it; sleep 1; exit 1; }; touch /seen/again; sleep 3600";
        let second = json!({"exec": {"command": ["test", "-e", "/seen/again"]}, "periodSeconds": 1});
        let next = app("2")
            .container("command", json!(["sh", "-c", once]))
            // Ready in its second life alone: a node that reports late would else report the
            // first one as ready, and its end when the step is left.
            .container("readinessProbe", second)
            .container(
                "volumeMounts",
                json!([{"name": "seen", "mountPath": "/seen"}]),
            )
            .with(
                "/template/spec/volumes",
                json!([{"name": "seen", "emptyDir": {}}]),
            )
            // Shorter than the ten seconds after an end.
            .hold(0, 1)
            .hold(1, 600);
        ns.release(&next).await?;
        // It is said only while nothing else holds the step: on a slow node that may be never.
        let canary = ns.held("half").await?;
        let state = ns.view.now();
        let passed = state.versions.iter().find_map(|(at, rollout)| {
            let release = rollout.status.as_ref()?.release.as_ref()?;
            (release.step()?.index == 1).then_some(*at)
        });
        let ends = state.pods_of(&canary).filter_map(|pod| {
            let container = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
            let ended = container.last_state.as_ref()?.terminated.as_ref()?;
            Some(SystemTime::from(ended.finished_at.as_ref()?.0))
        });
        let first = ends.min().expect("its first pod has ended once");
        let steady = passed
            .expect("the first step was left")
            .duration_since(first)
            .expect("it ended before");
        assert!(steady.as_secs() >= 10, "left after {steady:?}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_canary_that_never_gets_ready_is_undone_at_the_progress_deadline() {
    play("never-ready", async |ns| {
        let probe = json!({"exec": {"command": ["false"]}, "periodSeconds": 1});
        let bad = app("2")
            .container("readinessProbe", probe)
            .with("/strategy/progressDeadlineSeconds", json!(5));
        comes_back(ns, &bad, "ProgressDeadlineExceeded")
            .await
            .map(drop)
    })
    .await;
}

#[tokio::test]
async fn an_image_that_does_not_exist_is_said_and_undone() {
    play("no-image", async |ns| {
        let bad = app("2")
            .container("image", json!("localhost/stepgate/busybox:none"))
            .with("/strategy/progressDeadlineSeconds", json!(8));
        let words = comes_back(ns, &bad, "ProgressDeadlineExceeded").await?;
        assert!(words.contains("ErrImageNeverPull"), "{words}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_expand_whose_image_does_not_exist_says_so_long_before_its_deadline() {
    play("no-image-expand", async |ns| {
        let stable = ns.release_to_the_end(&app("1").expand("exit 0")).await?;
        let bad = app("2")
            .container("image", json!("localhost/stepgate/busybox:none"))
            .expand("exit 0");
        ns.release(&bad).await?;
        ns.says("its pod does not start: ErrImageNeverPull").await?;
        // Another release takes over as soon as that Job has come to its end.
        let status = ns.status();
        let job = status.schema.and_then(|s| s.job).unwrap();
        ns.kubectl(&["delete", "job", &job]).await?;
        ns.pods(&[(&stable, 4)]).await
    })
    .await;
}

#[tokio::test]
async fn a_pod_that_fits_on_no_node_is_said_and_undone() {
    play("no-room", async |ns| {
        let bad = app("2")
            .container("resources", json!({"requests": {"cpu": "1000"}}))
            .with("/strategy/progressDeadlineSeconds", json!(8));
        let words = comes_back(ns, &bad, "ProgressDeadlineExceeded").await?;
        assert!(words.contains("Insufficient cpu"), "{words}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_quota_is_said_and_the_release_goes_on_when_it_is_lifted() {
    play("quota", async |ns| {
        let stable = ns.release_to_the_end(&app("1")).await?;
        ns.pods(&[(&stable, 4)]).await?;
        ns.kubectl(&["create", "quota", "tight", "--hard=pods=4"])
            .await?;
        let next = app("2").with("/strategy/maxUnavailable", json!(0));
        let generation = ns.release(&next).await?;
        ns.says("exceeded quota").await?;
        lift(ns, "tight").await?;
        ns.ready(generation).await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn an_expand_that_fails_blocks_and_goes_on_by_retry() {
    play("retry", async |ns| {
        let stable = ns.release_to_the_end(&app("1").expand("exit 0")).await?;
        let flag = json!([{"name": "flag", "configMap": {"name": "flag", "optional": true}}]);
        let mount = json!([{"name": "flag", "mountPath": "/flag"}]);
        let next = app("2")
            .expand("test -e /flag/there || { echo column is missing; exit 1; }")
            .with("/template/spec/volumes", flag)
            .container("volumeMounts", mount);
        let generation = ns.release(&next).await?;
        let words = ns.stalled(generation, "ExpandFailed").await?;
        assert!(words.contains("column is missing"), "{words}");
        let failed = ns.status().history[0].revision.clone();
        assert!(!ns.view.read(|state| state.ever_had_pods(&failed)));
        ns.pods(&[(&stable, 4)]).await?;
        // Applying the same once more is no retry.
        ns.put(&next).await?;
        ns.kubectl(&["create", "configmap", "flag", "--from-literal=there=yes"])
            .await?;
        ns.tell("app", "retry", &format!("{failed} the-table-is-there-now"))
            .await?;
        let (result, words) = ns.answer("retry", "the-table-is-there-now").await?;
        assert_eq!(result, "Done", "{words}");
        assert_eq!(ns.ready(generation).await?, failed);
        let jobs = ns.view.read(|state| {
            let of_it = state.jobs.keys().filter(|name| name.contains(&failed));
            of_it.count()
        });
        assert_eq!(jobs, 2, "one Job for each attempt");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_undo_without_room_keeps_the_canary_serving_and_ends_when_there_is_some() {
    play("scarce", async |ns| {
        let stable = ns.release_to_the_end(&app("1")).await?;
        let next = app("2").hold(1, 600);
        ns.release(&next).await?;
        let canary = ns.held("half").await?;
        let began = SystemTime::now();
        // From here on it is to say soon that it does not get on.
        let next = next.with("/strategy/progressDeadlineSeconds", json!(5));
        let generation = ns.release(&next).await?;
        // No pod of stable can be made any more.
        let quota = ["create", "quota", "none", "--hard=pods=1"];
        ns.kubectl(&quota).await?;
        ns.tell("app", "undo", &format!("{canary} back")).await?;
        let words = ns.stalled(generation, "UndoBlocked").await?;
        assert!(words.contains("exceeded quota"), "{words}");
        assert!(ns.view.read(|state| state.fewest_ready_since(began)) >= 3);
        lift(ns, "none").await?;
        ns.stalled(generation, "UndoneByPerson").await?;
        ns.pods(&[(&stable, 4)]).await
    })
    .await;
}
