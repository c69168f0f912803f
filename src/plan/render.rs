//! Children as objects: rendered once, never written again but for their scale.

use serde_json::{Map, Value, json};

use super::{
    draft::Draft,
    facts::{Base, DatabaseFacts, RevisionFacts, RolloutFacts},
    intent::Kind,
    job::{permission, pod, preflight, proof, sql},
    replicas,
    revision::child_name,
};
use crate::api::{
    RolloutSpec, SchemaSpec, StepTest,
    database::Holder,
    keys,
    release::{Release, TestStatus},
};

/// The ControllerRevision that remembers what a revision is.
pub(super) fn revision(rollout: &RolloutFacts, spec: &RolloutSpec, revision: &str) -> Value {
    json!({
        "apiVersion": Kind::Revision.api_version(),
        "kind": Kind::Revision.name(),
        "metadata": {
            "name": child_name(&rollout.base.name, revision),
            "namespace": rollout.namespace,
            "labels": {keys::ROLLOUT: rollout.base.name, keys::REVISION: revision},
            "ownerReferences": [owned_by_rollout(rollout)],
        },
        "data": {"template": spec.template, "schema": spec.schema},
        "revision": 0,
    })
}

/// The owner reference of ControllerRevisions and Deployments.
pub(super) fn owned_by_rollout(rollout: &RolloutFacts) -> Value {
    owner(keys::API_VERSION, "Rollout", &rollout.base)
}

fn owner(version: &str, kind: &str, object: &Base) -> Value {
    json!({
        "apiVersion": version,
        "kind": kind,
        "name": object.name,
        "uid": object.uid,
        "controller": true,
        "blockOwnerDeletion": true,
    })
}

/// A revision's Deployment, at 0 replicas, from what its ControllerRevision remembers.
pub(super) fn deployment(
    rollout: &RolloutFacts,
    spec: &RolloutSpec,
    revision: &RevisionFacts,
    template: &Value,
    epoch: i64,
) -> Value {
    let ours = json!({keys::ROLLOUT: rollout.base.name, keys::REVISION: revision.revision});
    let mut template = template.clone();
    label_pods(&mut template, &ours);
    let mut selector = serde_json::to_value(&spec.selector).unwrap_or_default();
    merge(
        entry(&mut selector, "matchLabels"),
        &json!({keys::REVISION: revision.revision}),
    );
    let mut labels = ours;
    merge(&mut labels, &json!({keys::EPOCH: epoch.to_string()}));
    // For `kubectl rollout restart`: a release replaces no pod of it.
    let [surge, unavailable] = replicas::for_kubernetes(&spec.strategy, spec.replicas);
    json!({
        "apiVersion": Kind::Deployment.api_version(),
        "kind": Kind::Deployment.name(),
        "metadata": {
            "name": child_name(&rollout.base.name, &revision.revision),
            "namespace": rollout.namespace,
            "labels": labels,
            // Not by its ControllerRevision: whoever deletes that by hand must not take pods
            // that serve with it.
            "ownerReferences": [owned_by_rollout(rollout)],
        },
        "spec": {
            "replicas": 0,
            "selector": selector,
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable},
            },
            "template": template,
        },
    })
}

/// A DatabaseSchema with nothing on record. Owned by nobody, so that no deletion loses it.
pub(super) fn database(draft: &Draft<'_>, name: &str) -> Value {
    json!({
        "apiVersion": Kind::Database.api_version(),
        "kind": Kind::Database.name(),
        "metadata": {"name": name, "namespace": draft.seen.objects.rollout.namespace},
        "record": {},
    })
}

/// The Job of the phase that `holder` holds the database for, suspended. `None` when the spec no
/// longer has that phase or its container: a person must say what is to run.
pub(super) fn job(
    draft: &Draft<'_>,
    of_the_pods: &Value,
    schema: &SchemaSpec,
    holder: &Holder,
    database: &DatabaseFacts,
    hashes: &[String],
) -> Option<Value> {
    let phase = schema.phase(holder.phase)?;
    let seconds = preflight::seconds_left(draft, holder, phase.deadline_seconds);
    let sql = schema.runs_sql(holder.phase);
    let work = match &phase.template {
        Some(_) => pod::Work::Template,
        None if sql => pod::Work::Sql,
        None => pod::Work::Command,
    };
    let mut template = match &phase.template {
        Some(template) => template.clone(),
        None if sql => {
            let version = holder.version.and_then(|v| database.record.version(v));
            let approved = version.is_some_and(|v| v.is_approved(holder.phase));
            let order = sql::order(
                &draft.seen.objects.rollout.namespace,
                schema,
                holder,
                (&database.base.name, &database.record),
                hashes,
                seconds,
                approved,
            )?;
            sql::template(
                of_the_pods,
                draft.spec,
                schema,
                &draft.seen.sql_image,
                &order,
            )?
        }
        None => {
            let of = (of_the_pods, &draft.spec.selector);
            pod::of_command(of, schema.container.as_deref(), &phase.command, &schema.job)?
        }
    };
    let pod = entry(&mut template, "spec");
    pod["restartPolicy"] = json!("Never");
    proof::comes_first(draft, of_the_pods, schema, holder, database, seconds, pod)?;
    permission::cut_grace(draft, pod);
    let labels = json!({keys::DATABASE: database.base.name, keys::PHASE: holder.phase.word()});
    label_pods(&mut template, &labels);
    let mut own = labels;
    merge(
        &mut own,
        &json!({
            keys::ROLLOUT: holder.rollout,
            keys::REVISION: holder.revision,
            keys::EPOCH: draft.seen.epoch.to_string(),
        }),
    );
    Some(json!({
        "apiVersion": Kind::Job.api_version(),
        "kind": Kind::Job.name(),
        "metadata": {
            "name": holder.job,
            "namespace": draft.seen.objects.rollout.namespace,
            "labels": own,
            "ownerReferences": [owner(
                Kind::Database.api_version(), Kind::Database.name(), &database.base,
            )],
        },
        "spec": {
            "suspend": true,
            "backoffLimit": phase.retry_limit,
            "podFailurePolicy": pod::failure_policy(&template, work),
            "activeDeadlineSeconds": permission::deadline(draft, schema, holder.phase, seconds),
            "template": template,
        },
    }))
}

/// The Job of a step's test, suspended, from its pod template. Owned by the Rollout.
pub(super) fn test_job(
    rollout: &RolloutFacts,
    release: &Release,
    record: &TestStatus,
    test: &StepTest,
    mut template: Value,
    services: Option<[&str; 2]>,
    epoch: i64,
) -> Value {
    let spec = entry(&mut template, "spec");
    spec["restartPolicy"] = json!("Never");
    let [stable, canary] = services.map_or([None; 2], |names| names.map(Some));
    let environment = [
        ("STEPGATE_ROLLOUT", Some(rollout.base.name.as_str())),
        ("STEPGATE_REVISION", Some(&release.revision)),
        ("STEPGATE_STEP", Some(&record.step)),
        ("STEPGATE_STABLE_SERVICE", stable),
        ("STEPGATE_CANARY_SERVICE", canary),
    ];
    let containers = spec.get_mut("containers").and_then(Value::as_array_mut);
    for container in containers.into_iter().flatten() {
        let given = container["env"].as_array().cloned().unwrap_or_default();
        let named = |one: &Value| environment.iter().any(|(name, _)| one["name"] == *name);
        let mut all: Vec<Value> = given.into_iter().filter(|one| !named(one)).collect();
        let known = environment.iter().filter_map(|(name, value)| {
            let value = (*value)?;
            Some(json!({"name": name, "value": value}))
        });
        all.extend(known);
        container["env"] = json!(all);
    }
    label_pods(&mut template, &json!({keys::TEST: record.name}));
    json!({
        "apiVersion": Kind::Job.api_version(),
        "kind": Kind::Job.name(),
        "metadata": {
            "name": record.job,
            "namespace": rollout.namespace,
            "labels": {
                keys::TEST: record.name,
                keys::STEP: record.step,
                keys::ROLLOUT: rollout.base.name,
                keys::REVISION: release.revision,
                keys::EPOCH: epoch.to_string(),
            },
            "ownerReferences": [owned_by_rollout(rollout)],
        },
        "spec": {
            "suspend": true,
            "backoffLimit": 0,
            "activeDeadlineSeconds": test.deadline_seconds,
            "template": template,
        },
    })
}

/// Gives pods these labels of Stepgate and no other: a template that names another Rollout's would
/// have its pods counted there.
fn label_pods(template: &mut Value, ours: &Value) {
    let metadata = entry(template, "metadata");
    for field in ["labels", "annotations"] {
        if let Some(keys) = metadata.get_mut(field).and_then(Value::as_object_mut) {
            keys.retain(|key, _| !key.starts_with(keys::PREFIX));
        }
    }
    merge(entry(metadata, "labels"), ours);
}

/// The object in `field`, made if it is missing or something else.
fn entry<'v>(value: &'v mut Value, field: &str) -> &'v mut Value {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    let inner = &mut value[field];
    if !inner.is_object() {
        *inner = Value::Object(Map::new());
    }
    inner
}

fn merge(into: &mut Value, from: &Value) {
    if let (Some(into), Some(from)) = (into.as_object_mut(), from.as_object()) {
        into.extend(from.iter().map(|(key, value)| (key.clone(), value.clone())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_carry_no_label_of_stepgate_but_what_it_gives_them() {
        let mut template = json!({"metadata": {
            "labels": {"app": "shop", keys::ROLLOUT: "other", keys::REVISION: "r9"},
            "annotations": {"a": "b", keys::SETTLED: "1"},
        }});
        label_pods(&mut template, &json!({keys::DATABASE: "db"}));
        assert_eq!(
            template["metadata"],
            json!({"labels": {"app": "shop", keys::DATABASE: "db"}, "annotations": {"a": "b"}})
        );
    }

    #[test]
    fn what_is_missing_on_the_way_to_a_field_is_made() {
        let mut value = json!({"metadata": "wrong"});
        entry(entry(&mut value, "metadata"), "labels")["a"] = json!("b");
        assert_eq!(value, json!({"metadata": {"labels": {"a": "b"}}}));
    }
}
