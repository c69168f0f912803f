//! Children as objects: rendered once, never written again but for their scale.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{
    course::course,
    draft::Draft,
    facts::{Base, ConfigRef, DatabaseFacts, RevisionFacts, RolloutFacts},
    intent::Kind,
    job::{permission, pod, preflight, sql, step_test},
    revision::child_name,
};
use crate::api::{
    PhaseKind, RolloutSpec, SchemaSpec, StepTest,
    database::Holder,
    keys,
    release::{Release, TestStatus},
    selector::template_labels,
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
        "spec": {"replicas": 0, "selector": selector, "template": template},
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

/// Name of a phase's Job. It ends in the attempt.
pub(super) fn job_name(rollout: &str, revision: &str, phase: PhaseKind, attempt: i64) -> String {
    format!("{rollout}-{revision}-{}-{attempt}", phase.word())
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
                &database.base.name,
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
    epoch: i64,
) -> Value {
    let spec = entry(&mut template, "spec");
    spec["restartPolicy"] = json!("Never");
    let environment = [
        ("STEPGATE_ROLLOUT", &rollout.base.name),
        ("STEPGATE_REVISION", &release.revision),
        ("STEPGATE_STEP", &record.step),
    ];
    let containers = spec.get_mut("containers").and_then(Value::as_array_mut);
    for container in containers.into_iter().flatten() {
        let given = container["env"].as_array().cloned().unwrap_or_default();
        let named = |one: &Value| environment.iter().any(|(name, _)| one["name"] == *name);
        let mut all: Vec<Value> = given.into_iter().filter(|one| !named(one)).collect();
        all.extend(environment.map(|(name, value)| json!({"name": name, "value": value})));
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

/// The most bytes that a pod template may have as JSON. What serves from memory is bounded by it,
/// and a revision is kept three times: in the Rollout, its ControllerRevision and its Deployment.
const TEMPLATE_BYTES: usize = 256 * 1024;

/// What in the pod templates stands against a release, for people.
#[must_use]
pub fn template_problem(spec: &RolloutSpec) -> Option<String> {
    let schema = spec.schema.as_ref();
    let phases = PhaseKind::ALL.into_iter().filter_map(|kind| {
        let template = schema?.phase(kind)?.template.as_ref()?;
        Some((format!("spec.schema.{}.template", kind.word()), template))
    });
    let targets = course(spec).targets;
    let tests = targets.iter().flat_map(|target| {
        let tests = target.tests.iter().enumerate();
        tests.filter_map(|(index, test)| {
            let field = format!("{}.tests[{index}].template", target.field);
            Some((field, test.template.as_ref()?))
        })
    });
    let own = std::iter::once(("spec.template".to_owned(), &spec.template));
    let mut templates = own.chain(phases).chain(tests);
    let too_large = templates.find_map(|(field, template)| {
        let bytes = bytes_of(template);
        (bytes > TEMPLATE_BYTES).then(|| {
            format!(
                "{field} has {bytes} bytes as JSON, and may have {TEMPLATE_BYTES}: keep files, \
                 scripts and long values in ConfigMaps, and mount them"
            )
        })
    });
    too_large
        .or_else(|| phase_problem(spec))
        .or_else(|| step_test::problem(spec))
}

/// Bytes of a value as JSON, without writing it anywhere.
fn bytes_of(value: &Value) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // Counting cannot fail.
    let _ = serde_json::to_writer(&mut count, value);
    count.0
}

/// What in the spec would make a phase's Job wrong, for people.
fn phase_problem(spec: &RolloutSpec) -> Option<String> {
    let schema = spec.schema.as_ref()?;
    let asked = PhaseKind::ALL
        .into_iter()
        .filter_map(|kind| Some((kind, schema.phase(kind)?)));
    if let Some(name) = has_no_container(spec, schema.container.as_deref()) {
        return Some(format!(
            "spec.schema.container: the template has no container {name:?}: name one of its \
             containers"
        ));
    }
    if let Some(problem) = pod::problem(&spec.template, &spec.selector, schema) {
        return Some(problem);
    }
    asked.into_iter().find_map(|(kind, phase)| {
        let field = kind.word();
        let template = phase.template.as_ref()?;
        becomes_an_endpoint(spec, template).then(|| {
            format!(
                "spec.schema.{field}.template.metadata.labels match spec.selector: the Job's pods \
                 would get the traffic of users; give them other labels"
            )
        })
    })
}

/// The name of a container that the pod template does not have.
pub(super) fn has_no_container<'a>(spec: &RolloutSpec, name: Option<&'a str>) -> Option<&'a str> {
    let containers = spec.template.pointer("/spec/containers");
    let mut containers = containers.and_then(Value::as_array).into_iter().flatten();
    name.filter(|name| !containers.any(|c| c["name"] == json!(name)))
}

/// Pods of another template would get the traffic of users.
pub(super) fn becomes_an_endpoint(spec: &RolloutSpec, template: &Value) -> bool {
    let labels = template_labels(template);
    !labels.is_empty() && spec.selector.selects(&labels)
}

/// The images of a template's containers as people call them: without registry and path, and a
/// digest by its beginning.
pub fn images(template: &Value) -> String {
    const LONGEST: usize = 60;
    const MOST: usize = 3;
    let containers = template["spec"]["containers"].as_array();
    let all: Vec<&str> = containers
        .into_iter()
        .flatten()
        .filter_map(|container| container["image"].as_str())
        .collect();
    let short = |image: &&str| {
        let own = image.rsplit('/').next().unwrap_or(image);
        let (name, digest) = own.split_once("@sha256:").unwrap_or((own, ""));
        let name: String = name.chars().take(LONGEST).collect();
        match digest {
            "" => name,
            // A tag says more to people.
            _ if name.contains(':') => name,
            digest => format!("{name}@{}", digest.chars().take(8).collect::<String>()),
        }
    };
    let mut named: Vec<_> = all.iter().take(MOST).map(short).collect();
    if all.len() > MOST {
        named.push(format!("{} more", all.len() - MOST));
    }
    named.join(", ")
}

/// ConfigMaps and Secrets that a pod template cannot start without.
#[must_use]
pub fn config_refs(template: &Value) -> Vec<ConfigRef> {
    let mut found = BTreeSet::new();
    collect(template, &mut found);
    found.into_iter().collect()
}

/// Walks the template: every place that names a ConfigMap or Secret has a field of its own, and
/// `optional: true` beside the name where it may be missing.
fn collect(value: &Value, found: &mut BTreeSet<ConfigRef>) {
    match value {
        Value::Object(map) => {
            for (field, inner) in map {
                let (secret, name) = match field.as_str() {
                    "configMap" | "configMapRef" | "configMapKeyRef" => (false, "name"),
                    "secretRef" | "secretKeyRef" => (true, "name"),
                    // A volume says `secretName`, a projected source `name`.
                    "secret" if inner.get("secretName").is_some() => (true, "secretName"),
                    "secret" => (true, "name"),
                    _ => {
                        collect(inner, found);
                        continue;
                    }
                };
                if inner.get("optional") != Some(&Value::Bool(true))
                    && let Some(name) = inner.get(name).and_then(Value::as_str)
                {
                    found.insert(ConfigRef {
                        secret,
                        name: name.to_owned(),
                    });
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        _ => {}
    }
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

    fn spec(value: Value) -> RolloutSpec {
        serde_json::from_value(value).unwrap()
    }

    fn shop() -> RolloutSpec {
        spec(json!({
            "selector": {"matchLabels": {"app": "shop"}},
            "template": {
                "metadata": {"labels": {"app": "shop"}, "annotations": {"a": "b"}},
                "spec": {
                    "serviceAccountName": "shop",
                    "initContainers": [
                        {"name": "proxy", "restartPolicy": "Always"},
                        {"name": "prepare"},
                    ],
                    "containers": [
                        {"name": "other", "image": "other:1"},
                        {"name": "shop", "image": "shop:1", "args": ["serve"], "ports": [{}],
                         "readinessProbe": {}, "env": [{"name": "A", "valueFrom":
                            {"secretKeyRef": {"name": "s1", "key": "k"}}}],
                         "envFrom": [{"configMapRef": {"name": "c1"}},
                                     {"configMapRef": {"name": "c2", "optional": true}}]},
                    ],
                    "volumes": [
                        {"name": "a", "configMap": {"name": "c3"}},
                        {"name": "b", "secret": {"secretName": "s2"}},
                        {"name": "c", "projected": {"sources": [
                            {"secret": {"name": "s3"}}, {"configMap": {"name": "c4"}}]}},
                    ],
                },
            },
            "schema": {"database": "db", "container": "shop", "expand": {"command": ["x"]}},
        }))
    }

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
    fn everything_a_template_cannot_start_without_is_found() {
        let names: Vec<_> = config_refs(&shop().template)
            .into_iter()
            .map(|r| format!("{}{}", if r.secret { "secret " } else { "" }, r.name))
            .collect();
        assert_eq!(
            names,
            ["c1", "c3", "c4", "secret s1", "secret s2", "secret s3"]
        );
    }

    #[test]
    fn a_template_that_is_too_large_is_named_with_the_way_out() {
        let mut large = shop();
        large.template["spec"]["containers"][0]["args"] = json!(["x".repeat(TEMPLATE_BYTES)]);
        let words = template_problem(&large).unwrap();
        assert!(words.starts_with("spec.template has 26"), "{words}");
        assert!(words.contains("ConfigMaps"), "{words}");
        let mut phase = shop();
        let expand = phase.schema.as_mut().unwrap().expand.as_mut().unwrap();
        expand.run.template = Some(json!({"spec": {"x": "x".repeat(TEMPLATE_BYTES)}}));
        let words = template_problem(&phase).unwrap();
        assert!(
            words.starts_with("spec.schema.expand.template has "),
            "{words}"
        );
        assert_eq!(template_problem(&shop()), None);
    }

    #[test]
    fn a_phase_must_not_become_an_endpoint() {
        let mut wrong = shop();
        assert_eq!(phase_problem(&wrong), None);
        let expand = wrong.schema.as_mut().unwrap().expand.as_mut().unwrap();
        expand.run.template = Some(json!({"metadata": {"labels": {"app": "shop"}}, "spec": {}}));
        assert!(
            phase_problem(&wrong)
                .unwrap()
                .contains("spec.schema.expand.template")
        );
        let mut own = shop();
        let expand = own.schema.as_mut().unwrap().expand.as_mut().unwrap();
        expand.run.template =
            Some(json!({"metadata": {"labels": {"app": "migration"}}, "spec": {}}));
        assert_eq!(phase_problem(&own), None, "labels of its own");
        let expand = own.schema.as_mut().unwrap().expand.as_mut().unwrap();
        expand.run.template = Some(json!({"spec": {}}));
        assert_eq!(phase_problem(&own), None, "and none at all");
        wrong.schema.as_mut().unwrap().container = Some("none".into());
        assert!(
            phase_problem(&wrong)
                .unwrap()
                .contains("spec.schema.container")
        );
    }

    #[test]
    fn what_is_missing_on_the_way_to_a_field_is_made() {
        let mut value = json!({"metadata": "wrong"});
        entry(entry(&mut value, "metadata"), "labels")["a"] = json!("b");
        assert_eq!(value, json!({"metadata": {"labels": {"a": "b"}}}));
    }
}
