//! Label selectors: which pods they select.

use std::{collections::BTreeMap, fmt};

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A label selector.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.matchLabels) && size(self.matchLabels) > 0) || (has(self.matchExpressions) && self.matchExpressions.exists(e, e.operator in ['In', 'Exists']))")
        .message("spec.selector must name a label that its pods have: without one it would match pods of others, and of Jobs; give matchLabels")
)]
pub struct Selector {
    /// Labels that a pod must have with these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16), schema_with = "super::crd::labels")]
    pub match_labels: BTreeMap<String, String>,

    /// More conditions; all of them must hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub match_expressions: Vec<Requirement>,
}

/// One condition of a selector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Requirement {
    /// Name of the label.
    #[schemars(length(min = 1, max = 316))]
    pub key: String,
    /// How the label's value is compared.
    pub operator: Operator,
    /// Values for `In` and `NotIn`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 63)))]
    pub values: Vec<String>,
}

/// How a label is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Operator {
    /// The value is one of `values`.
    In,
    /// The value is none of `values`, or the label is absent.
    NotIn,
    /// The label is present.
    Exists,
    /// The label is absent.
    DoesNotExist,
}

impl Selector {
    /// Whether it selects pods with these labels. An empty one selects nothing: the API server
    /// takes none in a Deployment.
    #[must_use]
    pub(crate) fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        let mut equal = self.match_labels.iter();
        let mut further = self.match_expressions.iter();
        let is_empty = self.match_labels.is_empty() && self.match_expressions.is_empty();
        !is_empty
            && equal.all(|(key, value)| labels.get(key) == Some(value))
            && further.all(|requirement| requirement.is_met_by(labels))
    }

    /// Whether it looks at this label.
    #[must_use]
    pub(crate) fn names(&self, key: &str) -> bool {
        let mut further = self.match_expressions.iter();
        self.match_labels.contains_key(key) || further.any(|of| of.key == key)
    }
}

impl Requirement {
    fn is_met_by(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        match self.operator {
            Operator::In => value.is_some_and(|v| self.values.contains(v)),
            Operator::NotIn => value.is_none_or(|v| !self.values.contains(v)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

/// As `kubectl get -l` takes it.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let equal = self.match_labels.iter();
        let equal = equal.map(|(key, value)| format!("{key}={value}"));
        let further = self.match_expressions.iter().map(ToString::to_string);
        f.write_str(&equal.chain(further).collect::<Vec<_>>().join(","))
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, values) = (&self.key, self.values.join(","));
        match self.operator {
            Operator::In => write!(f, "{key} in ({values})"),
            Operator::NotIn => write!(f, "{key} notin ({values})"),
            Operator::Exists => f.write_str(key),
            Operator::DoesNotExist => write!(f, "!{key}"),
        }
    }
}

/// Labels of a pod template.
#[must_use]
pub(crate) fn template_labels(template: &Value) -> BTreeMap<String, String> {
    let labels = template
        .pointer("/metadata/labels")
        .and_then(Value::as_object);
    labels
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn selector(value: Value) -> Selector {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_selector_selects_what_every_part_of_it_does() {
        let selects = |labels: Value, operator: &str, values: &[&str]| {
            let selector = selector(json!({"matchLabels": {"app": "shop"}, "matchExpressions": [
                {"key": "zone", "operator": operator, "values": values},
            ]}));
            selector.selects(&template_labels(&json!({"metadata": {"labels": labels}})))
        };
        let (here, there) = (json!({"app": "shop", "zone": "a"}), json!({"app": "shop"}));
        for (operator, values, in_a, in_none) in [
            ("In", &["a", "b"][..], true, false),
            ("In", &["b"], false, false),
            ("NotIn", &["a"], false, true),
            ("NotIn", &["b"], true, true),
            ("Exists", &[], true, false),
            ("DoesNotExist", &[], false, true),
        ] {
            assert_eq!(selects(here.clone(), operator, values), in_a, "{operator}");
            assert_eq!(
                selects(there.clone(), operator, values),
                in_none,
                "{operator}"
            );
        }
        assert!(!selects(json!({"app": "cart", "zone": "a"}), "Exists", &[]));
        assert!(!selects(json!({"zone": "a"}), "Exists", &[]));
    }

    #[test]
    fn an_empty_selector_selects_nothing() {
        assert!(!Selector::default().selects(&BTreeMap::from([("app".into(), "shop".into())])));
    }
}
