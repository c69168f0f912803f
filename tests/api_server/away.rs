//! The API server is away in the middle of a release, for the operator as a process.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tokio::process::Command;

use super::{
    blackout::{Line, Way},
    fixture::{Home, config, eventually, minimal},
    process::{condition, pods, say_ready},
};

/// How long it is away: longer than a step may take.
const AWAY: Duration = Duration::from_secs(25);
const DEADLINE: i64 = 20;

/// The configuration of the tests, by way of `line`.
async fn kubeconfig(line: &Line, folder: &std::path::Path) -> std::path::PathBuf {
    let given = std::env::var("KUBECONFIG").expect("KUBECONFIG");
    let text = std::fs::read_to_string(&given).expect("a kubeconfig");
    let mut config: Value = serde_saphyr::from_str(&text).expect("YAML");
    let host = self::config().await.cluster_url;
    let host = host.host().expect("a host");
    for cluster in config["clusters"].as_array_mut().expect("clusters") {
        cluster["cluster"]["server"] = json!(format!("https://{}", line.address));
        cluster["cluster"]["tls-server-name"] = json!(host);
    }
    let path = folder.join("kubeconfig");
    std::fs::write(&path, config.to_string()).expect("a kubeconfig");
    path
}

async fn release(home: &Home) -> Option<Value> {
    let object = home.rollouts().get("shop").await.ok()?;
    object.data.pointer("/status/release").cloned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_release_survives_an_api_server_that_is_away_for_longer_than_its_deadline() {
    let home = Home::new("away").await;
    let direct = config().await.cluster_url;
    let port = direct.port_u16().unwrap_or(443);
    let line = Line::to(format!("{}:{port}", direct.host().expect("a host"))).await;
    let folder = tempfile::tempdir().expect("a folder");
    let _operator = Command::new(env!("CARGO_BIN_EXE_stepgate"))
        .args(["run", "--leader-elect=false", "--listen=127.0.0.1:0"])
        .args([
            "--probes-listen=127.0.0.1:0",
            "--namespace",
            &home.namespace,
        ])
        .env("KUBECONFIG", kubeconfig(&line, folder.path()).await)
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .expect("the operator");
    let mut first = minimal("shop");
    first["spec"]["replicas"] = json!(2);
    first["spec"]["strategy"] = json!({
        "maxSurge": 1, "maxUnavailable": 0, "progressDeadlineSeconds": DEADLINE,
        "canary": {"steps": [
            {"name": "canary", "replicas": 1, "holdSeconds": 1},
            {"name": "full", "replicas": "100%", "holdSeconds": 1}]},
    });
    home.create(&first).await.expect("a Rollout");
    let ready = async || {
        say_ready(&home, pods(&home).await).await;
        let ready = condition(&home, "shop", "Ready").await?;
        (ready["status"] == "True").then_some(())
    };
    eventually("the first release", ready).await;
    let change = json!({"spec": {"template": {"spec": {"containers": [
        {"name": "app", "image": "app:2"}]}}}});
    let (params, change) = (PatchParams::default(), Patch::Merge(change));
    let patched = home.rollouts().patch("shop", &params, &change).await;
    let generation = patched.expect("patched").metadata.generation;
    eventually("the canary's pod", async || {
        release(&home).await?;
        (pods(&home).await.len() == 3).then_some(())
    })
    .await;

    // Its pod is not ready when the way is cut, and somebody makes another Rollout meanwhile.
    line.way.send_replace(Way::Closed);
    home.create(&minimal("other")).await.expect("a Rollout");
    tokio::time::sleep(AWAY).await;
    line.way.send_replace(Way::Open);
    let back = Instant::now();
    eventually("the other Rollout to be seen", async || {
        condition(&home, "other", "Ready").await
    })
    .await;
    let took = back.elapsed();
    assert!(
        took < Duration::from_secs(8),
        "seen {took:?} after it was back"
    );

    let going = release(&home).await.expect("the release goes on");
    assert!(going["undo"].is_null(), "undone: {going}");
    eventually("the release to end", async || {
        say_ready(&home, pods(&home).await).await;
        let ready = condition(&home, "shop", "Ready").await?;
        (ready["status"] == "True" && ready["observedGeneration"].as_i64() == generation)
            .then_some(())
    })
    .await;
    let object = home.rollouts().get("shop").await.expect("the Rollout");
    assert_eq!(object.data["status"]["history"][0]["outcome"], "Stable");
}
