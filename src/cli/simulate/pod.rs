//! A pod template, as the API server reads it when it becomes a Deployment or a Job.

mod rules;

use serde_json::Value;

use super::{finding::Finding, structure};
use crate::api::template::typed;

/// What a Deployment with this template would be refused for.
pub(super) fn check(template: &Value, path: &str, found: &mut Vec<Finding>) {
    if check_containers(template, path, found) {
        let policy = &template["spec"]["restartPolicy"];
        if !policy.is_null() && policy != "Always" {
            let message = "a Deployment's pods are always restarted: leave it out";
            found.push(Finding::error(
                format!("{path}.spec.restartPolicy"),
                message,
            ));
        }
    }
}

/// What a Job with this template would be refused for.
pub(super) fn check_job(template: &Value, path: &str, found: &mut Vec<Finding>) {
    check_containers(template, path, found);
}

fn check_containers(template: &Value, path: &str, found: &mut Vec<Finding>) -> bool {
    let before = found.len();
    if let Err(error) = typed(template) {
        let message = error.inner().to_string();
        found.push(Finding::error(format!("{path}.{}", error.path()), message));
        return false;
    }
    let containers = template["spec"]["containers"].as_array();
    let containers = containers.map_or(&[][..], Vec::as_slice);
    let field = format!("{path}.spec.containers");
    if containers.is_empty() {
        found.push(Finding::error(
            &field,
            "Required value: name a container and its image",
        ));
    }
    for (index, container) in containers.iter().enumerate() {
        for name in ["name", "image"] {
            if container[name].as_str().is_none_or(str::is_empty) {
                let field = format!("{field}[{index}].{name}");
                found.push(Finding::error(field, "Required value"));
            }
        }
    }
    rules::check(template, path, found);
    found.len() == before
}

/// Fields that the API server would drop without a word, because a Rollout keeps its template raw
/// and the Deployment is written by the operator.
pub(super) fn dropped(template: &Value, path: &str) -> Vec<Finding> {
    let Ok(known) = typed(template) else {
        return Vec::new();
    };
    let known = serde_json::to_value(known).unwrap_or_default();
    let mut found = Vec::new();
    compare(template, &known, path, &mut found);
    found
}

fn compare(given: &Value, known: &Value, path: &str, found: &mut Vec<Finding>) {
    match (given, known) {
        (Value::Object(given), Value::Object(known)) => {
            for (name, inner) in given.iter().filter(|(_, inner)| !inner.is_null()) {
                let field = format!("{path}.{name}");
                if let Some(known) = known.get(name) {
                    compare(inner, known, &field, found);
                } else if !is_empty(inner) {
                    let meant = structure::nearest(name, NAMES.iter().copied());
                    let meant = meant.map(|near| format!("did you mean {near}? "));
                    let message = format!(
                        "unknown field: {}Kubernetes drops what it does not know: it would have \
                         no effect",
                        meant.unwrap_or_default()
                    );
                    found.push(Finding::warning(field, message));
                }
            }
        }
        (Value::Array(given), Value::Array(known)) => {
            for (index, (given, known)) in given.iter().zip(known).enumerate() {
                compare(given, known, &format!("{path}[{index}]"), found);
            }
        }
        _ => {}
    }
}

/// An empty list or map is the same as none.
fn is_empty(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty)
        || value.as_object().is_some_and(serde_json::Map::is_empty)
}

/// Names that are often misspelt.
const NAMES: [&str; 22] = [
    "affinity",
    "annotations",
    "args",
    "command",
    "containers",
    "env",
    "envFrom",
    "image",
    "imagePullPolicy",
    "imagePullSecrets",
    "initContainers",
    "labels",
    "lifecycle",
    "livenessProbe",
    "ports",
    "readinessProbe",
    "resources",
    "securityContext",
    "serviceAccountName",
    "startupProbe",
    "terminationGracePeriodSeconds",
    "volumeMounts",
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn template(container: Value) -> Value {
        json!({"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [container]}})
    }

    fn errors(template: &Value) -> Vec<String> {
        let mut found = Vec::new();
        check(template, "spec.template", &mut found);
        found
            .iter()
            .map(|f| format!("{}: {}", f.field, f.message))
            .collect()
    }

    #[test]
    fn a_template_is_read_as_a_deployment_would_be() {
        let good =
            template(json!({"name": "a", "image": "a:1", "resources": {"requests": {"cpu": 1}}}));
        assert_eq!(errors(&good), Vec::<String>::new());
        let port =
            template(json!({"name": "a", "image": "a:1", "ports": [{"containerPort": "80"}]}));
        assert!(
            errors(&port)[0]
                .starts_with("spec.template.spec.containers[0].ports[0].containerPort: "),
            "{:?}",
            errors(&port)
        );
        let nameless = errors(&template(json!({"image": ""})));
        assert_eq!(nameless.len(), 2, "{nameless:?}");
        let none = errors(&json!({"spec": {}}));
        assert!(
            none[0].starts_with("spec.template.spec.containers: Required"),
            "{none:?}"
        );
    }

    #[test]
    fn a_misspelt_field_is_found_wherever_it_is() {
        let misspelt = template(json!({
            "name": "a", "image": "a:1", "readynessProbe": {"httpGet": {"port": 80}},
            "env": [{"name": "A", "value": ""}], "args": [],
        }));
        let found = dropped(&misspelt, "spec.template");
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(
            found[0].field,
            "spec.template.spec.containers[0].readynessProbe"
        );
        assert!(
            found[0].message.contains("did you mean readinessProbe?"),
            "{found:?}"
        );
    }
}
