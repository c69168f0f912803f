//! Which objects are believed to be a Rollout's. A label alone is no proof: whoever may make a
//! Deployment or a Job in the namespace may give its pods any label.

use k8s_openapi::{
    api::{
        apps::v1::{ControllerRevision, Deployment},
        core::v1::{Pod, Service},
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::Resource as _;

use crate::{
    api::{Rollout, keys},
    plan::revision::child_name,
};

/// Set on pods by the controller of ReplicaSets, whose names end in it.
const POD_TEMPLATE_HASH: &str = "pod-template-hash";

/// Whether this Deployment is what its labels say. The selector must be one that the operator
/// has rendered: pods are counted by it.
#[must_use]
pub fn is_child(object: &Deployment) -> bool {
    let metadata = &object.metadata;
    let spec = object.spec.as_ref();
    let selected = spec.and_then(|s| s.selector.match_labels.as_ref()?.get(keys::REVISION));
    is_rollouts(metadata) && selected == Some(&label(metadata, keys::REVISION))
}

/// Whether this ControllerRevision is what its labels say.
#[must_use]
pub(crate) fn is_revision(object: &ControllerRevision) -> bool {
    is_rollouts(&object.metadata)
}

/// Whether this pod belongs to the Deployment that its labels name: a ReplicaSet of that
/// Deployment controls it. A reference to one that does not exist is no way around it: the garbage
/// collector deletes such a pod.
#[must_use]
pub(crate) fn is_pod(object: &Pod) -> bool {
    let metadata = &object.metadata;
    let hash = label(metadata, POD_TEMPLATE_HASH);
    let set = format!("{}-{hash}", name_by_labels(metadata));
    controller(metadata)
        .is_some_and(|c| c.kind == "ReplicaSet" && c.api_version == "apps/v1" && c.name == set)
}

/// The Deployment that a pod belongs to, by the ReplicaSet that controls it.
#[must_use]
pub(crate) fn deployment_of(object: &Pod) -> Option<&str> {
    let metadata = &object.metadata;
    let hash = label(metadata, POD_TEMPLATE_HASH);
    let set =
        controller(metadata).filter(|c| c.kind == "ReplicaSet" && c.api_version == "apps/v1")?;
    let deployment = set.name.strip_suffix(&hash)?.strip_suffix('-')?;
    (!hash.is_empty()).then_some(deployment)
}

/// Whether Stepgate made this Service: the Rollout in its label controls it. Its name is the user's
/// choice and proves nothing, so one that nobody controls is believed to be somebody else's, unless
/// it carries the epoch that the operator gives to what it makes (a restored backup has no owner).
#[must_use]
pub(crate) fn is_service(object: &Service) -> bool {
    let metadata = &object.metadata;
    let rollout = label(metadata, keys::ROLLOUT);
    match controller(metadata) {
        Some(owner) => is_rollout(owner, &rollout),
        None => !rollout.is_empty() && !label(metadata, keys::EPOCH).is_empty(),
    }
}

/// Named as a child of the Rollout in its label, and controlled by a Rollout of that name or by
/// nobody: its uid may be another (a restored backup), or the owner gone (an orphan).
fn is_rollouts(metadata: &ObjectMeta) -> bool {
    let rollout = label(metadata, keys::ROLLOUT);
    metadata.name.as_deref() == Some(name_by_labels(metadata).as_str())
        && controller(metadata).is_none_or(|c| is_rollout(c, &rollout))
}

/// Whether an owner is the Rollout of this name, whatever its uid.
fn is_rollout(owner: &OwnerReference, name: &str) -> bool {
    let group = owner.api_version.split_once('/').map(|(group, _)| group);
    owner.kind == Rollout::kind(&()) && group == Some(&*Rollout::group(&())) && owner.name == name
}

fn name_by_labels(metadata: &ObjectMeta) -> String {
    child_name(
        &label(metadata, keys::ROLLOUT),
        &label(metadata, keys::REVISION),
    )
}

fn controller(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    let mut owners = metadata.owner_references.iter().flatten();
    owners.find(|owner| owner.controller == Some(true))
}

/// The value of a label; empty where there is none.
pub(super) fn label(metadata: &ObjectMeta, key: &str) -> String {
    let value = metadata.labels.as_ref().and_then(|l| l.get(key));
    value.cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::*;

    fn object<K: DeserializeOwned>(value: Value) -> K {
        serde_json::from_value(value).unwrap()
    }

    fn owned_by(kind: &str, api_version: &str, name: &str) -> Value {
        json!([{
            "apiVersion": api_version, "kind": kind, "name": name, "uid": "u", "controller": true,
        }])
    }

    fn metadata(name: &str, owners: Value) -> Value {
        json!({
            "name": name,
            "labels": {keys::ROLLOUT: "shop", keys::REVISION: "r1", POD_TEMPLATE_HASH: "5f"},
            "ownerReferences": owners,
        })
    }

    fn deployment(name: &str, owners: Value, revision: &str) -> Deployment {
        object(json!({
            "metadata": metadata(name, owners),
            "spec": {
                "selector": {"matchLabels": {"app": "shop", keys::REVISION: revision}},
                "template": {},
            },
        }))
    }

    #[test]
    fn a_deployment_is_believed_by_its_owner_its_name_and_its_selector() {
        let by = |name| owned_by("Rollout", keys::API_VERSION, name);
        let other = || owned_by("Shop", "example.com/v1", "shop");
        assert!(is_child(&deployment("shop-r1", by("shop"), "r1")));
        assert!(is_child(&deployment("shop-r1", json!([]), "r1")), "orphan");
        for (why, wrong) in [
            (
                "another Rollout's",
                deployment("shop-r1", by("other"), "r1"),
            ),
            ("an operator's", deployment("shop-r1", other(), "r1")),
            ("any name", deployment("web", json!([]), "r1")),
            ("any selector", deployment("shop-r1", json!([]), "r2")),
        ] {
            assert!(!is_child(&wrong), "{why}");
        }
    }

    #[test]
    fn a_pod_is_believed_by_the_replica_set_that_controls_it() {
        let pod = |owners| object::<Pod>(json!({"metadata": metadata("any", owners)}));
        let set = |name| owned_by("ReplicaSet", "apps/v1", name);
        assert!(is_pod(&pod(set("shop-r1-5f"))));
        assert!(!is_pod(&pod(set("shop-r1-6a"))), "not that of its hash");
        assert!(!is_pod(&pod(set("web-5f"))), "of another Deployment");
        assert!(!is_pod(&pod(json!([]))), "of nobody");
        let job = owned_by("Job", "batch/v1", "shop-r1-5f");
        assert!(!is_pod(&pod(job)), "a phase's Job");
    }
}
