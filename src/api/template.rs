//! A pod template that the definition leaves open, as the API server reads it when it becomes a
//! Deployment or a Job.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::Value;

/// The first field that the API server cannot read, and why: its own words for that name the Go
/// type, and neither the path nor the index.
pub(crate) fn misread(template: &Value) -> Option<(String, String)> {
    if let Err(error) = typed(template) {
        return Some((error.path().to_string(), error.inner().to_string()));
    }
    let mut found = None;
    each_quantity(template, &mut String::new(), &mut |path, value| {
        if found.is_none() && quantity(value).is_none() {
            let words = format!("{value} is no quantity: write a number, as 0.5, 500m or 128Mi");
            found = Some((path.to_owned(), words));
        }
    });
    found
}

/// Whether a member of this name holds quantities by name, and whether it is one itself.
fn holds_quantities(name: &str) -> (bool, bool) {
    (
        matches!(name, "limits" | "requests" | "overhead"),
        matches!(name, "sizeLimit" | "divisor"),
    )
}

fn each_quantity(value: &Value, path: &mut String, look: &mut impl FnMut(&str, &Value)) {
    let end = path.len();
    match value {
        Value::Object(members) => {
            for (name, inner) in members {
                let dot = if path.is_empty() { "" } else { "." };
                path.push_str(&format!("{dot}{name}"));
                match (holds_quantities(name), inner) {
                    ((true, _), Value::Object(quantities)) => {
                        for (name, value) in quantities.iter().filter(|(_, v)| !v.is_null()) {
                            look(&format!("{path}.{name}"), value);
                        }
                    }
                    ((_, true), inner) if !inner.is_null() => look(path, inner),
                    (_, inner) => each_quantity(inner, path, look),
                }
                path.truncate(end);
            }
        }
        Value::Array(items) => {
            for (index, inner) in items.iter().enumerate() {
                path.push_str(&format!("[{index}]"));
                each_quantity(inner, path, look);
                path.truncate(end);
            }
        }
        _ => {}
    }
}

type TypeError = serde_path_to_error::Error<serde_json::Error>;

/// A template as the API's own types.
///
/// # Errors
/// With the field that does not fit.
pub(crate) fn typed(template: &Value) -> Result<PodTemplateSpec, TypeError> {
    let mut template = template.clone();
    write_quantities(&mut template);
    serde_path_to_error::deserialize(&template)
}

/// A quantity may be written as a number; the API server reads both.
fn write_quantities(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (name, inner) in map {
                match (name.as_str(), inner) {
                    ("limits" | "requests" | "overhead", Value::Object(quantities)) => {
                        quantities.values_mut().for_each(as_text);
                    }
                    ("sizeLimit" | "divisor" | "storage", inner) => as_text(inner),
                    (_, inner) => write_quantities(inner),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(write_quantities),
        _ => {}
    }
}

fn as_text(value: &mut Value) {
    if value.is_number() {
        *value = Value::String(value.to_string());
    }
}

/// A quantity, as far as two can be compared.
pub(crate) fn quantity(value: &Value) -> Option<f64> {
    if let Some(number) = value.as_f64() {
        return Some(number);
    }
    let text = value.as_str()?;
    const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    const DECIMAL: [(&str, i32); 9] = [
        ("n", -9),
        ("u", -6),
        ("m", -3),
        ("k", 3),
        ("M", 6),
        ("G", 9),
        ("T", 12),
        ("P", 15),
        ("E", 18),
    ];
    let plain = |number: &str| {
        let digits = number.trim_start_matches(['+', '-']);
        let is_number = digits.chars().all(|c| c.is_ascii_digit() || c == '.');
        let is_number = is_number && digits.chars().any(|c| c.is_ascii_digit());
        is_number.then(|| number.parse::<f64>().ok())?
    };
    for (index, unit) in BINARY.iter().enumerate() {
        if let Some(number) = text.strip_suffix(unit) {
            let power = i32::try_from(index).ok()? + 1;
            return Some(plain(number)? * 1024_f64.powi(power));
        }
    }
    for (unit, power) in DECIMAL {
        if let Some(number) = text.strip_suffix(unit) {
            return Some(plain(number)? * 10_f64.powi(power));
        }
    }
    match text.split_once(['e', 'E']) {
        Some((number, power)) => {
            let power: i32 = power.parse().ok()?;
            Some(plain(number)? * 10_f64.powi(power))
        }
        None => plain(text),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_cannot_be_read_is_named_with_its_index() {
        let template = |second: Value| {
            json!({"metadata": {"labels": {"app": "a"}},
                   "spec": {"containers": [{"name": "a", "image": "a:1"}, second]}})
        };
        for (second, field) in [
            (
                json!({"name": "b", "ports": [{"containerPort": "80"}]}),
                "spec.containers[1].ports[0].containerPort",
            ),
            (json!({"name": 7}), "spec.containers[1].name"),
            (
                json!({"name": "b", "resources": {"requests": {"cpu": "1 core"}}}),
                "spec.containers[1].resources.requests.cpu",
            ),
            (
                json!({"name": "b", "env": [{"name": "A", "valueFrom": {"resourceFieldRef":
                    {"resource": "limits.cpu", "divisor": "x"}}}]}),
                "spec.containers[1].env[0].valueFrom.resourceFieldRef.divisor",
            ),
        ] {
            let found = misread(&template(second.clone()));
            assert_eq!(found.map(|(at, _)| at).as_deref(), Some(field), "{second}");
        }
        let good = json!({"name": "b", "resources": {"requests": {"cpu": 1, "memory": "1e3"}}});
        assert_eq!(misread(&template(good)), None);
    }

    #[test]
    fn quantities_are_compared_whatever_their_unit() {
        for (smaller, larger) in [
            (json!("500m"), json!(1)),
            (json!("1023Ki"), json!("1Mi")),
            (json!("1G"), json!("1Gi")),
            (json!("1e2"), json!("101")),
            (json!("0.1"), json!("101m")),
        ] {
            assert!(quantity(&smaller) < quantity(&larger), "{smaller} {larger}");
        }
        assert_eq!(quantity(&json!("1Gi")), quantity(&json!("1024Mi")));
        assert_eq!(quantity(&json!("2E3")), Some(2000.0));
        for none in ["", "m", "1Mb", "1 Gi", "one", "inf"] {
            assert_eq!(quantity(&json!(none)), None, "{none}");
        }
    }
}
