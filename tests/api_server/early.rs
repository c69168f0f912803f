//! A command that exits with 75 before it has applied anything, under the real Job controller.
//! There is no kubelet: how its pods end is written by the test.

use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use super::{
    fixture::{Home, eventually, minimal},
    process::{condition, operator_with, pods},
};

fn rollout(retry_limit: i64) -> Value {
    let mut rollout = minimal("shop");
    rollout["spec"]["schema"] = json!({"database": "db", "expand": {
        "command": ["migrate"], "retryLimit": retry_limit}});
    rollout
}

/// Ends the next pod of the Job that has not ended so.
async fn exits(home: &Home, code: i32) {
    let name = eventually("a pod of the Job", async || {
        let open = |pod: &Pod| {
            let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
            phase.is_none_or(|phase| phase == "Pending")
        };
        pods(home).await.into_iter().find(open)?.metadata.name
    })
    .await;
    let now = jiff::Timestamp::now().to_string();
    let ended = json!({"exitCode": code, "startedAt": now, "finishedAt": now, "reason": "Exited"});
    let phase = if code == 0 { "Succeeded" } else { "Failed" };
    let status = json!({"status": {"phase": phase, "containerStatuses": [{
        "name": "app", "image": "app:1", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"terminated": ended}}]}});
    let api = Api::<Pod>::namespaced(home.client.clone(), &home.namespace);
    let patch = Patch::Merge(&status);
    let patched = api
        .patch_status(&name, &PatchParams::default(), &patch)
        .await;
    patched.expect("the pod's status");
}

async fn jobs(home: &Home) -> Vec<Job> {
    let api = Api::<Job>::namespaced(home.client.clone(), &home.namespace);
    api.list(&ListParams::default()).await.expect("Jobs").items
}

async fn stalled(home: &Home, reason: &str) -> String {
    eventually(&format!("Stalled={reason}"), async || {
        let stalled = condition(home, "shop", "Stalled").await?;
        let so = stalled["status"] == "True" && stalled["reason"] == reason;
        so.then(|| stalled["message"].as_str().unwrap_or_default().to_owned())
    })
    .await
}

async fn record(home: &Home) -> Value {
    let database = home
        .databases()
        .get("db")
        .await
        .expect("the DatabaseSchema");
    database.data["record"].clone()
}

#[tokio::test]
async fn it_is_run_again_within_one_attempt() {
    let home = Home::new("early").await;
    let _operator = operator_with(&home, &["--leader-elect=false", "--listen=127.0.0.1:0"]);
    home.create(&rollout(1)).await.expect("a Rollout");
    exits(&home, 75).await;
    exits(&home, 0).await;
    eventually("the expand to succeed", async || {
        let schema = condition(&home, "shop", "SchemaReady").await?;
        (schema["status"] == "True").then_some(())
    })
    .await;
    assert_eq!(jobs(&home).await.len(), 1);
    let record = record(&home).await;
    assert_eq!(record["phases"][0]["attempt"], 1);
    assert_eq!(record.get("dirty"), None);
}

#[tokio::test]
async fn out_of_tries_the_database_is_clean() {
    let home = Home::new("late").await;
    let _operator = operator_with(&home, &["--leader-elect=false", "--listen=127.0.0.1:0"]);
    home.create(&rollout(0)).await.expect("a Rollout");
    exits(&home, 75).await;
    let words = stalled(&home, "ExpandFailed").await;
    assert!(words.contains("the database is clean"), "{words}");
    let record = record(&home).await;
    assert_eq!(record["phases"][0]["nothingApplied"], true);
    assert_eq!(record.get("dirty"), None);
}

#[tokio::test]
async fn any_other_exit_ends_it_at_once_and_leaves_it_dirty() {
    let home = Home::new("broken").await;
    let _operator = operator_with(&home, &["--leader-elect=false", "--listen=127.0.0.1:0"]);
    home.create(&rollout(5)).await.expect("a Rollout");
    exits(&home, 1).await;
    let words = stalled(&home, "ExpandFailed").await;
    assert!(
        words.contains("The database may be inconsistent"),
        "{words}"
    );
    let record = record(&home).await;
    assert_eq!(
        record["dirty"][0]["job"],
        jobs(&home).await[0].metadata.name.clone().unwrap()
    );
    assert_eq!(pods(&home).await.len(), 1, "it was not tried again");
}
