//! Who uses a database, read from a real API server; and who may approve what removes something.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::{
    Api,
    api::{DynamicObject, Patch, PatchParams, PostParams},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::{Value, json};
use stepgate::{
    cluster::{
        Answer, Cluster as _, Key,
        kubernetes::{Kubernetes, index::Index},
    },
    operator::{client::Clients, metrics::Metrics},
    plan::facts::{Question, UserFacts},
};

use super::{
    fixture::{Home, config, eventually, minimal},
    writes::{adapter, deployment_manifest, revision_manifest},
};

async fn create(home: &Home, version: &str, kind: &str, object: Value) -> DynamicObject {
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    let api =
        Api::<DynamicObject>::namespaced_with(home.client.clone(), &home.namespace, &resource);
    let object = serde_json::from_value(object).expect("an object");
    let made = api.create(&PostParams::default(), &object).await;
    made.expect("it is made")
}

/// A workload that says that it uses `db`.
fn workload(name: &str, annotations: Value, spec: Value) -> Value {
    json!({
        "metadata": {
            "name": name,
            "labels": {"stepgate.io/uses-database": "db"},
            "annotations": annotations,
        },
        "spec": spec,
    })
}

fn pods(name: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [{"name": "app", "image": "app:1"}]},
    })
}

fn selected(name: &str) -> Value {
    json!({"selector": {"matchLabels": {"app": name}}, "template": pods(name), "replicas": 0})
}

async fn users(adapter: &Kubernetes, home: &Home) -> Vec<UserFacts> {
    let key = Key::Rollout {
        namespace: home.namespace.clone(),
        name: "shop".into(),
    };
    let question = Question::Users("db".into());
    match adapter.ask(&key, &question).await {
        Ok(Answer::Users(users)) => users,
        other => panic!("{other:?}"),
    }
}

fn of<'u>(users: &'u [UserFacts], what: &str) -> Option<&'u UserFacts> {
    users.iter().find(|user| user.what.starts_with(what))
}

/// The Rollout `shop` on `db`, its revision r1 of version 1, and a Deployment of that at 0.
async fn shop(home: &Home) {
    let mut rollout = minimal("shop");
    rollout["spec"]["schema"] =
        json!({"database": "db", "version": 2, "expand": {"command": ["x"]}});
    let made = home.create(&rollout).await.expect("a Rollout");
    let owner = json!([{
        "apiVersion": "stepgate.io/v1alpha1", "kind": "Rollout", "name": "shop",
        "uid": made.metadata.uid, "controller": true,
    }]);
    let mut revision = revision_manifest("shop-r1");
    revision["metadata"]["ownerReferences"] = owner.clone();
    revision["data"]["schema"] = json!({"database": "db", "version": 1});
    create(home, "apps/v1", "ControllerRevision", revision).await;
    let mut deployment = deployment_manifest("shop-r1");
    deployment["metadata"]["ownerReferences"] = owner;
    create(home, "apps/v1", "Deployment", deployment).await;
}

#[tokio::test]
async fn everybody_on_a_database_is_found_with_the_version_that_they_need() {
    let home = Home::new("users").await;
    shop(&home).await;
    // A Deployment that was moved in carries no mark of Stepgate.
    let moved = json!({"status": {"adopted": {
        "deployment": "web", "uid": "u-web", "replicas": 4, "generation": 3}}});
    let (params, moved) = (PatchParams::default(), Patch::Merge(moved));
    let told = home.rollouts().patch_status("shop", &params, &moved).await;
    told.expect("a status");
    let mut other = minimal("other");
    other["spec"]["schema"] =
        json!({"database": "another", "version": 1, "expand": {"command": ["x"]}});
    home.create(&other).await.expect("a Rollout");
    let at = |version: &str| json!({"stepgate.io/schema-version": version});
    let set = selected("set");
    create(
        &home,
        "apps/v1",
        "StatefulSet",
        workload("set", at("2"), set),
    )
    .await;
    let mut each = selected("each");
    each.as_object_mut().expect("an object").remove("replicas");
    create(
        &home,
        "apps/v1",
        "DaemonSet",
        workload("each", at("3"), each),
    )
    .await;
    let job = json!({"template": {"spec": {
        "restartPolicy": "Never", "containers": [{"name": "app", "image": "app:1"}]}}});
    let nightly = json!({"schedule": "0 3 * * *", "suspend": true, "jobTemplate": {"spec": job}});
    create(
        &home,
        "batch/v1",
        "CronJob",
        workload("nightly", json!({}), nightly),
    )
    .await;
    let alone = pods("alone")["spec"].clone();
    create(&home, "v1", "Pod", workload("alone", at("1"), alone)).await;

    // Its Rollout was deleted, and its ControllerRevision with it.
    let mut left = pods("left");
    left["metadata"] = json!({
        "name": "left",
        "labels": {"stepgate.io/rollout": "gone", "stepgate.io/revision": "r9"},
    });
    create(&home, "v1", "Pod", left).await;

    let expected = [
        ("Rollout shop", Some(2), true),
        ("Deployment shop-r1", Some(1), false),
        ("Deployment web, which Rollout shop moved in", None, true),
        ("StatefulSet set", Some(2), true),
        ("DaemonSet each", Some(3), true),
        ("CronJob nightly, without the annotation", None, true),
        ("Pod alone", Some(1), true),
        ("Pod left", None, true),
    ];
    // A workload counts as it says once its controller has seen it.
    let adapter = adapter(&home);
    let found = eventually("all of them", async || {
        let users = users(&adapter, &home).await;
        let so = expected.iter().all(|(what, version, serves)| {
            of(&users, what).is_some_and(|u| u.version == *version && u.serves == *serves)
        });
        so.then_some(users)
    })
    .await;
    assert_eq!(of(&found, "Rollout other"), None, "it is on another one");
    assert_eq!(found.len(), expected.len(), "{found:?}");
}

/// Who may not look does not know who is there: that keeps a contract from running.
#[tokio::test]
async fn what_may_not_be_listed_is_somebody_who_may_need_anything() {
    let home = Home::new("blind").await;
    shop(&home).await;
    let user = format!("blind-in-{}", home.namespace);
    let rule = |groups: &str, resources: &[&str]| json!({"apiGroups": [groups], "resources": resources, "verbs": ["list", "get"]});
    let role: Role = serde_json::from_value(json!({
        "metadata": {"name": "blind"},
        "rules": [
            rule("apps", &["deployments", "controllerrevisions", "statefulsets", "daemonsets"]),
            rule("", &["pods"]),
            rule("stepgate.io", &["rollouts"]),
        ],
    }))
    .expect("a Role");
    let binding: RoleBinding = serde_json::from_value(json!({
        "metadata": {"name": "blind"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "blind"},
        "subjects": [{"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}],
    }))
    .expect("a RoleBinding");
    let (namespace, params) = (home.namespace.as_str(), PostParams::default());
    let roles = Api::<Role>::namespaced(home.client.clone(), namespace);
    roles.create(&params, &role).await.expect("a Role");
    let bindings = Api::<RoleBinding>::namespaced(home.client.clone(), namespace);
    let bound = bindings.create(&params, &binding).await;
    bound.expect("a RoleBinding");
    let mut config = config().await;
    config.auth_info.impersonate = Some(user);
    let clients = Clients::new(config, &Metrics::new()).expect("clients");
    let index = Arc::new(Index::new(Box::new(|_| {})));
    let (reads, writes) = (clients.reads.client(), clients.writes.client());
    let limited = Kubernetes::new(index, reads, writes, Duration::from_secs(10));
    let key = Key::Rollout {
        namespace: home.namespace.clone(),
        name: "shop".into(),
    };
    // The authorizer learns of the Role a little later.
    let users = eventually("the Role to count", async || {
        match limited.ask(&key, &Question::Users("db".into())).await {
            Ok(Answer::Users(users)) => Some(users),
            _ => None,
        }
    })
    .await;
    let unseen = of(&users, "CronJobs cannot be listed").expect("it is said");
    assert_eq!((unseen.version, unseen.serves), (None, true));
}
