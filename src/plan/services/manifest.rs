//! A Service of Stepgate's own, as it is written.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    api::keys,
    plan::{draft::Draft, intent::Kind, render},
};

/// Which pods a Service of Stepgate's own selects: the Rollout's, of one revision.
pub(super) fn selector(draft: &Draft<'_>, revision: &str) -> BTreeMap<String, String> {
    let mut selector = draft.spec.selector.match_labels.clone();
    selector.insert(keys::ROLLOUT.into(), draft.name().into());
    selector.insert(keys::REVISION.into(), revision.into());
    selector
}

/// What such a Service has in its spec that may change: `ports` are those of another Service, with
/// its session affinity.
pub(super) fn spec_of(draft: &Draft<'_>, revision: &str, ports: &Value) -> Value {
    let mut spec = ports.clone();
    spec["selector"] = json!(selector(draft, revision));
    spec
}

/// A Service of Stepgate's own.
pub(super) fn manifest(draft: &Draft<'_>, name: &str, mut spec: Value) -> Value {
    let rollout = &draft.seen.objects.rollout;
    spec["type"] = json!("ClusterIP");
    json!({
        "apiVersion": Kind::Service.api_version(),
        "kind": Kind::Service.name(),
        "metadata": {
            "name": name,
            "namespace": rollout.namespace,
            "labels": {
                keys::ROLLOUT: rollout.base.name,
                keys::EPOCH: draft.seen.epoch.to_string(),
            },
            "ownerReferences": [render::owned_by_rollout(rollout)],
        },
        "spec": spec,
    })
}
