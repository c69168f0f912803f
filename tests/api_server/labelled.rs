//! An adopted Deployment that somebody gives the label by which Stepgate tells what it made itself,
//! in the middle of its release.

use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::process::Child;

use super::{
    fixture::{Home, eventually, minimal},
    process::{condition, operator_with, pods, say_ready},
};

const LABEL: &str = "stepgate.io/rollout";

fn web() -> Deployment {
    let labels = json!({"app": "shop"});
    let object = json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "app", "image": "app:1"}]},
            },
        },
    });
    serde_json::from_value(object).expect("a Deployment")
}

struct Web {
    api: Api<Deployment>,
}

impl Web {
    async fn replicas(&self) -> Option<i32> {
        self.api.get("web").await.ok()?.spec?.replicas
    }

    async fn label(&self, value: Value) {
        let labels = json!({"metadata": {"labels": {LABEL: value}}});
        let (params, patch) = (PatchParams::default(), Patch::Merge(&labels));
        let patched = self.api.patch("web", &params, &patch).await;
        patched.expect("labelled");
    }
}

async fn stalled(home: &Home) -> Option<(String, String)> {
    let stalled = condition(home, "shop", "Stalled").await?;
    let text = |field: &str| stalled[field].as_str().unwrap_or_default().to_owned();
    (stalled["status"] == "True").then(|| (text("reason"), text("message")))
}

/// The Deployment, half of it replaced by the first revision of a Rollout.
async fn half_replaced(home: &Home) -> (Web, Child) {
    let web = Web {
        api: Api::namespaced(home.client.clone(), &home.namespace),
    };
    let made = web.api.create(&PostParams::default(), &self::web()).await;
    made.expect("a Deployment");
    eventually("its pods", async || {
        say_ready(home, pods(home).await).await;
        let status = web.api.get("web").await.ok()?.status?;
        (status.available_replicas == Some(2)).then_some(())
    })
    .await;
    let lease = format!("--lease-namespace={}", home.namespace);
    let arguments = ["--leader-elect=true", &lease, "--listen=127.0.0.1:0"];
    let operator = operator_with(home, &arguments);
    let mut rollout = minimal("shop");
    rollout["spec"]["replicas"] = json!(2);
    rollout["spec"]["adopt"] = json!({"deployment": "web"});
    rollout["spec"]["strategy"] = json!({"maxSurge": 1, "maxUnavailable": 0, "canary": {"steps": [
        {"name": "canary", "replicas": 1, "holdSeconds": 600},
        {"name": "full", "replicas": "100%", "holdSeconds": 1}]}});
    home.create(&rollout).await.expect("a Rollout");
    eventually("the Deployment to be half replaced", async || {
        say_ready(home, pods(home).await).await;
        (web.replicas().await? == 1).then_some(())
    })
    .await;
    (web, operator)
}

#[tokio::test]
async fn whoever_calls_himself_a_later_leader_stops_no_move() {
    let home = Home::new("forged").await;
    let (web, _operator) = half_replaced(&home).await;
    // He agrees with what is written, so he owns it too.
    let by = PatchParams::apply("stepgate-9000000000000000000");
    let agreed = json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 1}});
    let applied = web.api.patch("web", &by, &Patch::Apply(&agreed)).await;
    applied.expect("an answer");
    let rollout = home.rollouts().get("shop").await.expect("the Rollout");
    let revision = rollout.data.pointer("/status/release/revision").cloned();
    let revision = revision.expect("a release");
    let text = format!("{}/canary now", revision.as_str().expect("a name"));
    let promote = json!({"metadata": {"annotations": {"stepgate.io/promote": text}}});
    let (params, promote) = (PatchParams::default(), Patch::Merge(&promote));
    let patched = home.rollouts().patch("shop", &params, &promote).await;
    patched.expect("promoted");
    eventually("the Deployment to be replaced", async || {
        say_ready(&home, pods(&home).await).await;
        let ready = condition(&home, "shop", "Ready").await?;
        (ready["status"] == "True" && web.replicas().await? == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_adopted_deployment_that_is_labelled_as_an_own_one_is_told_and_given_back() {
    let home = Home::new("labelled").await;
    let (web, _operator) = half_replaced(&home).await;
    web.label(json!("somebody")).await;
    let (reason, message) = eventually("that to be told", async || {
        let (reason, message) = stalled(&home).await?;
        (reason == "AdoptedLabelled").then_some((reason, message))
    })
    .await;
    let way = format!(
        "kubectl label -n {} deployment web {LABEL}-",
        home.namespace
    );
    assert!(message.contains(&way), "{reason}: {message}");
    assert!(message.contains(&format!("{LABEL}=somebody")), "{message}");
    assert_eq!(web.replicas().await, Some(1));

    // As the message says.
    web.label(Value::Null).await;
    eventually("it to go on", async || {
        let release = home.rollouts().get("shop").await.ok()?;
        let reached = release
            .data
            .pointer("/status/release/step/reached")
            .cloned();
        (stalled(&home).await.is_none() && reached.is_some()).then_some(())
    })
    .await;

    web.label(json!("somebody")).await;
    eventually("that to be told again", || stalled(&home)).await;
    let params = DeleteParams::default();
    home.rollouts()
        .delete("shop", &params)
        .await
        .expect("deleted");
    eventually("the Rollout to go", async || {
        say_ready(&home, pods(&home).await).await;
        let left = home.rollouts().get_opt("shop").await.ok()?;
        left.is_none().then_some(())
    })
    .await;
    assert_eq!(web.replicas().await, Some(2), "it was given back");
}
