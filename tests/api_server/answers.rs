//! What the API server says, sorted: what may pass later and what never will.

use k8s_openapi::api::core::v1::ResourceQuota;
use kube::{Api, api::PostParams};
use serde_json::{Value, json};
use stepgate::{
    cluster::{Cluster as _, WriteError, kubernetes::Kubernetes},
    operator::{client::Clients, metrics::Metrics},
    plan::{
        facts::Base,
        intent::{Kind, Write},
    },
};

use super::{
    fixture::{Home, config, eventually},
    writes::{adapter, answered, deployment_manifest, job_manifest},
};

fn create(manifest: Value) -> Write {
    Write::Create {
        kind: Kind::Deployment,
        manifest,
    }
}

/// The words of a refusal, and whether it may pass later.
fn refusal(error: WriteError) -> (String, bool) {
    match error {
        WriteError::Refused {
            message, transient, ..
        } => (message, transient),
        other => panic!("not a refusal: {other:?}"),
    }
}

#[tokio::test]
async fn a_used_up_quota_may_pass_later() {
    let home = Home::new("quota").await;
    let quota: ResourceQuota = serde_json::from_value(json!({
        "metadata": {"name": "none"},
        "spec": {"hard": {"count/deployments.apps": "0"}},
    }))
    .expect("a quota");
    let api = Api::<ResourceQuota>::namespaced(home.client.clone(), &home.namespace);
    api.create(&PostParams::default(), &quota)
        .await
        .expect("a quota");
    eventually("the quota to be counted", async || {
        api.get("none").await.ok()?.status?.hard
    })
    .await;
    let write = create(deployment_manifest("shop-r1"));
    let error = adapter(&home).write(&home.namespace, &write).await;
    let (message, transient) = refusal(error.expect_err("it is refused"));
    assert!(transient && message.contains("exceeded quota"), "{message}");
}

#[tokio::test]
async fn a_missing_right_may_pass_later() {
    let home = Home::new("rights").await;
    let mut config = config().await;
    config.auth_info.impersonate = Some("nobody-in-particular".into());
    let clients = Clients::new(config, &Metrics::new()).expect("clients");
    let adapter = Kubernetes::new(
        std::sync::Arc::new(stepgate::cluster::kubernetes::index::Index::new(Box::new(
            |_| {},
        ))),
        clients.reads.client(),
        clients.writes.client(),
        std::time::Duration::from_secs(10),
    );
    let base = Base {
        name: "shop-r1".into(),
        uid: "u".into(),
        resource_version: "1".into(),
    };
    for write in [
        create(deployment_manifest("shop-r1")),
        Write::Scale {
            base,
            from: 0,
            to: 1,
            template: None,
        },
    ] {
        let error = adapter.write(&home.namespace, &write).await;
        let (message, transient) = refusal(error.expect_err("it is refused"));
        assert!(
            transient && message.contains("nobody-in-particular"),
            "{message}"
        );
    }
}

#[tokio::test]
async fn a_namespace_that_goes_away_may_come_back() {
    let home = Home::new("gone").await;
    let write = create(deployment_manifest("shop-r1"));
    let error = adapter(&home)
        .write("there-is-no-such-namespace", &write)
        .await;
    let (message, transient) = refusal(error.expect_err("it is refused"));
    assert!(transient && message.contains("not found"), "{message}");
}

#[tokio::test]
async fn a_wrong_object_is_refused_for_good_and_its_field_is_named() {
    let home = Home::new("wrong").await;
    let adapter = adapter(&home);
    let mut no_image = deployment_manifest("shop-r1");
    no_image["spec"]["template"]["spec"]["containers"][0]["image"] = Value::Null;
    let mut misspelt = deployment_manifest("shop-r1");
    misspelt["spec"]["template"]["spec"]["containers"][0]["imagePullPolice"] = json!("Always");
    let mut of_wrong_type = deployment_manifest("shop-r1");
    of_wrong_type["spec"]["template"]["spec"]["containers"] = json!("one");
    let mut restarting = job_manifest("shop-r1-expand-1");
    restarting["spec"]["template"]["spec"]["restartPolicy"] = json!("Always");
    let cases = [
        (create(no_image), "spec.template.spec.containers[0].image"),
        (
            create(misspelt),
            "spec.template.spec.containers[0].imagePullPolice",
        ),
        (create(of_wrong_type), "containers"),
        (
            Write::Create {
                kind: Kind::Job,
                manifest: restarting,
            },
            "restartPolicy",
        ),
    ];
    for (write, field) in cases {
        let error = adapter.write(&home.namespace, &write).await;
        let (message, transient) = refusal(error.expect_err("it is refused"));
        assert!(!transient && message.contains(field), "{message}");
    }
}

#[tokio::test]
async fn an_update_to_a_wrong_value_is_refused_for_good() {
    let home = Home::new("update").await;
    let adapter = adapter(&home);
    let made = answered!(adapter, home, create(deployment_manifest("shop-r1")), Child);
    // Without a version, so that its controller cannot come in between.
    let write = Write::Scale {
        base: Base {
            name: made.base.name,
            uid: made.base.uid,
            resource_version: String::new(),
        },
        from: 0,
        to: -1,
        template: None,
    };
    let error = adapter.write(&home.namespace, &write).await;
    let (message, transient) = refusal(error.expect_err("it is refused"));
    assert!(!transient && message.contains("spec.replicas"), "{message}");
}
