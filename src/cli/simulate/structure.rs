//! The custom resource definition, applied to a manifest as the API server does: unknown fields,
//! defaults, types, bounds, then the rules.

use regex::Regex;
use serde_json::{Map, Value};

use super::{super::convert::hints, finding::Finding, rules};
use crate::api::PhaseKind;

/// Fills in what the definition's schema has defaults for, and removes nulls, which Kubernetes
/// reads as absent. Raw parts are left as they are.
pub(super) fn fill_in(schema: &Value, value: &mut Value) {
    if is_raw(schema) {
        return;
    }
    match value {
        Value::Object(map) => {
            map.retain(|_, inner| !inner.is_null());
            for (name, inner) in properties(schema) {
                if let Some(default) = inner.get("default")
                    && !map.contains_key(name)
                {
                    map.insert(name.clone(), default.clone());
                }
                if let Some(present) = map.get_mut(name) {
                    fill_in(inner, present);
                }
            }
        }
        Value::Array(items) => {
            if let Some(inner) = schema.get("items") {
                items.iter_mut().for_each(|item| fill_in(inner, item));
            }
        }
        _ => {}
    }
}

/// Everything in which a value differs from its schema.
pub(super) fn check(schema: &Value, value: &Value, path: &str, found: &mut Vec<Finding>) {
    let before = found.len();
    if !is_of_type(schema, value, path, found) {
        return;
    }
    match value {
        Value::Object(map) => check_object(schema, map, path, found),
        Value::Array(items) => check_list(schema, items, path, found),
        Value::String(text) => check_text(schema, text, path, found),
        Value::Number(number) => check_number(schema, number.as_f64(), path, found),
        _ => {}
    }
    // A rule reads fields of the types that the schema promises: it is not asked about others.
    if found.len() == before {
        found.extend(rules::broken(schema, value).map(|message| Finding::error(path, message)));
    }
}

fn is_of_type(schema: &Value, value: &Value, path: &str, found: &mut Vec<Finding>) -> bool {
    let is = kind(value);
    let wanted = schema.get("type").and_then(Value::as_str);
    let (fits, wanted) = match wanted {
        _ if schema.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) => {
            (is == "integer" || is == "string", "integer or string")
        }
        None => return true,
        Some("number") => (is == "number" || is == "integer", "number"),
        Some(wanted) => (is == wanted, wanted),
    };
    if !fits {
        let hint = match (wanted, is) {
            // What it is by now is not what was written: 1.10 is 1.1.
            ("string", "number" | "integer" | "boolean") => {
                ": write it in quotes, as it stands in the file"
            }
            _ => "",
        };
        let message = format!("must be of type {wanted}, is {is}{hint}");
        found.push(Finding::error(path, message));
    }
    fits
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() || number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn check_object(schema: &Value, map: &Map<String, Value>, path: &str, found: &mut Vec<Finding>) {
    let required = schema.get("required").and_then(Value::as_array);
    for name in required.into_iter().flatten().filter_map(Value::as_str) {
        if !map.contains_key(name) {
            found.push(Finding::error(join(path, name), "Required value"));
        }
    }
    if let Some(most) = bound(schema, "maxProperties")
        && map.len() as u64 > most
    {
        let message = format!("must have at most {most} entries");
        found.push(Finding::error(path, message));
    }
    let others = schema.get("additionalProperties");
    for (name, inner) in map {
        let place = join(path, name);
        match (properties_of(schema, name), others) {
            (Some(schema), _) | (None, Some(schema)) => check(schema, inner, &place, found),
            (None, None) if is_raw(schema) => {}
            (None, None) => {
                let known = properties(schema).map(|(known, _)| known.as_str());
                let message = match hints::of(&place) {
                    _ if belongs_to_job(&place) => format!(
                        "unknown field: what the pods of phases have is given in spec.schema.job.{name}"
                    ),
                    Some(hint) => format!("unknown field, known to other tools: {hint}"),
                    None => unknown(name, known),
                };
                found.push(Finding::error(place, message));
            }
        }
    }
}

/// Fields of other tools, and what does the same here.
const ELSEWHERE: [(&str, &str); 3] = [
    (
        "backoffLimit",
        "to run the command again, let it exit with 75 when it has applied nothing, and set \
         retryLimit",
    ),
    (
        "initialDelaySeconds",
        "to leave out the first seconds of each pod, set latency.warmUpSeconds",
    ),
    (
        "query",
        "there are no queries: name the counter or histogram in metric, and its labels in \
         metric.matchers",
    ),
];

fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    if let Some((_, instead)) = ELSEWHERE.iter().find(|(other, _)| *other == name) {
        return format!("unknown field: {instead}");
    }
    match nearest(name, known) {
        Some(other) => format!("unknown field: did you mean {other}?"),
        None => "unknown field".into(),
    }
}

/// The known name that is most like one that nobody knows, if any is.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = known
        .map(|other| (strsim::jaro_winkler(name, other), other))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(likeness, _)| *likeness > 0.8);
    near.map(|(_, other)| other)
}

fn check_list(schema: &Value, items: &[Value], path: &str, found: &mut Vec<Finding>) {
    if let Some(least) = bound(schema, "minItems")
        && (items.len() as u64) < least
    {
        let message = format!("should have at least {least} items");
        found.push(Finding::error(path, message));
    }
    if let Some(most) = bound(schema, "maxItems")
        && items.len() as u64 > most
    {
        let message = format!("must have at most {most} items");
        found.push(Finding::error(path, message));
    }
    let keys = schema.get("x-kubernetes-list-map-keys");
    let keys: Vec<_> = keys
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .collect();
    let key_of = |item: &Value| -> Vec<Option<Value>> {
        let keys = keys.iter().filter_map(|key| key.as_str());
        keys.map(|key| item.get(key).cloned()).collect()
    };
    for (index, item) in items.iter().enumerate() {
        let place = format!("{path}[{index}]");
        let key = key_of(item);
        let named = !key.is_empty() && key.iter().all(Option::is_some);
        if named && items[..index].iter().any(|other| key_of(other) == key) {
            let name = key.first().cloned().flatten().unwrap_or_default();
            let message = format!("Duplicate value: another item is called {name}");
            found.push(Finding::error(place.clone(), message));
        }
        if let Some(inner) = schema.get("items") {
            check(inner, item, &place, found);
        }
    }
}

fn check_text(schema: &Value, text: &str, path: &str, found: &mut Vec<Finding>) {
    let mut wrong = |message: String| found.push(Finding::error(path, message));
    let length = text.chars().count() as u64;
    if let Some(least) = bound(schema, "minLength")
        && length < least
    {
        wrong(format!("should be at least {least} chars long"));
    }
    if let Some(most) = bound(schema, "maxLength")
        && length > most
    {
        wrong(format!(
            "may not be more than {most} chars long, is {length}"
        ));
    }
    if let Some(pattern) = schema.get("pattern").and_then(Value::as_str)
        && Regex::new(pattern).is_ok_and(|regex| !regex.is_match(text))
    {
        wrong(format!("should match '{pattern}', is \"{text}\""));
    }
    let allowed = schema.get("enum").and_then(Value::as_array);
    if let Some(allowed) = allowed
        && !allowed.iter().any(|value| value.as_str() == Some(text))
    {
        let values: Vec<_> = allowed.iter().map(ToString::to_string).collect();
        let values = values.join(", ");
        wrong(format!(
            "Unsupported value \"{text}\": supported values: {values}"
        ));
    }
}

fn check_number(schema: &Value, number: Option<f64>, path: &str, found: &mut Vec<Finding>) {
    let Some(number) = number else { return };
    let limit = |name: &str| schema.get(name).and_then(Value::as_f64);
    if let Some(least) = limit("minimum").filter(|least| number < *least) {
        let message = format!("should be greater than or equal to {least}, is {number}");
        found.push(Finding::error(path, message));
    }
    if let Some(most) = limit("maximum").filter(|most| number > *most) {
        let message = format!("should be less than or equal to {most}, is {number}");
        found.push(Finding::error(path, message));
    }
}

fn bound(schema: &Value, name: &str) -> Option<u64> {
    schema.get(name).and_then(Value::as_u64)
}

/// Whether fields that the schema does not name are kept.
fn is_raw(schema: &Value) -> bool {
    let kept = schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
    // An object of which nothing is said is metadata, which has a schema of its own.
    let unsaid = schema.get("properties").is_none() && schema.get("additionalProperties").is_none();
    kept || unsaid
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let map = schema.get("properties").and_then(Value::as_object);
    map.into_iter().flatten()
}

fn properties_of<'a>(schema: &'a Value, name: &str) -> Option<&'a Value> {
    schema.get("properties")?.get(name)
}

fn join(path: &str, name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    match (path, name.chars().all(plain)) {
        ("", _) => name.to_owned(),
        (_, true) => format!("{path}.{name}"),
        (_, false) => format!("{path}[{name}]"),
    }
}

/// Whether a field that nobody knows belongs into `spec.schema.job`.
fn belongs_to_job(place: &str) -> bool {
    let mut parts = place.split('.').rev();
    let name = parts.next().unwrap_or_default();
    let fields = [
        "labels",
        "annotations",
        "serviceAccountName",
        "keepContainers",
    ];
    fields.contains(&name)
        && PhaseKind::ALL
            .iter()
            .any(|kind| place == format!("spec.schema.{}.{name}", kind.word()))
        || place == format!("spec.schema.{name}") && fields.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_a_phases_pod_have_one_place() {
        assert!(belongs_to_job("spec.schema.expand.labels"));
        assert!(belongs_to_job("spec.schema.labels"));
        assert!(!belongs_to_job("spec.schema.expand.template.labels"));
        assert!(!belongs_to_job("spec.template.labels"));
    }
}
