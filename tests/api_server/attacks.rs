//! What whoever may write Deployments, Jobs and Rollouts in a namespace tries on a Rollout there
//! that is not theirs.

use k8s_openapi::api::{apps::v1::Deployment, batch::v1::Job};
use kube::{
    Api,
    api::{DeleteParams, ListParams, PostParams},
};
use serde_json::{Value, json};

use super::{
    fixture::{Home, eventually, minimal},
    process::{condition, operator_with, pods, say_ready},
};

/// A Rollout that becomes stable as soon as its pods are ready.
fn quick(name: &str) -> Value {
    let mut rollout = minimal(name);
    rollout["spec"]["strategy"] = json!({"canary": {"steps": [
        {"name": "full", "replicas": "100%", "holdSeconds": 1}]}});
    rollout
}

async fn until_ready(home: &Home, rollout: &str) {
    eventually(&format!("Rollout {rollout} to be Ready"), async || {
        say_ready(home, pods(home).await).await;
        let ready = condition(home, rollout, "Ready").await?;
        (ready["status"] == "True").then_some(())
    })
    .await;
}

fn deployments(home: &Home) -> Api<Deployment> {
    Api::namespaced(home.client.clone(), &home.namespace)
}

#[tokio::test]
async fn a_deployment_that_poses_as_a_child_is_neither_taken_nor_deleted() {
    let home = Home::new("posing").await;
    let _operator = operator_with(&home, &["--leader-elect=false", "--listen=127.0.0.1:0"]);
    home.create(&quick("shop")).await.expect("a Rollout");
    until_ready(&home, "shop").await;
    // Nothing of the Rollout's selector: it only carries the labels.
    let labels = json!({"stepgate.io/rollout": "shop", "stepgate.io/revision": "r9",
                        "stepgate.io/epoch": "4000000000"});
    let posing: Deployment = serde_json::from_value(json!({
        "metadata": {"name": "theirs", "labels": labels},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": "theirs"}},
            "template": {
                "metadata": {"labels": {"app": "theirs"}},
                "spec": {"containers": [{"name": "app", "image": "app:1"}]},
            },
        },
    }))
    .expect("a Deployment");
    let made = deployments(&home)
        .create(&PostParams::default(), &posing)
        .await
        .expect("a Deployment");
    // A release goes out beside it, over every write that there is, the clean-up included.
    let next = json!({"spec": {"template": {"spec": {"containers": [
        {"name": "app", "image": "app:2"}]}}, "revisionHistoryLimit": 1}});
    let patched = home
        .rollouts()
        .patch(
            "shop",
            &kube::api::PatchParams::default(),
            &kube::api::Patch::Merge(&next),
        )
        .await;
    let generation = patched.expect("patched").metadata.generation;
    eventually("the next revision to be Ready", async || {
        say_ready(&home, pods(&home).await).await;
        let ready = condition(&home, "shop", "Ready").await?;
        (ready["status"] == "True" && ready["observedGeneration"].as_i64() == generation)
            .then_some(())
    })
    .await;
    let left = deployments(&home).get("theirs").await.expect("it is there");
    assert_eq!(left.metadata.uid, made.metadata.uid);
    assert_eq!(left.metadata.generation, made.metadata.generation);
    assert_eq!(left.metadata.owner_references, None, "not adopted");
}

#[tokio::test]
async fn a_migrations_pod_is_never_counted_as_another_rollouts() {
    let home = Home::new("labels").await;
    let _operator = operator_with(&home, &["--leader-elect=false", "--listen=127.0.0.1:0"]);
    home.create(&quick("shop")).await.expect("a Rollout");
    until_ready(&home, "shop").await;
    let mut theirs = quick("theirs");
    theirs["spec"]["schema"] = json!({"database": "db", "expand": {"template": {
        "metadata": {
            "labels": {"team": "a", "stepgate.io/rollout": "shop", "stepgate.io/revision": "r1"},
            "annotations": {"note": "b", "stepgate.io/settled": "1"},
        },
        "spec": {"containers": [{"name": "app", "image": "app:1"}]},
    }}});
    home.create(&theirs).await.expect("a Rollout");
    let jobs = Api::<Job>::namespaced(home.client.clone(), &home.namespace);
    let job = eventually("the Job", async || {
        let list = jobs.list(&ListParams::default()).await.ok()?;
        list.items.into_iter().next()
    })
    .await;
    let template = job
        .spec
        .expect("a spec")
        .template
        .metadata
        .expect("metadata");
    let labels = template.labels.expect("labels");
    assert_eq!(labels.get("team").map(String::as_str), Some("a"));
    let of = labels.get("stepgate.io/database").map(String::as_str);
    assert_eq!(of, Some("db"));
    for key in ["stepgate.io/rollout", "stepgate.io/revision"] {
        assert_eq!(labels.get(key), None, "{key}");
    }
    let annotations = template.annotations.expect("annotations");
    assert_eq!(annotations.keys().collect::<Vec<_>>(), ["note"]);
}

#[tokio::test]
async fn a_newcomer_with_a_broad_selector_stops_only_itself() {
    let home = Home::new("broad").await;
    let _operator = operator_with(&home, &["--leader-elect=false", "--listen=127.0.0.1:0"]);
    let mut shop = quick("shop");
    let labels = json!({"app": "shop", "team": "all"});
    shop["spec"]["selector"] = json!({"matchLabels": labels});
    shop["spec"]["template"]["metadata"]["labels"] = labels;
    home.create(&shop).await.expect("a Rollout");
    until_ready(&home, "shop").await;
    let mut broad = quick("broad");
    broad["spec"]["selector"] = json!({"matchLabels": {"team": "all"}});
    broad["spec"]["template"]["metadata"]["labels"] = json!({"team": "all"});
    home.create(&broad).await.expect("a Rollout");
    let stalled = eventually("the newcomer to be Stalled", async || {
        let stalled = condition(&home, "broad", "Stalled").await?;
        (stalled["status"] == "True").then_some(stalled)
    })
    .await;
    assert_eq!(stalled["reason"], "SelectorOverlap");
    let words = stalled["message"].as_str().unwrap_or_default();
    assert!(words.contains("Rollout shop is older"), "{words}");
    // The incumbent scales and releases as before.
    let more = json!({"spec": {"replicas": 2, "template": {"spec": {"containers": [
        {"name": "app", "image": "app:2"}]}}}});
    let patched = home
        .rollouts()
        .patch(
            "shop",
            &kube::api::PatchParams::default(),
            &kube::api::Patch::Merge(&more),
        )
        .await;
    let generation = patched.expect("patched").metadata.generation;
    eventually("the incumbent's release", async || {
        say_ready(&home, pods(&home).await).await;
        let ready = condition(&home, "shop", "Ready").await?;
        (ready["status"] == "True" && ready["observedGeneration"].as_i64() == generation)
            .then_some(())
    })
    .await;
}

/// Rollouts of somebody who fills a namespace with the largest objects that are stored.
const HUGE: usize = 60;
/// What the chart gives the operator.
const MEMORY: u64 = 256 << 20;

/// The most memory that a process has ever had.
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kilobytes.and_then(|n| n.parse::<u64>().ok()).expect("kB") << 10
}

#[tokio::test]
async fn sixty_templates_of_more_than_a_megabyte_end_no_operator_that_starts_beside_them() {
    let home = Home::new("huge").await;
    let name = |n| format!("huge-{n}");
    for n in 0..HUGE {
        let mut rollout = quick(&name(n));
        rollout["spec"]["template"]["spec"]["containers"][0]["env"] =
            json!([{"name": "HUGE", "value": "x".repeat(1_400_000)}]);
        home.create(&rollout).await.expect("a Rollout");
    }
    home.create(&quick("shop")).await.expect("a Rollout");
    let operator = operator_with(&home, &["--leader-elect=false", "--listen=127.0.0.1:0"]);
    until_ready(&home, "shop").await;
    for n in 0..HUGE {
        let rollout = name(n);
        eventually(&format!("{rollout} to be refused"), async || {
            let stalled = condition(&home, &rollout, "Stalled").await?;
            (stalled["status"] == "True" && stalled["reason"] == "InvalidSpec").then_some(())
        })
        .await;
    }
    let pid = operator.id().expect("it runs");
    let peak = peak(pid);
    assert!(peak < MEMORY, "it had {} MiB", peak >> 20);
    // They are in nobody's way after this.
    let deleted = home
        .rollouts()
        .delete_collection(&DeleteParams::default(), &ListParams::default())
        .await;
    deleted.expect("deleted");
}

#[tokio::test]
async fn annotations_of_240_kilobytes_silence_no_rollout() {
    let home = Home::new("echoed").await;
    let _operator = operator_with(&home, &["--leader-elect=false", "--listen=127.0.0.1:0"]);
    let mut rollout = quick("shop");
    // As much as the API server takes, in words that it escapes and that mean nothing.
    let long = "\u{1}\"<".repeat(40_000);
    rollout["metadata"]["annotations"] = json!({
        "stepgate.io/promote": format!("{long} {long}"),
        "stepgate.io/undo": "x ".repeat(500),
    });
    home.create(&rollout).await.expect("a Rollout");
    until_ready(&home, "shop").await;
    let object = home.rollouts().get("shop").await.expect("the Rollout");
    let commands = object.data["status"]["commands"].as_array();
    let commands = commands.expect("both are answered");
    assert_eq!(commands.len(), 2, "{commands:?}");
    for command in commands {
        assert_eq!(command["result"], "Ignored", "{command}");
    }
    let size = object.data["status"].to_string().len();
    assert!(size < 20_000, "a status of {size} bytes");
}
