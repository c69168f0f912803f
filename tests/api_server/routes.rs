//! Routes on a real API server: what a read of them says, and what a write of their weights leaves
//! alone. The definition of the kind is a small one; what gateways do is seen in the tests that have
//! one.

use std::{sync::Arc, time::Duration};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api,
    api::{DynamicObject, Patch, PatchParams, PostParams},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::{Value, json};
use stepgate::{
    api::traffic::{RouteKind, RouteRef},
    cluster::{
        Answer, Cluster as _, Key, WriteError,
        kubernetes::{Kubernetes, index::Index},
    },
    operator::{client::Clients, metrics::Metrics},
    plan::{
        facts::Question,
        intent::{Kind, Write},
        routes::{
            RoutesAsked,
            facts::{Found, Unusable},
        },
    },
};

use super::{
    fixture::{Home, config, eventually},
    writes::adapter,
};

const GROUP: &str = "gateway.networking.k8s.io";

/// A kind of routes, with anything in its spec.
pub async fn define(home: &Home, group: &str, kind: &str) {
    let singular = kind.to_lowercase();
    let plural = format!("{singular}s");
    let anything = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let definition: CustomResourceDefinition = serde_json::from_value(json!({
        "metadata": {
            "name": format!("{plural}.{group}"),
            "annotations": {"api-approved.kubernetes.io": "unapproved, a stand-in of a test"},
        },
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": plural, "singular": singular, "kind": kind},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {
                    "type": "object", "properties": {"spec": anything, "status": anything},
                }},
            }],
        },
    }))
    .expect("a definition");
    let api = Api::<CustomResourceDefinition>::all(home.client.clone());
    match api.create(&PostParams::default(), &definition).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {}
        Err(error) => panic!("{error}"),
    }
}

fn routes(home: &Home, kind: RouteKind) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk(GROUP, "v1", kind.name());
    Api::namespaced_with(
        home.client.clone(),
        &home.namespace,
        &ApiResource::from_gvk(&kind),
    )
}

fn route(kind: RouteKind) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": kind.name(),
        "metadata": {"name": "shop", "labels": {"team": "shop"}},
        "spec": {
            "hostnames": ["shop.example.com"],
            "rules": [
                {"backendRefs": [{"name": "shop-canary", "port": 80}], "name": "testers"},
                {"backendRefs": [
                    {"name": "shop-canary", "port": 80, "weight": 0},
                    {"name": "shop-stable", "port": 80, "weight": 100},
                ], "name": "web", "timeouts": {"request": "2s"}},
            ],
        },
    })
}

async fn read(adapter: &Kubernetes, home: &Home, kind: RouteKind) -> Result<Found, Unusable> {
    let asked = RoutesAsked {
        namespace: home.namespace.clone(),
        routes: vec![RouteRef {
            kind,
            name: "shop".into(),
            rules: Vec::new(),
        }],
        stable: "shop-stable".into(),
        canary: "shop-canary".into(),
    };
    let key = Key::Rollout {
        namespace: home.namespace.clone(),
        name: "shop".into(),
    };
    match adapter.ask(&key, &Question::Routes(asked.into())).await {
        Ok(Answer::Routes(mut routes)) => routes.remove(0).found,
        other => panic!("{other:?}"),
    }
}

fn weigh(kind: RouteKind, found: &Found, canary: i32) -> Write {
    let weights = found.rules.iter().flat_map(|rule| {
        [
            (rule.stable.pointer.clone(), 100 - canary),
            (rule.canary.pointer.clone(), canary),
        ]
    });
    Write::Weigh {
        kind: Kind::from(kind),
        base: found.base.clone(),
        weights: weights.collect(),
        canary,
    }
}

#[tokio::test]
async fn a_route_is_read_weighed_and_left_alone_otherwise() {
    let home = Home::new("routes").await;
    let unknown = read(&adapter(&home), &home, RouteKind::Grpc).await;
    assert_eq!(unknown, Err(Unusable::UnknownKind));
    is_read_weighed_and_left_alone(&home, RouteKind::Http).await;
    is_read_weighed_and_left_alone(&home, RouteKind::Grpc).await;
}

async fn is_read_weighed_and_left_alone(home: &Home, kind: RouteKind) {
    let adapter = adapter(home);
    define(home, GROUP, kind.name()).await;
    eventually("the kind to be known", async || {
        let found = read(&adapter, home, kind).await;
        (found == Err(Unusable::Missing)).then_some(())
    })
    .await;

    let api = routes(home, kind);
    let object: DynamicObject = serde_json::from_value(route(kind)).expect("a route");
    let made = api.create(&PostParams::default(), &object).await;
    let made = made.expect("it is made");
    let found = read(&adapter, home, kind).await.expect("it fits");
    assert_eq!(found.rules.len(), 1, "that of testers is nobody's to weigh");
    assert!(!found.accepted, "nobody has reported it");

    let written = adapter
        .write(&home.namespace, &weigh(kind, &found, 25))
        .await;
    written.expect("it is written");
    let now = api.get("shop").await.expect("it is there");
    let mut expected = route(kind)["spec"].clone();
    expected["rules"][1]["backendRefs"][0]["weight"] = json!(25);
    expected["rules"][1]["backendRefs"][1]["weight"] = json!(75);
    assert_eq!(now.data["spec"], expected, "the weights, and nothing else");
    assert_eq!(now.metadata.labels, made.metadata.labels);
    // The tests of Flux's library write as this does: it treats who applies otherwise than who updates.
    let managers = now.metadata.managed_fields.iter().flatten();
    let ours = managers.filter(|entry| entry.manager.as_deref() == Some("stepgate"));
    let operations: Vec<_> = ours.map(|entry| entry.operation.as_deref()).collect();
    assert_eq!(operations, [Some("Update")]);

    // What rests on an old copy is refused, and so is what rests on a former object.
    let late = adapter
        .write(&home.namespace, &weigh(kind, &found, 50))
        .await;
    assert!(matches!(late, Err(WriteError::Conflict { .. })), "{late:?}");
    let again = read(&adapter, home, kind).await.expect("it fits");
    let mut other = again.clone();
    other.base.uid = "another".into();
    let foreign = adapter
        .write(&home.namespace, &weigh(kind, &other, 50))
        .await;
    assert!(
        matches!(foreign, Err(WriteError::Conflict { .. })),
        "{foreign:?}"
    );

    let condition = |kind: &str| json!({"type": kind, "status": "True", "observedGeneration": now.metadata.generation});
    let status = json!({"status": {"parents": [
        {"conditions": [condition("Accepted"), condition("ResolvedRefs")]}]}});
    let params = PatchParams::default();
    let reported = api
        .patch_status("shop", &params, &Patch::Merge(status))
        .await;
    reported.expect("it is reported");
    let taken = read(&adapter, home, kind).await.expect("it fits");
    assert!(taken.accepted, "for this generation");
}

#[tokio::test]
async fn a_route_that_may_not_be_read_is_said_to_be_so() {
    let home = Home::new("shut").await;
    define(&home, GROUP, "HTTPRoute").await;
    let mut config = config().await;
    config.auth_info.impersonate = Some(format!("nobody-in-{}", home.namespace));
    let clients = Clients::new(config, &Metrics::new()).expect("clients");
    let index = Arc::new(Index::new(Box::new(|_| {})));
    let (reads, writes) = (clients.reads.client(), clients.writes.client());
    let limited = Kubernetes::new(index, reads, writes, Duration::from_secs(10));
    let found = read(&limited, &home, RouteKind::Http).await;
    assert!(
        matches!(&found, Err(Unusable::Forbidden(words)) if words.contains("httproutes")),
        "{found:?}"
    );
}
