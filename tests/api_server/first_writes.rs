//! What is asked before the first write of a release, by the API server's audit log.

use std::{collections::BTreeSet, process::Stdio};

use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
};
use serde_json::{Value, json};
use stepgate::api::Rollout;
use tokio::process::{Child, Command};

use super::{
    fixture::{Home, config, eventually, minimal},
    process::{condition, pods, say_ready},
};

/// Requests of the operator about this namespace that were logged so far, in the order in which the
/// API server got them: `verb resource`. Leases and watches say nothing of releases.
fn requests(home: &Home) -> Vec<String> {
    let path = std::env::var_os("AUDIT_LOG").expect("AUDIT_LOG, of tests/programs/cluster");
    let text = std::fs::read_to_string(path).expect("the audit log");
    let mut all: Vec<(String, String)> = text.lines().filter_map(|l| one(home, l)).collect();
    all.sort();
    all.into_iter().map(|(_, what)| what).collect()
}

fn one(home: &Home, line: &str) -> Option<(String, String)> {
    let line: Value = serde_json::from_str(line).ok()?;
    let object = &line["objectRef"];
    let mine = object["namespace"] == home.namespace.as_str()
        && line["stage"] == "ResponseComplete"
        && line["userAgent"].as_str()?.starts_with("stepgate/");
    let (verb, resource) = (line["verb"].as_str()?, object["resource"].as_str()?);
    let counts = mine && verb != "watch" && !["leases", "events"].contains(&resource);
    let part = object["subresource"].as_str();
    let part = part.map(|part| format!("/{part}")).unwrap_or_default();
    let at = line["requestReceivedTimestamp"].as_str()?.to_owned();
    counts.then(|| (at, format!("{verb} {resource}{part}")))
}

fn operator(home: &Home) -> Child {
    Command::new(env!("CARGO_BIN_EXE_stepgate"))
        .args(["run", "--leader-elect=false", "--listen=127.0.0.1:0"])
        .args(["--probes-listen=127.0.0.1:0", "--namespace"])
        .arg(&home.namespace)
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .expect("the operator")
}

/// The home as somebody who is not the operator reaches it.
async fn seen_by_a_person(mut home: Home) -> Home {
    home.client = Client::try_from(config().await).expect("a client");
    home
}

async fn is_ready(home: &Home, image: &str) {
    eventually("the Rollout to be Ready", async || {
        say_ready(home, pods(home).await).await;
        let ready = condition(home, "shop", "Ready").await?;
        let stable = home.rollouts().get("shop").await.ok()?;
        let images = stable.data.pointer("/status/stable/images")?.as_str()?;
        (ready["status"] == "True" && images == image).then_some(())
    })
    .await;
}

/// Releases another image; the requests from there to the Deployment that is made for it, those that
/// write told apart from what was asked before them.
async fn release(home: &Home, image: &str) -> (BTreeSet<String>, Vec<String>) {
    // What is left to write for the revision before is no part of it.
    eventually("the revision before to be marked", async || {
        let status = home.rollouts().get("shop").await.ok()?.data;
        let stable = status.pointer("/status/stable/revision")?.as_str()?;
        let api = Api::<ControllerRevision>::namespaced(home.client.clone(), &home.namespace);
        let marked = api.get(&format!("shop-{stable}")).await.ok()?;
        let outcome = marked.metadata.annotations?;
        let ended = status.pointer("/status/release").is_none();
        (ended && outcome.get("stepgate.io/outcome")? == "Stable").then_some(())
    })
    .await;
    let before = requests(home).len();
    let containers = json!([{"name": "app", "image": image}]);
    let template = json!({"spec": {"template": {"spec": {"containers": containers}}}});
    let of = ApiResource::erase::<Rollout>(&());
    let api = Api::<DynamicObject>::namespaced_with(home.client.clone(), &home.namespace, &of);
    let patch = Patch::Merge(&template);
    api.patch("shop", &PatchParams::default(), &patch)
        .await
        .expect("another revision");
    is_ready(home, image).await;
    let since = requests(home).split_off(before);
    let made = since.iter().position(|r| r == "create deployments");
    let mut since = since;
    since.truncate(made.expect("a Deployment") + 1);
    let first = since.iter().position(|r| r == "create controllerrevisions");
    let first = first.expect("a ControllerRevision");
    // The record that the release begins comes right before its first object.
    let record = since[..first]
        .iter()
        .rposition(|r| r == "update rollouts/status");
    let writes = since.split_off(record.expect("a record"));
    since.retain(|r| r != "update rollouts/status");
    let count = since.len();
    let asked: BTreeSet<String> = since.into_iter().collect();
    assert_eq!(asked.len(), count, "something was asked twice");
    (asked, writes)
}

fn these<const N: usize>(all: [&str; N]) -> BTreeSet<String> {
    all.map(str::to_owned).into()
}

#[tokio::test]
async fn a_release_begins_after_one_round_of_questions() {
    let home = seen_by_a_person(Home::new("first").await).await;
    let first = operator(&home);
    let mut rollout = minimal("shop");
    rollout["spec"]["strategy"] = json!({"canary": {"steps": [
        {"name": "full", "replicas": "100%", "holdSeconds": 0}]}});
    home.create(&rollout).await.expect("a Rollout");
    is_ready(&home, "app:1").await;

    // What others marked was listed with the first release.
    let writes = [
        "update rollouts/status",
        "create controllerrevisions",
        "create deployments",
    ];
    let (asked, written) = release(&home, "app:2").await;
    assert_eq!(asked, these(["get rollouts", "list deployments"]));
    assert_eq!(written, writes);

    // Another process does not know what was marked before it.
    drop(first);
    let _second = operator(&home);
    let (asked, written) = release(&home, "app:3").await;
    let lists = ["list controllerrevisions", "list deployments"];
    assert_eq!(asked, these(["get rollouts", lists[0], lists[1]]));
    assert_eq!(written.last().map(String::as_str), Some(writes[2]));
    let reads = written.iter().filter(|r| !r.contains("rollouts/status"));
    let reads: Vec<_> = reads
        .filter(|r| r.starts_with("get") || r.starts_with("list"))
        .collect();
    assert!(reads.is_empty(), "{written:?}");
}
