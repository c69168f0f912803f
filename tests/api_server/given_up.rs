//! The ConfigMap that stable needs is pruned: the next release waits, and a person lets it go on.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

use super::{
    fixture::{Home, eventually, minimal},
    process::{condition, operator_with, pods, say_ready},
};

#[tokio::test]
async fn a_release_after_a_pruned_config_map_goes_on_when_a_person_says_so() {
    let home = Home::new("given-up").await;
    let _operator = operator_with(&home, &["--leader-elect=false", "--listen=127.0.0.1:0"]);
    let maps = Api::<ConfigMap>::namespaced(home.client.clone(), &home.namespace);
    let make = async |name: &str| {
        let map = json!({"metadata": {"name": name}, "data": {"LOG": "info"}});
        let map = serde_json::from_value(map).expect("a ConfigMap");
        let made = maps.create(&PostParams::default(), &map).await;
        made.expect("made");
    };
    let of = |name: &str| json!([{"configMapRef": {"name": name}}]);
    let stable = async || {
        say_ready(&home, pods(&home).await).await;
        let ready = condition(&home, "api", "Ready").await?;
        let object = home.rollouts().get("api").await.ok()?;
        let seen = object.data.pointer("/status/observedGeneration")?.as_i64();
        (ready["status"] == "True" && seen == object.metadata.generation).then_some(())
    };
    make("settings-a").await;
    let mut rollout = minimal("api");
    rollout["spec"]["template"]["spec"]["containers"][0]["envFrom"] = of("settings-a");
    rollout["spec"]["strategy"] = json!({"canary": {"steps": [
        {"name": "full", "replicas": "100%", "holdSeconds": 1}]}});
    home.create(&rollout).await.expect("a Rollout");
    eventually("the first revision to be stable", stable).await;

    // What a generator and an agent that prunes do at each change.
    make("settings-b").await;
    rollout["spec"]["template"]["spec"]["containers"][0]["envFrom"] = of("settings-b");
    let (rollouts, params) = (home.rollouts(), PatchParams::default());
    let change = Patch::Merge(json!({"spec": {"template": rollout["spec"]["template"]}}));
    maps.delete("settings-a", &DeleteParams::default())
        .await
        .expect("pruned");
    let changed = rollouts.patch("api", &params, &change).await;
    changed.expect("changed");
    let words = eventually("the release to wait", async || {
        let stalled = condition(&home, "api", "Stalled").await?;
        let waits = stalled["reason"] == "UndoImpossible" && stalled["status"] == "True";
        waits.then(|| stalled["message"].as_str().unwrap_or_default().to_owned())
    })
    .await;
    assert!(words.contains("ConfigMap settings-a"), "{words}");

    // The command is as the message gives it.
    let (_, value) = words
        .split_once("stepgate.io/promote=\"")
        .expect("a command");
    let (target, _) = value.split_once(' ').expect("an id");
    assert!(target.ends_with("/without-undo"), "{words}");
    let said = json!({"metadata": {"annotations": {"stepgate.io/promote": format!("{target} 1")}}});
    let said = rollouts.patch("api", &params, &Patch::Merge(&said)).await;
    said.expect("said");
    eventually("the release to say that there is no way back", async || {
        let possible = condition(&home, "api", "UndoPossible").await?;
        let object = home.rollouts().get("api").await.ok()?;
        let given_up = object.data.pointer("/status/release/withoutUndo")? == true;
        (possible["status"] == "False" && given_up).then_some(())
    })
    .await;
    eventually("the second revision to be stable", stable).await;
    let object = home.rollouts().get("api").await.expect("the Rollout");
    let command = &object.data["status"]["commands"][0];
    assert_eq!(command["result"], "Done", "{command}");
}
