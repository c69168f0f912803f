//! What a revision is, and what it is called.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::api::RolloutSpec;

/// Letters of a revision's name: no vowels, so that no words come about, and nothing that reads
/// like something else.
const ALPHABET: &[u8] = b"23456789bcdfghjkmnpqrstvwxz";
const LENGTH: usize = 10;

/// The hash that names a revision: of the pod template and the schema version it needs, and of
/// nothing else. 10 characters that are valid in names and label values.
///
/// The bytes hashed are the JSON of `{"schemaVersion": …, "template": …}` with keys sorted, no
/// spaces, and without nulls (Kubernetes reads null as absent). Golden vectors hold it in place:
/// an upgrade that changed it would release every workload again.
#[must_use]
pub fn hash(template: &Value, schema_version: Option<i64>) -> String {
    let mut identity = json!({"template": template, "schemaVersion": schema_version});
    strip_nulls(&mut identity);
    let digest = Sha256::digest(canonical(&identity).as_bytes());
    let base = ALPHABET.len() as u128;
    let mut number = digest
        .iter()
        .take(16)
        .fold(0_u128, |sum, byte| sum << 8 | u128::from(*byte));
    let mut name = String::with_capacity(LENGTH);
    for _ in 0..LENGTH {
        let letter = usize::try_from(number % base).unwrap_or_default();
        name.push(char::from(ALPHABET[letter]));
        number /= base;
    }
    name
}

/// The hash of the revision that a spec asks for.
#[must_use]
pub fn wanted(spec: &RolloutSpec) -> String {
    hash(&spec.template, spec.schema.as_ref().and_then(|s| s.version))
}

/// Name of a revision's Deployment and ControllerRevision.
#[must_use]
pub fn child_name(rollout: &str, revision: &str) -> String {
    format!("{rollout}-{revision}")
}

/// JSON with keys in order, whatever order the map keeps them in.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<_> = map.keys().collect();
            keys.sort();
            let fields: Vec<_> = keys
                .into_iter()
                .map(|key| format!("{}:{}", Value::String(key.clone()), canonical(&map[key])))
                .collect();
            format!("{{{}}}", fields.join(","))
        }
        Value::Array(items) => {
            format!(
                "[{}]",
                items.iter().map(canonical).collect::<Vec<_>>().join(",")
            )
        }
        other => other.to_string(),
    }
}

fn strip_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            let kept: Map<_, _> = std::mem::take(map)
                .into_iter()
                .filter(|(_, v)| !v.is_null())
                .collect();
            *map = kept;
            map.values_mut().for_each(strip_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(strip_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_vectors_hold_the_hash_in_place() {
        let template = json!({"metadata": {"labels": {"app": "shop"}}, "spec": {"containers": [
            {"name": "shop", "image": "shop:1", "env": [{"name": "A", "value": "é\"\n"}]},
        ]}});
        assert_eq!(hash(&template, None), "w24t792pzf");
        assert_eq!(hash(&template, Some(7)), "w5qjvqd9wn");
        assert_eq!(hash(&json!({}), None), "z3j6x27cgm");
    }

    #[test]
    fn null_means_absent_and_the_order_of_keys_nothing() {
        let one: Value = serde_json::from_str(
            r#"{"spec": {"a": 1, "b": [2]}, "metadata": {"creationTimestamp": null}}"#,
        )
        .unwrap();
        let two: Value =
            serde_json::from_str(r#"{"metadata": {}, "spec": {"b": [2], "a": 1}}"#).unwrap();
        assert_eq!(hash(&one, Some(1)), hash(&two, Some(1)));
        assert_ne!(hash(&one, Some(1)), hash(&one, None));
    }
}
