//! The pods of stable are restarted by kubectl: the Deployment's own controller replaces them by the
//! Rollout's bounds, nothing is released, and the way back stays.

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use super::{
    fixture::{Home, eventually, minimal},
    process::{condition, operator_with, pods, say_ready},
};

const PODS: usize = 3;

/// Pods that are ready, and are not being deleted.
fn ready(pods: &[Pod]) -> usize {
    let is_ready = |pod: &&Pod| {
        let status = pod.status.iter();
        let mut conditions = status.flat_map(|s| s.conditions.iter().flatten());
        let ready = conditions.any(|c| c.type_ == "Ready" && c.status == "True");
        ready && pod.metadata.deletion_timestamp.is_none()
    };
    pods.iter().filter(is_ready).count()
}

fn names(pods: &[Pod]) -> Vec<String> {
    pods.iter()
        .filter_map(|pod| pod.metadata.name.clone())
        .collect()
}

#[tokio::test]
async fn a_restart_by_kubectl_keeps_the_bounds_and_the_way_back() {
    let home = Home::new("restarted").await;
    let _operator = operator_with(&home, &["--leader-elect=false", "--listen=127.0.0.1:0"]);
    let mut rollout = minimal("portal");
    rollout["spec"]["replicas"] = json!(PODS);
    rollout["spec"]["strategy"] = json!({"maxSurge": 1, "maxUnavailable": 0, "canary": {"steps": [
        {"name": "canary", "replicas": 1, "holdSeconds": 3600},
        {"name": "full", "replicas": "100%", "holdSeconds": 1}]}});
    home.create(&rollout).await.expect("a Rollout");
    let is = async |kind: &str, status: &str, reason: &str| {
        say_ready(&home, pods(&home).await).await;
        let condition = condition(&home, "portal", kind).await?;
        (condition["status"] == status && condition["reason"] == reason).then_some(())
    };
    eventually("the Rollout to be Ready", async || {
        is("Ready", "True", "Stable").await
    })
    .await;

    let children = Api::<Deployment>::namespaced(home.client.clone(), &home.namespace);
    let list = children.list(&ListParams::default()).await;
    let child = list.expect("Deployments").items.pop().expect("one");
    let spec = serde_json::to_value(&child.spec).expect("JSON");
    assert_eq!(
        spec["strategy"]["rollingUpdate"],
        json!({"maxSurge": 1, "maxUnavailable": 0})
    );
    let name = child.metadata.name.expect("a name");
    let patch = async |template: Value| {
        let change = Patch::Strategic(json!({"spec": {"template": template}}));
        let params = PatchParams::default();
        let patched = children.patch(&name, &params, &change).await;
        patched.expect("patched");
    };
    // As kubectl writes it.
    let restart = async |at: &str| {
        let key = "kubectl.kubernetes.io/restartedAt";
        patch(json!({"metadata": {"annotations": {key: at}}})).await;
    };
    for at in ["2027-01-15T08:00:00Z", "2027-01-16T08:00:00+01:00"] {
        let before = names(&pods(&home).await);
        restart(at).await;
        eventually("all pods to be new ones", async || {
            let now = pods(&home).await;
            assert!((PODS..=PODS + 1).contains(&now.len()), "{:?}", names(&now));
            assert!(ready(&now) >= PODS, "{:?}", names(&now));
            let new = names(&now).iter().all(|name| !before.contains(name));
            let all = new && now.len() == PODS;
            say_ready(&home, now).await;
            all.then_some(())
        })
        .await;
        eventually("the Rollout to be as it was", async || {
            is("UndoPossible", "True", "StableKept").await?;
            is("Ready", "True", "Stable").await
        })
        .await;
    }

    let release = async |image: &str| {
        let containers = json!([{"name": "app", "image": image}]);
        let template = json!({"spec": {"containers": containers}});
        let change = Patch::Merge(json!({"spec": {"template": template}}));
        let (rollouts, params) = (home.rollouts(), PatchParams::default());
        let changed = rollouts.patch("portal", &params, &change).await;
        changed.expect("changed");
    };
    release("app:2").await;
    eventually(
        "the next release to be held at its first step",
        async || {
            is("Reconciling", "True", "Holding").await?;
            is("UndoPossible", "True", "StableKept").await
        },
    )
    .await;
    release("app:1").await;
    eventually("stable to be back", async || {
        is("Ready", "True", "Stable").await
    })
    .await;

    // What else comes with a restart is an edit.
    patch(json!({
        "metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "2027-01-17T08:00:00Z"}},
        "spec": {"containers": [{"name": "app", "image": "app:9"}]},
    }))
    .await;
    eventually("the edit to be said", async || {
        is("UndoPossible", "False", "ChildEdited").await
    })
    .await;
}
