//! The operator as a process on a real control plane. There are no nodes: readiness of pods is
//! written by the test.

use std::process::Stdio;

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::{Child, Command},
};

use super::fixture::{Home, Relaxed, eventually, minimal};

fn operator(home: &Home) -> Child {
    operator_with(home, &["--leader-elect=false", "--listen=127.0.0.1:0"])
}

/// An operator for one namespace; killed when dropped.
pub fn operator_with(home: &Home, arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_stepgate"))
        .args(["run", "--namespace", &home.namespace])
        .arg("--probes-listen=127.0.0.1:0")
        .args(arguments)
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .expect("the operator")
}

/// A free port, on which nobody listens.
pub fn free_port() -> u16 {
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr());
    free.expect("a free port").port()
}

/// What an operator that listens on this port says of itself.
pub async fn metrics(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let request = "GET /metrics HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.ok()?;
    Some(text)
}

pub async fn condition(home: &Home, rollout: &str, kind: &str) -> Option<Value> {
    let object = home.rollouts().get(rollout).await.ok()?;
    let conditions = object.data.pointer("/status/conditions")?.as_array()?;
    conditions.iter().find(|c| c["type"] == kind).cloned()
}

pub async fn pods(home: &Home) -> Vec<Pod> {
    let api = Api::<Pod>::namespaced(home.client.clone(), &home.namespace);
    api.list(&ListParams::default()).await.expect("pods").items
}

/// Says that every pod is ready, as a kubelet would.
async fn make_ready(home: &Home) {
    say_ready(home, pods(home).await).await;
}

/// Says that these pods are ready.
pub async fn say_ready(home: &Home, pods: Vec<Pod>) {
    let api = Api::<Pod>::namespaced(home.client.clone(), &home.namespace);
    for pod in pods {
        let now = jiff::Timestamp::now().to_string();
        let status = json!({"status": {"phase": "Running", "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": now}]}});
        let name = pod.metadata.name.expect("a name");
        let ready = pod.status.and_then(|s| s.conditions).into_iter().flatten();
        if ready
            .into_iter()
            .any(|c| c.type_ == "Ready" && c.status == "True")
        {
            continue;
        }
        let _ = api
            .patch_status(&name, &PatchParams::default(), &Patch::Merge(&status))
            .await;
    }
}

#[tokio::test]
async fn a_first_release_ends_ready_and_an_idle_rollout_is_left_alone() {
    let home = Home::new("process").await;
    let _operator = operator(&home);
    let mut rollout = minimal("shop");
    rollout["spec"]["replicas"] = json!(2);
    rollout["spec"]["strategy"] = json!({"canary": {"steps": [
        {"name": "full", "replicas": "100%", "holdSeconds": 1}]}});
    home.create(&rollout).await.expect("a Rollout");
    eventually("the Rollout to be Ready", async || {
        make_ready(&home).await;
        let ready = condition(&home, "shop", "Ready").await?;
        (ready["status"] == "True").then_some(())
    })
    .await;
    let api = Api::<Deployment>::namespaced(home.client.clone(), &home.namespace);
    let children = api
        .list(&ListParams::default())
        .await
        .expect("Deployments")
        .items;
    assert_eq!(children.len(), 1);
    assert_eq!(children[0].spec.as_ref().and_then(|s| s.replicas), Some(2));
    let before = home.rollouts().get("shop").await.expect("the Rollout");
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let after = home.rollouts().get("shop").await.expect("the Rollout");
    assert_eq!(
        before.metadata.resource_version,
        after.metadata.resource_version
    );
}

#[tokio::test]
async fn a_label_that_claims_a_later_term_than_the_lease_is_replaced() {
    let home = Home::new("epoch").await;
    let lease = format!("--lease-namespace={}", home.namespace);
    let _operator = operator_with(
        &home,
        &["--leader-elect=true", &lease, "--listen=127.0.0.1:0"],
    );
    let mut rollout = minimal("shop");
    rollout["spec"]["strategy"] = json!({"canary": {"steps": [
        {"name": "full", "replicas": "100%", "holdSeconds": 1}]}});
    home.create(&rollout).await.expect("a Rollout");
    eventually("the Rollout to be Ready", async || {
        make_ready(&home).await;
        let ready = condition(&home, "shop", "Ready").await?;
        (ready["status"] == "True").then_some(())
    })
    .await;
    let api = Api::<Deployment>::namespaced(home.client.clone(), &home.namespace);
    let only = async || {
        let list = api.list(&ListParams::default()).await.expect("Deployments");
        list.items.into_iter().next().expect("a Deployment")
    };
    let name = only().await.metadata.name.expect("a name");
    let params = PatchParams::default();
    let later = "9000000000000000000";
    let labels = json!({"metadata": {"labels": {"stepgate.io/epoch": later}}});
    let labelled = api.patch(&name, &params, &Patch::Merge(&labels)).await;
    labelled.expect("labelled");
    let more = json!({"spec": {"replicas": 3}});
    let (rollouts, more) = (home.rollouts(), Patch::Merge(&more));
    let scaled = rollouts.patch("shop", &params, &more).await;
    scaled.expect("scaled");
    // Whoever reads a higher epoch stops, until the Lease says that nobody leads but him.
    eventually("the Deployment to be scaled", async || {
        let child = only().await;
        let epoch = child.metadata.labels?.remove("stepgate.io/epoch")?;
        let replicas = child.spec?.replicas?;
        (replicas == 3 && epoch != later).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_rollout_says_so_and_the_next_one_goes_on() {
    let home = Home::new("poison").await;
    let _relaxed = Relaxed::new(&home).await;
    let mut wrong = minimal("wrong");
    wrong["spec"]["paused"] = json!("yes");
    eventually("the relaxed definition", async || {
        home.create(&wrong).await.ok()
    })
    .await;
    let _operator = operator(&home);
    let stalled = eventually("the malformed Rollout to be Stalled", async || {
        let stalled = condition(&home, "wrong", "Stalled").await?;
        (stalled["status"] == "True").then_some(stalled)
    })
    .await;
    let words = stalled["message"].as_str().unwrap_or_default();
    assert!(words.contains("paused"), "{words}");
    home.create(&minimal("shop")).await.expect("a Rollout");
    eventually("the next one to begin", async || {
        condition(&home, "shop", "Ready").await
    })
    .await;
    let params = kube::api::DeleteParams::default();
    home.rollouts()
        .delete("wrong", &params)
        .await
        .expect("deleted");
}
