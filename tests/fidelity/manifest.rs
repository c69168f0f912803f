//! The objects that scripts make.

use serde_json::{Value, json};
use stepgate::{
    api::{PhaseKind, database::Holder},
    plan::facts::Base,
};

/// Its migration succeeds.
pub const GOOD: &str = "app:good";
/// Its migration fails.
pub const FAILS: &str = "app:fails";
/// Its migration does not end.
pub const HANGS: &str = "app:hangs";
/// Its pods never run.
pub const NEVER_STARTS: &str = "app:never";
/// All of them.
pub const IMAGES: [&str; 4] = [GOOD, FAILS, HANGS, NEVER_STARTS];

/// A ControllerRevision; only one called `shop-<revision>` is believed to be Rollout shop's.
pub fn revision(name: &str, owner: Option<&Value>) -> Value {
    let revision = name.strip_prefix("shop-").unwrap_or(name);
    json!({
        "apiVersion": "apps/v1", "kind": "ControllerRevision",
        "metadata": {
            "name": name,
            "labels": {"stepgate.io/rollout": "shop", "stepgate.io/revision": revision},
            "ownerReferences": owner.into_iter().collect::<Vec<_>>(),
        },
        "data": {"template": {"spec": {}}, "schema": null},
        "revision": 0,
    })
}

pub fn deployment(name: &str, replicas: i32, owner: Option<&Value>) -> Value {
    let labels = json!({"stepgate.io/rollout": "shop", "stepgate.io/revision": name});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {
            "name": name,
            "labels": {"stepgate.io/rollout": "shop", "stepgate.io/revision": name,
                       "stepgate.io/epoch": "3"},
            "ownerReferences": owner.into_iter().collect::<Vec<_>>(),
        },
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "app", "image": GOOD}]},
            },
        },
    })
}

/// A suspended Job as the operator makes it.
pub fn job(name: &str, image: &str, deadline: i64, owner: Option<&Value>) -> Value {
    let labels = json!({"stepgate.io/database": "db", "stepgate.io/phase": "expand"});
    json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {
            "name": name,
            "labels": {"stepgate.io/rollout": "shop", "stepgate.io/revision": "r1",
                       "stepgate.io/database": "db", "stepgate.io/phase": "expand",
                       "stepgate.io/epoch": "3"},
            "ownerReferences": owner.into_iter().collect::<Vec<_>>(),
        },
        "spec": {
            "suspend": true, "backoffLimit": 0, "activeDeadlineSeconds": deadline,
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "restartPolicy": "Never",
                    "containers": [{"name": "app", "image": image}],
                },
            },
        },
    })
}

pub fn database(name: &str) -> Value {
    json!({
        "apiVersion": "stepgate.io/v1alpha1", "kind": "DatabaseSchema",
        "metadata": {"name": name},
        "record": {},
    })
}

/// A Service as the operator makes it, for a revision.
pub fn service(name: &str, revision: &str, owner: Option<&Value>) -> Value {
    let mut spec = selecting(revision, 80);
    spec["type"] = json!("ClusterIP");
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": name,
            "labels": {"stepgate.io/rollout": "shop", "stepgate.io/epoch": "3"},
            "ownerReferences": owner.into_iter().collect::<Vec<_>>(),
        },
        "spec": spec,
    })
}

/// What of a Service changes: which revision's pods it selects, and its port.
pub fn selecting(revision: &str, port: u16) -> Value {
    json!({
        "selector": {"app": "shop", "stepgate.io/rollout": "shop", "stepgate.io/revision": revision},
        "ports": [{"name": "http", "port": port, "protocol": "TCP", "targetPort": 8080}],
        "sessionAffinity": "None",
    })
}

/// An owner reference as the operator writes it.
pub fn owned_by(kind: &str, base: &Base) -> Value {
    json!({
        "apiVersion": "stepgate.io/v1alpha1", "kind": kind, "name": base.name, "uid": base.uid,
        "controller": true, "blockOwnerDeletion": true,
    })
}

/// Somebody who holds a database.
pub fn holder(job: &str) -> Holder {
    let since = jiff::Timestamp::constant(1_800_000_000, 0);
    Holder {
        floor_before: None,
        rollout: "shop".into(),
        revision: "r1".into(),
        version: Some(7),
        phase: PhaseKind::Expand,
        attempt: 1,
        job: job.into(),
        job_uid: None,
        since: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(since),
    }
}
