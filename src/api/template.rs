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
    each_quantity(&mut template.clone(), &mut |path, value| {
        if found.is_none() && quantity(value).is_none() {
            let words = format!("{value} is no quantity: write a number, as 0.5, 500m or 128Mi");
            found = Some((path.to_owned(), words));
        }
    });
    found
}

/// What a member of a template is to quantities.
enum Holds {
    /// It is one itself.
    One,
    /// They are its members.
    Members,
    /// They may lie deeper.
    Deeper,
    /// Its members have names of the user's choice, and are texts.
    Texts,
}

impl Holds {
    /// By its name, and by that of what it is a member of: a label may have any name.
    fn of(parent: &str, name: &str) -> Self {
        match (parent, name) {
            ("resources", "limits" | "requests") | ("spec", "overhead") => Self::Members,
            ("emptyDir", "sizeLimit") | ("resourceFieldRef", "divisor") => Self::One,
            (
                _,
                "annotations" | "labels" | "nodeSelector" | "matchLabels" | "volumeAttributes"
                | "options",
            ) => Self::Texts,
            _ => Self::Deeper,
        }
    }
}

/// Visits each quantity of a template with its path.
fn each_quantity(template: &mut Value, visit: &mut impl FnMut(&str, &mut Value)) {
    below(template, "", &mut String::new(), visit);
}

fn below(value: &mut Value, at: &str, path: &mut String, visit: &mut impl FnMut(&str, &mut Value)) {
    let end = path.len();
    match value {
        Value::Object(members) => {
            for (name, inner) in members.iter_mut().filter(|(_, inner)| !inner.is_null()) {
                let dot = if path.is_empty() { "" } else { "." };
                path.push_str(&format!("{dot}{name}"));
                match (Holds::of(at, name), inner) {
                    (Holds::Members, Value::Object(quantities)) => {
                        for (name, value) in quantities.iter_mut().filter(|(_, v)| !v.is_null()) {
                            visit(&format!("{path}.{name}"), value);
                        }
                    }
                    (Holds::One, inner) => visit(path, inner),
                    (Holds::Texts, _) => {}
                    (_, inner) => below(inner, name, path, visit),
                }
                path.truncate(end);
            }
        }
        Value::Array(items) => {
            for (index, inner) in items.iter_mut().enumerate() {
                path.push_str(&format!("[{index}]"));
                below(inner, at, path, visit);
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
    // A quantity may be written as a number; the API server reads both.
    each_quantity(&mut template, &mut |_, value| {
        if value.is_number() {
            *value = Value::String(value.to_string());
        }
    });
    serde_path_to_error::deserialize(&template)
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
    fn names_of_the_users_choice_are_no_quantities() {
        let names = json!({"divisor": "seven", "sizeLimit": "large", "limits": "none", "app": "a"});
        let spec = json!({
            "containers": [{"name": "a", "image": "a:1"}],
            "nodeSelector": names,
            "overhead": {"cpu": 1},
            "volumes": [
                {"name": "a", "emptyDir": {"sizeLimit": 5}},
                {"name": "b", "csi": {"driver": "d", "volumeAttributes": names}},
                {"name": "c", "ephemeral": {"volumeClaimTemplate": {
                    "metadata": {"labels": names},
                    "spec": {"resources": {"requests": {"storage": 1_000_000}}},
                }}},
            ],
        });
        let mut good = json!({"metadata": {"labels": names, "annotations": names}, "spec": spec});
        assert_eq!(misread(&good), None);
        // A label is a text, whatever it is called.
        good["spec"]["nodeSelector"] = json!({"storage": 5, "divisor": 7});
        let (field, _) = misread(&good).unwrap();
        assert!(field.starts_with("spec.nodeSelector"), "{field}");
        good["spec"]["nodeSelector"] = names;
        good["spec"]["volumes"][0]["emptyDir"]["sizeLimit"] = json!("large");
        let (field, _) = misread(&good).unwrap();
        assert_eq!(field, "spec.volumes[0].emptyDir.sizeLimit");
        good["spec"]["volumes"][0] = json!({"name": "a", "emptyDir": {}});
        let claim = "/spec/volumes/2/ephemeral/volumeClaimTemplate/spec/resources/requests/storage";
        *good.pointer_mut(claim).unwrap() = json!("1 GB");
        let (field, _) = misread(&good).unwrap();
        let claim = "spec.volumes[2].ephemeral.volumeClaimTemplate.spec.resources.requests.storage";
        assert_eq!(field, claim);
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
