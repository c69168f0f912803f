//! What cannot be done is said, and holds up nobody else.

use serde_json::{Value, json};
use testbed::{Namespace, Result};

use crate::app::{APP, Change as _, app};
use crate::play::{PATIENCE, Play as _, condition, holds, play};

fn named(name: &str, mut rollout: Value) -> Value {
    rollout["metadata"]["name"] = json!(name);
    rollout
}

async fn says(ns: &Namespace, rollout: &str, reason: &str, words: &str) -> Result<()> {
    let what = format!("{rollout} Stalled={reason} with {words:?}");
    ns.until(&what, PATIENCE, |state| {
        let status = state.status(rollout);
        let stalled = condition(&status, "Stalled").filter(|c| c.status == "True")?;
        (stalled.reason == reason && stalled.message.contains(words)).then_some(())
    })
    .await
}

#[tokio::test]
async fn an_overlapping_selector_is_refused_before_any_write() {
    play("overlap", async |ns| {
        let stable = ns.release_to_the_end(&app("1")).await?;
        ns.put(&named("second", app("2"))).await?;
        says(ns, "second", "SelectorOverlap", APP).await?;
        let theirs = |name: &String| name.starts_with("second-");
        assert!(ns.view.read(|state| !state.deployments.keys().any(theirs)));
        ns.pods(&[(&stable, 4)]).await
    })
    .await;
}

#[tokio::test]
async fn a_plain_deployment_of_the_same_pods_is_refused() {
    play("deployment", async |ns| {
        let image = "--image=localhost/stepgate/busybox:test";
        // Its selector is app=app.
        ns.kubectl(&["create", "deployment", "app", image, "--", "sleep", "3600"])
            .await?;
        let generation = ns.release(&app("1")).await?;
        let words = ns.stalled(generation, "SelectorOverlap").await?;
        assert!(words.contains("app"), "{words}");
        ns.kubectl(&["delete", "deployment", "app"]).await?;
        ns.ready(generation).await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn what_the_api_server_refuses_is_said_in_its_words_and_holds_up_nobody() {
    play("refused", async |ns| {
        let label = |name: &str, rollout: Value| {
            let labels = json!({"app": name});
            let rollout = rollout.with("/selector/matchLabels", labels.clone());
            named(name, rollout.with("/template/metadata/labels", labels))
        };
        let template = app("1").container("image", json!(""));
        ns.put(&label("bad-template", template)).await?;
        let source = json!({"source": "nowhere", "checks": [
            {"name": "errors", "errorRate": {"maxPercent": "1"}}]});
        ns.put(&label("bad-source", app("1").with("/analysis", source)))
            .await?;
        ns.release_to_the_end(&app("1")).await?;
        says(ns, "bad-template", "TemplateRefused", "image").await?;
        ns.until("words about the source", PATIENCE, |state| {
            let status = state.status("bad-source");
            let ready = condition(&status, "Ready")?;
            ready.message.contains("nowhere").then_some(())
        })
        .await?;
        assert!(!holds(&ns.view.read(|s| s.status("bad-source")), "Ready"));
        // Put right, it goes out.
        ns.put(&label("bad-template", app("1"))).await?;
        ns.until("the corrected one", PATIENCE, |state| {
            holds(&state.status("bad-template"), "Ready").then_some(())
        })
        .await
    })
    .await;
}

#[tokio::test]
async fn a_job_template_that_is_refused_is_said() {
    play("job-refused", async |ns| {
        let job = json!({"metadata": {"labels": {"a": "b"}}, "spec": {
            "restartPolicy": "Never", "containers": [{"name": "BAD", "image": "x"}]}});
        let schema = json!({"database": "db", "expand": {"template": job}});
        let generation = ns.release(&app("1").with("/schema", schema)).await?;
        let words = ns.stalled(generation, "JobRefused").await?;
        assert!(words.contains("BAD"), "{words}");
        // How a phase is run makes no new revision: corrected, it still wants a word.
        let failed = ns.status().history[0].revision.clone();
        let corrected = ns.release(&app("1").expand("exit 0")).await?;
        let retry = format!("{failed} corrected");
        ns.tell(APP, "retry", &retry).await?;
        assert_eq!(ns.ready(corrected).await?, failed);
        Ok(())
    })
    .await;
}
