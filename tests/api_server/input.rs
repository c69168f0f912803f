//! What the API server itself refuses, with which words; and what it fills in.

use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api,
    api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use stepgate::api::RolloutSpec;

use super::{
    fixture::{Home, minimal},
    mistakes::{mistakes, right, set, templates},
};

#[tokio::test]
async fn every_mistake_is_refused_and_named() {
    let home = Home::new("input").await;
    let mut wrong = Vec::new();
    for mistake in mistakes() {
        let mut rollout = minimal("shop");
        set(&mut rollout, mistake.at, mistake.value);
        match home.create(&rollout).await {
            Err(kube::Error::Api(status)) if status.message.contains(mistake.told) => {}
            Err(other) => wrong.push(format!("{}: told {other}", mistake.name)),
            Ok(_) => wrong.push(format!("{}: accepted", mistake.name)),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `stepgate simulate` names the same fields.
#[tokio::test]
async fn a_template_is_refused_as_a_deployment_with_the_field() {
    let home = Home::new("templates").await;
    let of = ApiResource::erase::<Deployment>(&());
    let api = Api::<DynamicObject>::namespaced_with(home.client.clone(), &home.namespace, &of);
    let params = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let mut wrong = Vec::new();
    for (at, value, field) in templates() {
        let mut deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "shop"},
            "spec": {
                "selector": {"matchLabels": {"app": "shop"}},
                "template": minimal("shop")["spec"]["template"],
            },
        });
        set(
            &mut deployment,
            &format!("/spec/template{at}"),
            value.clone(),
        );
        let deployment = serde_json::from_value(deployment).expect("an object");
        match api.create(&params, &deployment).await {
            Err(kube::Error::Api(status)) if status.message.contains(field) => {}
            Err(other) => wrong.push(format!("{at} = {value}: told {other}")),
            Ok(_) => wrong.push(format!("{at} = {value}: accepted")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn what_is_right_is_taken() {
    let home = Home::new("right").await;
    for (number, (at, value)) in right().into_iter().enumerate() {
        let mut rollout = minimal(&format!("right-{number}"));
        set(&mut rollout, at, value.clone());
        let made = home.create(&rollout).await;
        let made = made.unwrap_or_else(|error| panic!("{at} = {value}: {error}"));
        let spec = serde_json::from_value::<RolloutSpec>(made.data["spec"].clone());
        spec.unwrap_or_else(|error| panic!("{at} = {value} cannot be read: {error}"));
        if at.starts_with("/spec/template") {
            assert_eq!(made.data.pointer(at), Some(&value), "nothing is pruned");
        }
    }
}

#[tokio::test]
async fn the_selector_cannot_be_changed() {
    let home = Home::new("selector").await;
    home.create(&minimal("shop")).await.expect("a Rollout");
    let change = json!({"spec": {
        "selector": {"matchLabels": {"app": "other"}},
        "template": {"metadata": {"labels": {"app": "other"}}},
    }});
    let patched = home
        .rollouts()
        .patch("shop", &PatchParams::default(), &Patch::Merge(&change))
        .await;
    let error = patched.expect_err("it is refused").to_string();
    assert!(error.contains("spec.selector is immutable"), "{error}");
}

#[tokio::test]
async fn what_is_left_out_is_filled_in_as_the_types_say() {
    let home = Home::new("defaults").await;
    let given = minimal("shop");
    let made = home.create(&given).await.expect("a Rollout");
    let spec = |value: &Value| serde_json::from_value::<RolloutSpec>(value.clone());
    assert_eq!(
        spec(&made.data["spec"]).expect("a spec"),
        spec(&given["spec"]).expect("a spec"),
        "the CRD's defaults are those of the program"
    );
    assert_eq!(made.data["spec"]["replicas"], 1);
    assert_eq!(made.data["spec"]["strategy"]["maxSurge"], "25%");
    assert!(
        made.data["spec"]["strategy"]["canary"].is_null(),
        "a strategy that is left out can be told from one that is written"
    );
    assert_eq!(
        made.data["status"]["observedGeneration"], -1,
        "a Rollout that nobody has seen does not read as done"
    );
}

#[tokio::test]
async fn a_rollout_scales_like_a_deployment() {
    let home = Home::new("scale").await;
    home.create(&minimal("shop")).await.expect("a Rollout");
    let patch = json!({"spec": {"replicas": 5}});
    let params = PatchParams::default();
    let scale = home
        .rollouts()
        .patch_scale("shop", &params, &Patch::Merge(&patch))
        .await
        .expect("scaled");
    assert_eq!(scale.spec.and_then(|s| s.replicas), Some(5));
    let rollout = home.rollouts().get("shop").await.expect("a Rollout");
    assert_eq!(rollout.data["spec"]["replicas"], 5);
}

/// An autoscaler may ask for one replica, or for none, whatever the strategy says.
#[tokio::test]
async fn no_rule_stands_in_the_way_of_scaling() {
    let home = Home::new("one").await;
    let mut rollout = minimal("shop");
    rollout["spec"]["replicas"] = json!(4);
    rollout["spec"]["strategy"] = json!({"maxSurge": 0, "maxUnavailable": 1});
    home.create(&rollout).await.expect("a Rollout");
    let params = PatchParams::default();
    for replicas in [1, 0, 1] {
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        let scaled = home.rollouts().patch_scale("shop", &params, &patch).await;
        let scale = scaled.expect("scaled");
        // A zero is left out.
        let asked = scale.spec.and_then(|s| s.replicas).unwrap_or_default();
        assert_eq!(asked, replicas);
    }
}
