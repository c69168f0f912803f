//! The CRDs as the API server wants them: generated from the types, then tidied.

use kube::CustomResourceExt;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use super::{DatabaseSchema, Rollout, explained::explain};

/// The custom resource definitions by file name, each as JSON.
///
/// # Errors
/// When a type has no JSON form, which a test rules out.
pub fn definitions() -> Result<Vec<(&'static str, Value)>, serde_json::Error> {
    let mut rollout = serde_json::to_value(Rollout::crd())?;
    // A Rollout that no operator has seen must not read as healthy: kstatus compares this with
    // metadata.generation.
    rollout["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["default"] =
        json!({"observedGeneration": -1});
    let mut database = serde_json::to_value(DatabaseSchema::crd())?;
    for definition in [&mut rollout, &mut database] {
        tidy(definition);
        let schema = &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        for part in ["spec", "allowedRollouts"] {
            if let Some(part) = schema["properties"].get_mut(part) {
                explain(part);
            }
        }
    }
    Ok(vec![
        ("rollouts.yaml", rollout),
        ("databaseschemas.yaml", database),
    ])
}

/// Removes what Rust types bring along and a CRD does not want: `nullable`, formats that the API
/// server does not know, numbers with a fraction of zero.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(map) => {
            // `nullable` is a property's attribute; a field of that name would hold an object.
            if map.get("nullable").is_some_and(Value::is_boolean) {
                map.remove("nullable");
            }
            if map
                .get("format")
                .and_then(Value::as_str)
                .is_some_and(|f| f.starts_with("uint"))
            {
                map.remove("format");
            }
            for bound in ["minimum", "maximum"] {
                if let Some(whole) = map.get(bound).and_then(Value::as_f64)
                    && whole.fract() == 0.0
                {
                    #[expect(clippy::cast_possible_truncation, reason = "bounds are below 2^53")]
                    map.insert(bound.into(), json!(whole as i64));
                }
            }
            if let Some(Value::Array(values)) = map.get_mut("enum") {
                values.retain(|v| !v.is_null());
            }
            map.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

/// A pod template, kept raw so that no field newer than this program is lost.
pub(super) fn pod_template(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": true,
        "required": ["spec"],
        "properties": {
            "metadata": {
                "type": "object",
                "x-kubernetes-preserve-unknown-fields": true,
                "properties": {
                    "labels": {
                        "type": "object",
                        "maxProperties": 64,
                        "additionalProperties": {"type": "string", "maxLength": 63},
                    },
                },
            },
            "spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        },
    })
}

pub(super) fn labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 16,
        "additionalProperties": {"type": "string", "maxLength": 63},
    })
}

pub(super) fn annotations(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 16,
        "additionalProperties": {"type": "string", "maxLength": 4096},
    })
}

pub(super) fn count_or_percent(_: &mut SchemaGenerator) -> Schema {
    int_or_string(
        "a number of pods, or a percentage such as \"25%\"",
        0,
        r"^(100|[1-9]?[0-9])%$",
    )
}

pub(super) fn step_replicas(_: &mut SchemaGenerator) -> Schema {
    int_or_string(
        "a number of pods of at least 1, or a percentage such as \"25%\" of at least 1%",
        1,
        r"^(100|[1-9][0-9]?)%$",
    )
}

fn int_or_string(words: &str, minimum: i64, pattern: &str) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "maxLength": 4,
        "x-kubernetes-validations": [{
            // The upper bound is that of spec.replicas; without one a number may not fit the field.
            "rule": format!(
                "type(self) == string ? self.matches(r'{pattern}') : self >= {minimum} && self <= 100000"
            ),
            "message": format!("must be {words}"),
        }],
    })
}

/// metav1.Condition, a list keyed by type.
pub(super) fn conditions(_: &mut SchemaGenerator) -> Schema {
    let string = |limit: u32| json!({"type": "string", "maxLength": limit});
    json_schema!({
        "type": "array",
        "maxItems": 16,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "reason", "message", "lastTransitionTime"],
            "properties": {
                "type": string(316),
                "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
                "reason": string(1024),
                "message": string(32768),
                "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
                "lastTransitionTime": {"type": "string", "format": "date-time"},
            },
        },
    })
}

/// A definition as the YAML that is kept in `crds/`.
///
/// # Errors
/// When the value has no YAML form, which a test rules out.
pub fn yaml(definition: &Value) -> Result<String, serde_saphyr::ser::Error> {
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    serde_saphyr::to_string_with_options(&sorted(definition), options)
}

/// Kind and name first, as people write them.
fn sorted(definition: &Value) -> Value {
    let Value::Object(map) = definition else {
        return definition.clone();
    };
    let mut head = Map::new();
    for key in ["apiVersion", "kind", "metadata", "spec"] {
        if let Some(value) = map.get(key) {
            head.insert(key.into(), value.clone());
        }
    }
    Value::Object(head)
}
