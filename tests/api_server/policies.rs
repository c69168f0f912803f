//! The policies that limit the operator's own account, on a real API server: what it does is let
//! through, and nothing else.

use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams, PostParams},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::{Value, json};
use stepgate::api::Rollout;

use super::{
    fixture::{Home, config, eventually, minimal},
    routes::define,
};

const OPERATOR: &str = "system:serviceaccount:stepgate-system:stepgate";

/// The objects of a manifest of the repository.
fn manifest(file: &str) -> Vec<Value> {
    let path = format!("{}/deploy/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect("a manifest");
    let documents = text.split("\n---\n");
    documents
        .map(|text| serde_saphyr::from_str(text).expect("YAML"))
        .collect()
}

/// Makes what a manifest says, in the test's namespace where it has none of its own; what is there
/// already stays.
async fn install(home: &Home, file: &str) {
    for object in manifest(file) {
        let text = |key: &str| object[key].as_str().expect("a string").to_owned();
        let (version, kind) = (text("apiVersion"), text("kind"));
        let (group, version) = version.split_once('/').expect("a group");
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &kind));
        let api = if kind.kind.starts_with("Role") {
            Api::<DynamicObject>::namespaced_with(home.client.clone(), &home.namespace, &kind)
        } else {
            Api::all_with(home.client.clone(), &kind)
        };
        let object = serde_json::from_value(object).expect("an object");
        match api.create(&PostParams::default(), &object).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {}
            Err(error) => panic!("{file}: {error}"),
        }
    }
}

/// The operator's account.
async fn operator() -> Client {
    let mut config = config().await;
    config.auth_info.impersonate = Some(OPERATOR.to_owned());
    Client::try_from(config).expect("a client")
}

/// Whether a write was let through, refused by the policy with these words, or neither.
fn refused<T: std::fmt::Debug>(done: Result<T, kube::Error>, words: &str) -> bool {
    match done {
        Ok(_) => false,
        Err(kube::Error::Api(status)) if status.message.contains(words) => true,
        other => panic!("{other:?}"),
    }
}

fn owned(home: &Home, name: &str, uid: &str) -> Value {
    json!({
        "name": name,
        "namespace": home.namespace,
        "labels": {"stepgate.io/rollout": "shop", "stepgate.io/epoch": "1"},
        "ownerReferences": [{
            "apiVersion": "stepgate.io/v1alpha1", "kind": "Rollout", "name": "shop", "uid": uid,
        }],
    })
}

async fn rollout(home: &Home) -> String {
    let made = home.create(&minimal("shop")).await.expect("a Rollout");
    made.metadata.uid.expect("a uid")
}

/// Waits until this write, which is not made, meets the policy: both it and the Role take a while.
async fn in_force<K>(api: &Api<K>, object: &K, words: &str)
where
    K: Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
{
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    eventually("the policy", async || {
        match api.create(&dry, object).await {
            Err(kube::Error::Api(status)) => status.message.contains(words).then_some(()),
            _ => None,
        }
    })
    .await;
}

#[tokio::test]
async fn the_operator_writes_no_service_but_its_own() {
    const WORDS: &str = "may write only Services of type ClusterIP that it made for a Rollout";
    let home = Home::new("own-services").await;
    let uid = rollout(&home).await;
    install(&home, "roles/services.yaml").await;
    install(&home, "policies/own-services.yaml").await;
    let service = |metadata: Value, kind: &str| -> Service {
        let spec = json!({"type": kind, "ports": [{"port": 80}], "selector": {"app": "shop"}});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec})).expect("a Service")
    };
    let foreign = service(json!({"name": "theirs"}), "ClusterIP");
    let mine = Api::<Service>::namespaced(operator().await, &home.namespace);
    in_force(&mine, &foreign, WORDS).await;

    let params = PostParams::default();
    let own = service(owned(&home, "shop-stable", &uid), "ClusterIP");
    assert!(!refused(mine.create(&params, &own).await, WORDS));
    let outside = service(owned(&home, "shop-canary", &uid), "NodePort");
    assert!(refused(mine.create(&params, &outside).await, WORDS));
    let administrator = Api::<Service>::namespaced(home.client.clone(), &home.namespace);
    let made = administrator.create(&params, &foreign).await;
    made.expect("a Service of somebody's");
    let patch = async |name: &str, patch: Value| {
        let params = PatchParams::default();
        let done = mine.patch(name, &params, &Patch::Merge(&patch)).await;
        refused(done, WORDS)
    };
    let selector = json!({"spec": {"selector": {"app": "other"}}});
    assert!(patch("theirs", selector.clone()).await);
    let taken =
        json!({"metadata": {"labels": {"stepgate.io/rollout": "shop", "stepgate.io/epoch": "1"}}});
    assert!(patch("theirs", taken).await);
    assert!(!patch("shop-stable", selector).await);
    let given = json!({"metadata": {"labels": {"stepgate.io/rollout": null}}});
    assert!(patch("shop-stable", given).await);
}

#[tokio::test]
async fn the_operator_writes_no_config_map_but_its_flags() {
    const WORDS: &str = "may write only ConfigMaps with flags that it made for a Rollout";
    let home = Home::new("own-config-maps").await;
    let uid = rollout(&home).await;
    install(&home, "roles/flags.yaml").await;
    install(&home, "policies/own-config-maps.yaml").await;
    let map = |metadata: Value, key: &str| -> ConfigMap {
        serde_json::from_value(json!({"metadata": metadata, "data": {key: "{}"}})).expect("a map")
    };
    let foreign = map(json!({"name": "theirs"}), "flags.json");
    let mine = Api::<ConfigMap>::namespaced(operator().await, &home.namespace);
    in_force(&mine, &foreign, WORDS).await;

    let params = PostParams::default();
    let own = map(owned(&home, "shop-flags", &uid), "flags.json");
    assert!(!refused(mine.create(&params, &own).await, WORDS));
    let other = map(owned(&home, "shop-other", &uid), "settings.json");
    assert!(refused(mine.create(&params, &other).await, WORDS));
    let administrator = Api::<ConfigMap>::namespaced(home.client.clone(), &home.namespace);
    let made = administrator.create(&params, &foreign).await;
    made.expect("a ConfigMap of somebody's");
    let patch = async |name: &str, patch: Value| {
        let params = PatchParams::default();
        let done = mine.patch(name, &params, &Patch::Merge(&patch)).await;
        refused(done, WORDS)
    };
    let flags = json!({"data": {"flags.json": "{\"flags\": {}}"}});
    assert!(patch("theirs", flags.clone()).await);
    assert!(!patch("shop-flags", flags).await);
    let more = json!({"data": {"settings.json": "{}"}});
    assert!(patch("shop-flags", more).await);
}

#[tokio::test]
async fn the_operator_changes_nothing_in_a_rollout_but_its_finalizer() {
    const WORDS: &str = "may change nothing in a Rollout but its own finalizer";
    let home = Home::new("finalizer-only").await;
    rollout(&home).await;
    let everybody = home.rollouts();
    let theirs = json!({"metadata": {"finalizers": ["example.com/theirs"], "labels": {"a": "b"}}});
    everybody
        .patch("shop", &PatchParams::default(), &Patch::Merge(&theirs))
        .await
        .expect("a finalizer of somebody's");
    let group = |kind: &str| {
        let gvk = GroupVersionKind::gvk("rbac.authorization.k8s.io", "v1", kind);
        let kind = ApiResource::from_gvk(&gvk);
        Api::<DynamicObject>::namespaced_with(home.client.clone(), &home.namespace, &kind)
    };
    let name = json!({"name": "patches-rollouts"});
    for (kind, object) in [
        (
            "Role",
            json!({"metadata": name, "rules": [
                {"apiGroups": ["stepgate.io"], "resources": ["rollouts"], "verbs": ["patch"]},
            ]}),
        ),
        (
            "RoleBinding",
            json!({
                "metadata": name,
                "roleRef": {
                    "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "patches-rollouts",
                },
                "subjects": [
                    {"kind": "ServiceAccount", "name": "stepgate", "namespace": "stepgate-system"},
                ],
            }),
        ),
    ] {
        let object = serde_json::from_value(object).expect("an object");
        let made = group(kind).create(&PostParams::default(), &object).await;
        made.expect(kind);
    }
    install(&home, "policies/finalizer-only.yaml").await;
    let mine = Api::<Rollout>::namespaced(operator().await, &home.namespace);
    let patch = async |patch: Value| {
        let dry = PatchParams {
            dry_run: true,
            ..PatchParams::default()
        };
        mine.patch("shop", &dry, &Patch::Merge(&patch)).await
    };
    let replicas = json!({"spec": {"replicas": 7}});
    eventually("the policy", async || match patch(replicas.clone()).await {
        Err(kube::Error::Api(status)) => status.message.contains(WORDS).then_some(()),
        _ => None,
    })
    .await;
    let finalizers = |all: &[&str]| json!({"metadata": {"finalizers": all}});
    let own = finalizers(&["example.com/theirs", "stepgate.io/adopting"]);
    assert!(!refused(patch(own).await, WORDS));
    for change in [
        finalizers(&[]),
        finalizers(&["stepgate.io/adopting"]),
        finalizers(&["example.com/theirs", "example.com/more"]),
        json!({"metadata": {"labels": {"a": "c"}}}),
        json!({"metadata": {"annotations": {"stepgate.io/promote": "x 1"}}}),
    ] {
        assert!(refused(patch(change.clone()).await, WORDS), "{change}");
    }
    let free = Patch::Merge(finalizers(&[]));
    let freed = everybody
        .patch("shop", &PatchParams::default(), &free)
        .await;
    freed.expect("nobody keeps it");
}

/// A place in a route, and what somebody puts there; `null` takes it away.
type Change = (String, Value);

/// The route with a change.
fn changed(route: &Value, (place, value): &Change) -> Value {
    let mut route = route.clone();
    let (parent, key) = place.rsplit_once('/').expect("a place");
    let parent = route.pointer_mut(parent).expect("a parent");
    match (parent, key.parse::<usize>()) {
        (Value::Array(list), Ok(at)) if value.is_null() => drop(list.remove(at)),
        (Value::Array(list), Ok(at)) if at == list.len() => list.push(value.clone()),
        (Value::Array(list), Ok(at)) => list[at] = value.clone(),
        (Value::Object(fields), _) if value.is_null() => drop(fields.remove(key)),
        (parent, _) => parent[key] = value.clone(),
    }
    route
}

#[tokio::test]
async fn the_operator_changes_nothing_in_a_route_but_weights() {
    let home = Home::new("weights-only").await;
    install(&home, "roles/routes.yaml").await;
    install(&home, "policies/weights-only.yaml").await;
    let backend = |name: &str, weight: i32| json!({"name": name, "port": 80, "weight": weight});
    let destination =
        |host: &str, weight: i32| json!({"destination": {"host": host}, "weight": weight});
    let http = json!({
        "hostnames": ["shop.example.com"],
        "rules": [{
            "name": "web", "timeouts": {"request": "2s"},
            "backendRefs": [backend("stable", 100), backend("canary", 0)],
        }],
    });
    let service = json!({
        "hosts": ["shop.example.com"],
        "http": [{
            "name": "web", "timeouts": {"request": "2s"},
            "route": [destination("stable", 100), destination("canary", 0)],
        }],
    });
    for (group, kind, spec, rule, backends, name) in [
        (
            "gateway.networking.k8s.io",
            "HTTPRoute",
            http,
            "/spec/rules/0",
            "backendRefs",
            "name",
        ),
        (
            "networking.istio.io",
            "VirtualService",
            service,
            "/spec/http/0",
            "route",
            "destination",
        ),
    ] {
        let backends = format!("{rule}/{backends}");
        define(&home, group, kind).await;
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
        let everybody =
            Api::<DynamicObject>::namespaced_with(home.client.clone(), &home.namespace, &resource);
        let route = json!({
            "apiVersion": format!("{group}/v1"), "kind": kind,
            "metadata": {"name": "shop", "labels": {"team": "shop"}}, "spec": spec,
        });
        eventually("the kind to be served", async || {
            let route = serde_json::from_value(route.clone()).expect("a route");
            everybody.create(&PostParams::default(), &route).await.ok()
        })
        .await;
        let mine =
            Api::<DynamicObject>::namespaced_with(operator().await, &home.namespace, &resource);
        let write = async |change: &Change| {
            let patch = Patch::Merge(changed(&route, change));
            mine.patch("shop", &PatchParams::default(), &patch).await
        };
        const WORDS: &str = "may change nothing in a route but the weights";
        // What is let through before the policy is in force is put back by what comes after it.
        let slower = (format!("{rule}/timeouts/request"), json!("3s"));
        eventually("the policy", async || match write(&slower).await {
            Err(kube::Error::Api(status)) => status.message.contains(WORDS).then_some(()),
            _ => None,
        })
        .await;
        let as_it_was = Patch::Merge(&route);
        let put_back = everybody
            .patch("shop", &PatchParams::default(), &as_it_was)
            .await;
        put_back.expect("the route as it was");

        for weight in [json!(5), Value::Null] {
            let change = (format!("{backends}/1/weight"), weight);
            assert!(!refused(write(&change).await, WORDS), "{kind}: {change:?}");
        }
        for change in [
            (format!("{backends}/1/{name}"), json!("theirs")),
            (format!("{backends}/1"), Value::Null),
            (format!("{backends}/2"), backend("theirs", 1)),
            (format!("{backends}/0/filters"), json!([])),
            (format!("{rule}/matches"), json!([{"path": {"value": "/"}}])),
            (format!("{rule}/name"), Value::Null),
            ("/spec/hosts".to_owned(), json!(["other.example.com"])),
            ("/spec/hostnames".to_owned(), json!(["other.example.com"])),
            ("/spec/parentRefs".to_owned(), json!([{"name": "public"}])),
            ("/metadata/labels".to_owned(), json!({"team": "other"})),
            ("/metadata/annotations".to_owned(), json!({"a": "b"})),
        ] {
            assert!(refused(write(&change).await, WORDS), "{kind}: {change:?}");
        }
    }
}
