//! A workload's spec, taken over field by field.

use serde_json::{Map, Value, json};

use super::{
    super::simulate::{
        finding::Finding,
        manifest::{Documents, scaler_of},
    },
    checks,
    source::Source,
    steps,
};
use crate::api::keys;

/// The seconds that both other tools wait for progress by default.
const PROGRESS: i64 = 600;
/// Annotations that another tool or kubectl keeps on its own objects.
const THEIRS: [&str; 3] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    "deployment.kubernetes.io/revision",
    "rollout.argoproj.io/revision",
];

/// The Rollout, and what is to be said of it.
pub(super) fn convert(document: &Value, documents: &Documents) -> (Value, Vec<Finding>) {
    let name = document["metadata"]["name"].as_str().unwrap_or_default();
    let mut source = Source::new(document["spec"].clone());
    let mut spec = Map::new();
    pods(&mut source, &mut spec, documents);
    size(&mut source, &mut spec, document, documents);
    for field in ["paused", "schema"] {
        if let Some(value) = source.take(field) {
            spec.insert(field.into(), value);
        }
    }
    if let Some(limit) = source.integer("revisionHistoryLimit") {
        let kept = limit.clamp(1, 100);
        if kept != limit {
            source.note(
                "revisionHistoryLimit",
                format!("{limit} became {kept}: between 1 and 100 are kept for a rollback"),
            );
        }
        spec.insert("revisionHistoryLimit".into(), json!(kept));
    }
    let analysis = checks::analysis(&mut source, documents);
    let strategy = strategy(&mut source, analysis.is_some());
    if !strategy.is_empty() {
        spec.insert("strategy".into(), Value::Object(strategy));
    }
    if let Some(analysis) = analysis {
        spec.insert("analysis".into(), analysis);
    } else {
        source.note(
            "analysis",
            "nothing is measured: only crashes and pods that do not become ready are noticed; add \
             checks of errorRate and latency",
        );
    }
    running(&mut source, document, name);
    let rollout = json!({
        "apiVersion": keys::API_VERSION,
        "kind": "Rollout",
        "metadata": metadata(&document["metadata"]),
        "spec": spec,
    });
    (rollout, source.rest())
}

/// Name, namespace, labels, and the annotations that are the user's own.
fn metadata(given: &Value) -> Value {
    let mut kept = Map::new();
    for field in ["name", "namespace", "labels", "annotations"] {
        let mut value = given[field].clone();
        if let Some(map) = value.as_object_mut() {
            map.retain(|name, _| !THEIRS.contains(&name.as_str()));
            if map.is_empty() {
                continue;
            }
        }
        if !value.is_null() {
            kept.insert(field.into(), value);
        }
    }
    Value::Object(kept)
}

/// Selector and template, which another workload may have.
fn pods(source: &mut Source, spec: &mut Map<String, Value>, documents: &Documents) {
    let mut selector = source.take("selector");
    let mut template = source.take("template");
    if let Some(named) = source.take("workloadRef") {
        let found = documents
            .all()
            .find(|d| d["kind"] == named["kind"] && d["metadata"]["name"] == named["name"]);
        match found {
            Some(found) => {
                template = Some(found["spec"]["template"].clone());
                selector = selector.or_else(|| Some(found["spec"]["selector"].clone()));
            }
            None => source.warn(
                "workloadRef",
                format!(
                    "{} {} is not in the files, so there is no pod template: add its file with -f",
                    named["kind"].as_str().unwrap_or_default(),
                    named["name"].as_str().unwrap_or_default()
                ),
            ),
        }
    }
    if let Some(metadata) = template.as_mut().and_then(|t| t.get_mut("metadata"))
        && let Some(map) = metadata.as_object_mut()
    {
        // What `kubectl get -o yaml` prints, and no person wrote.
        map.remove("creationTimestamp");
    }
    for (name, value) in [("selector", selector), ("template", template)] {
        if let Some(value) = value {
            spec.insert(name.into(), value);
        }
    }
}

/// The number of pods, unless an autoscaler decides it.
fn size(
    source: &mut Source,
    spec: &mut Map<String, Value>,
    document: &Value,
    documents: &Documents,
) {
    let replicas = source.take("replicas");
    let name = document["metadata"]["name"].as_str().unwrap_or_default();
    let kinds = ["Deployment", "Rollout"];
    let Some(scaler) = kinds
        .iter()
        .find_map(|kind| scaler_of(documents.all(), kind, name))
    else {
        if let Some(replicas) = replicas {
            spec.insert("replicas".into(), replicas);
        }
        return;
    };
    source.note(
        "replicas",
        format!(
            "left out: {} decides it. It is not changed: set its spec.scaleTargetRef to \
             {{apiVersion: {}, kind: Rollout, name: {name}}}",
            scaler.title,
            keys::API_VERSION
        ),
    );
}

/// Bounds, deadline, steps.
fn strategy(source: &mut Source, measured: bool) -> Map<String, Value> {
    let mut strategy = Map::new();
    let kind = source.take("strategy.type");
    let recreated = kind.is_some_and(|kind| kind == "Recreate");
    if recreated {
        source.warn(
            "strategy.type",
            "Recreate became Rolling with maxSurge: 0 and maxUnavailable: 1: each old pod goes \
             before its new one comes. Of more than one replica, old and new pods still run side \
             by side; if they must not, keep the Deployment",
        );
        strategy.extend([
            ("type".into(), json!("Rolling")),
            ("maxSurge".into(), json!(0)),
            ("maxUnavailable".into(), json!(1)),
        ]);
    }
    for name in ["maxSurge", "maxUnavailable"] {
        let places = ["strategy", "strategy.rollingUpdate", "strategy.canary"];
        let found = places.iter().find_map(|at| {
            let path = format!("{at}.{name}");
            source.take(&path).map(|value| (path, value))
        });
        if let Some((path, value)) = found {
            let bound = bound(source, &path, value);
            strategy.insert(name.into(), bound);
        }
    }
    let seconds = source.integer("strategy.progressDeadlineSeconds");
    let seconds = seconds.or_else(|| source.integer("progressDeadlineSeconds"));
    if let Some(seconds) = seconds.filter(|seconds| *seconds != PROGRESS) {
        strategy.insert(
            "progressDeadlineSeconds".into(),
            json!(seconds.clamp(1, 604_800)),
        );
    }
    let window = source.take("rollbackWindow");
    let window = window.or_else(|| source.take("strategy.rollbackWindow"));
    if let Some(window) = window {
        strategy.insert("rollbackWindow".into(), window);
    }
    if recreated {
        return strategy;
    }
    if let Some(steps) = steps::steps(source, measured) {
        strategy.insert("canary".into(), json!({"steps": steps}));
    } else {
        source.note(
            "strategy.canary",
            "the default steps are used: one pod for 300 s, 25% for 600 s, 100% for 900 s",
        );
    }
    strategy
}

/// A number or percentage as a Rollout has it: at most 100%.
fn bound(source: &mut Source, path: &str, value: Value) -> Value {
    let percent = value.as_str().and_then(|text| text.strip_suffix('%'));
    let percent = percent.and_then(|digits| digits.parse::<i64>().ok());
    if percent.is_some_and(|percent| percent > 100) {
        source.note(
            path,
            format!("{} became 100%", value.as_str().unwrap_or_default()),
        );
        return json!("100%");
    }
    value
}

/// What runs now is not touched, and must not run beside the Rollout for ever.
fn running(source: &mut Source, document: &Value, name: &str) {
    let kind = document["kind"].as_str().unwrap_or_default();
    let version = document["apiVersion"].as_str().unwrap_or_default();
    if version != keys::API_VERSION {
        source.note(
            "selector",
            format!(
                "if {kind} {name} of {version} runs, it selects the same pods: docs/convert.md says \
                 how to move without downtime"
            ),
        );
    }
}
