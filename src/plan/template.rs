//! Pod templates: what in them stands against a release, and what they cannot start without.

use std::{collections::BTreeSet, fmt};

use serde_json::{Value, json};

use super::job::pod;
use crate::api::{PhaseKind, RolloutSpec, selector::template_labels};

/// The most bytes that a pod template may have as JSON. What serves from memory is bounded by it,
/// and a revision is kept three times: in the Rollout, its ControllerRevision and its Deployment.
const TEMPLATE_BYTES: usize = 256 * 1024;

/// What in the pod templates stands against a release, for people.
#[must_use]
pub fn problem(spec: &RolloutSpec) -> Option<String> {
    let schema = spec.schema.as_ref();
    let phases = PhaseKind::ALL.into_iter().filter_map(|kind| {
        let template = schema?.phase(kind)?.template.as_ref()?;
        Some((format!("spec.schema.{}.template", kind.word()), template))
    });
    let tests = spec.strategy.tests().filter_map(|(field, test)| {
        let template = test.template.as_ref()?;
        Some((format!("{field}.template"), template))
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
        .or_else(|| test_problem(spec))
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
fn has_no_container<'a>(spec: &RolloutSpec, name: Option<&'a str>) -> Option<&'a str> {
    let containers = spec.template.pointer("/spec/containers");
    let mut containers = containers.and_then(Value::as_array).into_iter().flatten();
    name.filter(|name| !containers.any(|c| c["name"] == json!(name)))
}

/// Pods of another template would get the traffic of users.
fn becomes_an_endpoint(spec: &RolloutSpec, template: &Value) -> bool {
    let labels = template_labels(template);
    !labels.is_empty() && spec.selector.selects(&labels)
}

/// What in the spec would make the Job of a test wrong, for people.
fn test_problem(spec: &RolloutSpec) -> Option<String> {
    spec.strategy.tests().find_map(|(field, test)| {
        has_no_container(spec, test.container.as_deref())
            .map(|name| {
                format!(
                    "{field}.container: the template has no container {name:?}: name one of its \
                     containers"
                )
            })
            .or_else(|| {
                let template = test.template.as_ref()?;
                becomes_an_endpoint(spec, template).then(|| {
                    format!(
                        "{field}.template.metadata.labels match spec.selector: the Job's pods \
                         would get the traffic of users; give them other labels"
                    )
                })
            })
    })
}

/// A ConfigMap or Secret that a template names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigRef {
    /// Whether it is a Secret.
    pub secret: bool,
    /// Its name.
    pub name: String,
}

impl fmt::Display for ConfigRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.secret { "Secret" } else { "ConfigMap" };
        write!(f, "{kind} {}", self.name)
    }
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
pub(crate) fn config_refs(template: &Value) -> Vec<ConfigRef> {
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
        let words = problem(&large).unwrap();
        assert!(words.starts_with("spec.template has 26"), "{words}");
        assert!(words.contains("ConfigMaps"), "{words}");
        let mut phase = shop();
        let expand = phase.schema.as_mut().unwrap().expand.as_mut().unwrap();
        expand.run.template = Some(json!({"spec": {"x": "x".repeat(TEMPLATE_BYTES)}}));
        let words = problem(&phase).unwrap();
        assert!(
            words.starts_with("spec.schema.expand.template has "),
            "{words}"
        );
        assert_eq!(problem(&shop()), None);
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
}
