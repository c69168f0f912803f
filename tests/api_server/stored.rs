//! Objects as an earlier version stored them in the midst of a release: this version reads them and
//! goes on from there. So it is with an upgrade, and, without status and owners, after a restore.
//!
//! `stored/VERSION/STATE.json` was written by that version's own operator on a real API server
//! (`STORE=VERSION`, see [`store_what_this_version_stores`]). Such a file is never changed: there are
//! objects like it in clusters.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use k8s_openapi::api::{
    apps::v1::{ControllerRevision, Deployment},
    batch::v1::Job,
    core::v1::Pod,
};
use kube::{
    Api,
    api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use stepgate::api::{DatabaseSchema, Rollout};
use tokio::process::Child;

use super::{
    fixture::{Home, eventually, minimal},
    process::{condition, operator_with, pods, say_ready},
};

const NAME: &str = "shop";
const RELEASED: &str = "app:2";

/// A state in which an upgrade may meet a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The Job of the expand runs.
    Expand,
    /// The canary is held.
    Step,
    /// A person has said `undo`, and a pod of stable starts.
    Undo,
}

const STATES: [(&str, State); 3] = [
    ("expand", State::Expand),
    ("step", State::Step),
    ("undo", State::Undo),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api_server/stored")
}

fn manifest() -> Value {
    let mut rollout = minimal(NAME);
    let spec = &mut rollout["spec"];
    spec["replicas"] = json!(3);
    spec["schema"] = json!({"database": "db", "version": 1, "expand": {"command": ["migrate"]}});
    spec["strategy"] = json!({"maxSurge": 1, "maxUnavailable": 0, "canary": {"steps": [
        {"name": "canary", "replicas": 1, "holdSeconds": 600},
        {"name": "full", "replicas": "100%", "holdSeconds": 1}]}});
    rollout
}

/// The operator of a term of its own, as the one after an upgrade.
fn operator(home: &Home) -> Child {
    let lease = format!("--lease-namespace={}", home.namespace);
    let arguments = ["--leader-elect=true", &lease, "--listen=127.0.0.1:0"];
    operator_with(home, &arguments)
}

/// There is no kubelet: pods that serve become ready, if they are to, and those of Jobs succeed, if
/// they are to.
async fn kubelet(home: &Home, serve: bool, succeed: bool) {
    let of_job = |pod: &Pod| {
        let labels = pod.metadata.labels.as_ref();
        labels.is_some_and(|labels| labels.contains_key("batch.kubernetes.io/job-name"))
    };
    let (ends, serves): (Vec<_>, Vec<_>) = pods(home).await.into_iter().partition(of_job);
    if serve {
        say_ready(home, serves).await;
    }
    let api = Api::<Pod>::namespaced(home.client.clone(), &home.namespace);
    let (params, done) = (
        PatchParams::default(),
        json!({"status": {"phase": "Succeeded"}}),
    );
    for name in ends.into_iter().filter_map(|pod| pod.metadata.name) {
        if succeed {
            let _ = api.patch_status(&name, &params, &Patch::Merge(&done)).await;
        }
    }
}

async fn rollout(home: &Home) -> Value {
    let found = home.rollouts().get(NAME).await.expect("the Rollout");
    serde_json::to_value(found).expect("an object")
}

fn images(rollout: &Value) -> &str {
    rollout["status"]["stable"]["images"]
        .as_str()
        .unwrap_or_default()
}

async fn is_ready(home: &Home, image: &str) -> Option<()> {
    let ready = condition(home, NAME, "Ready").await?;
    (ready["status"] == "True" && images(&rollout(home).await) == image).then_some(())
}

async fn patch(home: &Home, patch: Value) {
    let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
    let patched = home.rollouts().patch(NAME, &params, &patch).await;
    patched.expect("patched");
}

async fn say(home: &Home, command: &str, target: &str) {
    let key = format!("stepgate.io/{command}");
    let text = format!("{target} {command}-1");
    patch(home, json!({"metadata": {"annotations": {key: text}}})).await;
}

async fn names<K>(home: &Home) -> BTreeSet<String>
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let api = Api::<K>::namespaced(home.client.clone(), &home.namespace);
    let all = api.list(&ListParams::default()).await.expect("a list");
    all.into_iter()
        .map(|one| one.meta().name.clone().expect("a name"))
        .collect()
}

/// Kinds in the order in which they are made here: who owns comes first.
fn kinds() -> [ApiResource; 5] {
    [
        ApiResource::erase::<Rollout>(&()),
        ApiResource::erase::<DatabaseSchema>(&()),
        ApiResource::erase::<ControllerRevision>(&()),
        ApiResource::erase::<Deployment>(&()),
        ApiResource::erase::<Job>(&()),
    ]
}

fn api(home: &Home, kind: &ApiResource) -> Api<DynamicObject> {
    Api::namespaced_with(home.client.clone(), &home.namespace, kind)
}

/// Every object of the namespace that a release is made of.
async fn all(home: &Home) -> Value {
    let mut all = Vec::new();
    for kind in kinds() {
        let found = api(home, &kind).list(&ListParams::default()).await;
        for mut object in found.expect("a list") {
            object.types = Some(kube::core::TypeMeta {
                api_version: kind.api_version.clone(),
                kind: kind.kind.clone(),
            });
            object.metadata.managed_fields = None;
            all.push(serde_json::to_value(object).expect("an object"));
        }
    }
    json!(all)
}

/// Writes `stored/$STORE/*.json`: what this version's operator stores.
#[tokio::test]
#[ignore = "run once for a version: STORE=VERSION"]
async fn store_what_this_version_stores() {
    let version = std::env::var("STORE").expect("STORE, the name of the version");
    let folder = folder().join(version);
    std::fs::create_dir_all(&folder).expect("a folder");
    for (name, state) in STATES {
        let home = Home::new("store").await;
        let operator = operator(&home);
        home.create(&manifest()).await.expect("a Rollout");
        eventually("the first release", async || {
            kubelet(&home, true, true).await;
            is_ready(&home, "app:1").await
        })
        .await;
        let containers = json!([{"name": "app", "image": RELEASED}]);
        patch(
            &home,
            json!({"spec": {
                "schema": {"version": 2},
                "template": {"spec": {"containers": containers}},
            }}),
        )
        .await;
        eventually(name, || is_at(&home, state)).await;
        drop(operator);
        let text = serde_json::to_string_pretty(&all(&home).await).expect("JSON");
        std::fs::write(folder.join(format!("{name}.json")), text + "\n").expect("written");
    }
}

/// Goes on towards a state, until it is reached.
async fn is_at(home: &Home, state: State) -> Option<()> {
    let found = rollout(home).await;
    let release = &found["status"]["release"];
    kubelet(home, release["stage"] != "Undo", state != State::Expand).await;
    match state {
        State::Expand => {
            let database = home.databases().get("db").await.ok()?;
            let uid = database.data.pointer("/record/holder/jobUid")?;
            let jobs = api(home, &kinds()[4])
                .list(&ListParams::default())
                .await
                .ok()?;
            let runs = |job: &DynamicObject| {
                job.metadata.uid.as_deref() == uid.as_str() && job.data["spec"]["suspend"] == false
            };
            jobs.iter().any(runs).then_some(())
        }
        State::Step => release.pointer("/step/reached").map(drop),
        State::Undo if release["stage"] == "Undo" => {
            let revision = release["revision"].as_str()?;
            let api = Api::<ControllerRevision>::namespaced(home.client.clone(), &home.namespace);
            let marked = api.get(&format!("{NAME}-{revision}")).await.ok()?;
            let marks = marked.metadata.annotations.unwrap_or_default();
            marks.values().any(|mark| mark == "Failed").then_some(())
        }
        State::Undo => {
            release.pointer("/step/reached")?;
            say(home, "undo", release["revision"].as_str()?).await;
            None
        }
    }
}

/// What is kept of a version.
struct Kept {
    label: String,
    state: State,
    objects: Vec<Value>,
}

fn kept() -> Vec<Kept> {
    let mut all = Vec::new();
    for version in std::fs::read_dir(folder()).expect("the folder") {
        let version = version.expect("an entry").path();
        for (name, state) in STATES {
            let path = version.join(format!("{name}.json"));
            let text = std::fs::read_to_string(&path).expect("a kept file");
            let objects: Vec<Value> = serde_json::from_str(&text).expect("objects");
            let label = path.display().to_string();
            all.push(Kept {
                label,
                state,
                objects,
            });
        }
    }
    assert!(!all.is_empty());
    all
}

fn is(object: &Value, kind: &str) -> bool {
    object["kind"] == kind
}

/// A copy that can be made anew: what the API server gives is left out.
fn anew(object: &Value, owned: bool) -> Value {
    let mut object = object.clone();
    object.as_object_mut().expect("an object").remove("status");
    let metadata = object["metadata"].as_object_mut().expect("metadata");
    for given in [
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "generation",
        "namespace",
    ] {
        metadata.remove(given);
    }
    if !owned {
        metadata.remove("ownerReferences");
    }
    if is(&object, "Job") {
        let spec = object["spec"].as_object_mut().expect("a spec");
        spec.remove("selector");
        let labels = spec["template"]["metadata"]["labels"]
            .as_object_mut()
            .expect("labels");
        labels.retain(|key, _| !key.ends_with("controller-uid") && !key.ends_with("job-name"));
    }
    object
}

async fn make(home: &Home, object: &Value) -> String {
    let kinds = kinds();
    let kind = kinds
        .iter()
        .find(|kind| is(object, &kind.kind))
        .expect("a kind");
    let object: DynamicObject = serde_json::from_value(object.clone()).expect("an object");
    let made = api(home, kind)
        .create(&PostParams::default(), &object)
        .await;
    made.expect("it is accepted").metadata.uid.expect("a uid")
}

/// The objects of a kept state as they stood, under the uids that they have now.
async fn stand_again(home: &Home, kept: &Kept) {
    let mut uids = BTreeMap::new();
    let renamed = |text: String, uids: &BTreeMap<String, String>| {
        uids.iter()
            .fold(text, |text, (old, new)| text.replace(old, new))
    };
    let ended =
        |object: &Value| is(object, "Job") && object["status"]["completionTime"].is_string();
    for object in kept.objects.iter().filter(|object| !ended(object)) {
        let text = renamed(anew(object, true).to_string(), &uids);
        let made = make(home, &serde_json::from_str(&text).expect("JSON")).await;
        let old = object["metadata"]["uid"].as_str().expect("a uid");
        uids.insert(old.to_owned(), made);
    }
    // What names uids of objects that were made later.
    let found = |kind: &str| {
        kept.objects
            .iter()
            .find(|object| is(object, kind))
            .expect("one")
    };
    let record = renamed(found("DatabaseSchema")["record"].to_string(), &uids);
    let record: Value = serde_json::from_str(&record).expect("JSON");
    let (params, record) = (PatchParams::default(), json!({"record": record}));
    let patched = home
        .databases()
        .patch("db", &params, &Patch::Merge(&record))
        .await;
    patched.expect("the record");
    let stored = found("Rollout");
    let generation = format!(
        "\"observedGeneration\":{}",
        stored["metadata"]["generation"]
    );
    let status = renamed(stored["status"].to_string(), &uids);
    let status = status.replace(&generation, "\"observedGeneration\":1");
    let status: Value = serde_json::from_str(&status).expect("JSON");
    let status = json!({"status": status});
    let patched = home
        .rollouts()
        .patch_status(NAME, &params, &Patch::Merge(&status))
        .await;
    let patched = patched.expect("the status");
    assert_eq!(
        patched.data["status"], status["status"],
        "the definition drops some of it"
    );
}

/// The same without status and owners, in the order of docs/operations.md. Jobs are not restored.
async fn restore(home: &Home, kept: &Kept) {
    for kind in [
        "DatabaseSchema",
        "ControllerRevision",
        "Deployment",
        "Rollout",
    ] {
        for object in kept.objects.iter().filter(|object| is(object, kind)) {
            make(home, &anew(object, false)).await;
        }
    }
}

#[tokio::test]
async fn a_release_in_motion_goes_on_after_an_upgrade() {
    for kept in kept() {
        let label = &kept.label;
        let home = Home::new("upgrade").await;
        stand_again(&home, &kept).await;
        let before = rollout(&home).await;
        let release = before["status"]["release"].clone();
        let revision = release["revision"].as_str().expect("a revision").to_owned();
        let (revisions, jobs) = (
            names::<ControllerRevision>(&home).await,
            names::<Job>(&home).await,
        );
        let _operator = operator(&home);
        let goes_on = async || {
            kubelet(&home, true, true).await;
            let found = rollout(&home).await;
            let now = found["status"]["release"].clone();
            if let Some(started) = now["started"].as_str() {
                // It is the same release.
                assert_eq!(release["started"], started, "{label}: {now}");
                assert_eq!(now["revision"], *revision, "{label}");
            }
            if now.pointer("/step/reached").is_some() && now["step"]["name"] == "canary" {
                say(&home, "promote", &format!("{revision}/canary")).await;
            }
            match kept.state {
                State::Expand | State::Step => is_ready(&home, RELEASED).await,
                State::Undo => {
                    let stalled = condition(&home, NAME, "Stalled").await?;
                    (stalled["reason"] == "UndoneByPerson" && now.is_null()).then_some(())
                }
            }
        };
        eventually(&format!("the end of {label}"), goes_on).await;
        assert_eq!(
            names::<ControllerRevision>(&home).await,
            revisions,
            "{label}: a new revision"
        );
        assert_eq!(names::<Job>(&home).await, jobs, "{label}: another Job");
    }
}

#[tokio::test]
async fn a_release_in_motion_is_found_again_after_a_restore() {
    for kept in kept() {
        let label = &kept.label;
        let home = Home::new("restore").await;
        restore(&home, &kept).await;
        let revisions = names::<ControllerRevision>(&home).await;
        let _operator = operator(&home);
        let ends = async || {
            kubelet(&home, true, true).await;
            let found = rollout(&home).await;
            let now = &found["status"]["release"];
            if now.pointer("/step/reached").is_some() && now["step"]["name"] == "canary" {
                let revision = now["revision"].as_str()?;
                say(&home, "promote", &format!("{revision}/canary")).await;
            }
            let stalled = condition(&home, NAME, "Stalled").await;
            let is_stalled = |reason: &str| {
                let stalled = stalled.as_ref()?;
                (stalled["status"] == "True" && stalled["reason"] == reason).then_some(())
            };
            match kept.state {
                // It begins again at its first step, and its expand is done.
                State::Step => is_ready(&home, RELEASED).await,
                // Nobody knows what became of its Job: a person looks at the database first.
                State::Expand => is_stalled("JobVanished"),
                // It has failed, and is not tried again.
                State::Undo => {
                    assert!(now.is_null() || now["stage"] == "Undo", "{label}: {now}");
                    is_stalled("UndoneByPerson").filter(|()| images(&found) == "app:1")
                }
            }
        };
        eventually(&format!("the end of {label}"), ends).await;
        assert_eq!(
            names::<ControllerRevision>(&home).await,
            revisions,
            "{label}: a new revision"
        );
        assert_eq!(
            names::<Job>(&home).await,
            BTreeSet::new(),
            "{label}: a Job ran"
        );
    }
}
