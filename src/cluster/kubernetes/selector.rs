//! Label selectors: whose pods they select.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Expression, Selector, SelectorExt as _};

use crate::api::{self, rollout::Operator};

/// A Rollout's selector.
#[must_use]
pub fn from_api(selector: &api::Selector) -> Selector {
    let labels = selector.match_labels.clone().into_iter();
    let mut all: Selector = labels.collect();
    all.extend(selector.match_expressions.iter().map(|r| {
        let values = || r.values.iter().cloned().collect();
        match r.operator {
            Operator::In => Expression::In(r.key.clone(), values()),
            Operator::NotIn => Expression::NotIn(r.key.clone(), values()),
            Operator::Exists => Expression::Exists(r.key.clone()),
            Operator::DoesNotExist => Expression::DoesNotExist(r.key.clone()),
        }
    }));
    all
}

/// A Deployment's selector; `None` for one that cannot be read.
#[must_use]
pub fn from_object(selector: LabelSelector) -> Option<Selector> {
    selector.try_into().ok()
}

/// Whether a pod with these labels is selected. An empty selector selects nothing: the API server
/// takes none in a Deployment.
#[must_use]
pub fn selects(selector: &Selector, labels: &BTreeMap<String, String>) -> bool {
    !selector.selects_all() && selector.matches(labels)
}
