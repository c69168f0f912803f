//! About the pod template.

use serde_json::Value;

use super::super::{finding::Finding, scenario::Assumed};
use crate::api::RolloutSpec;

fn containers(spec: &RolloutSpec) -> impl Iterator<Item = (String, &Value)> {
    let all = spec
        .template
        .pointer("/spec/containers")
        .and_then(Value::as_array);
    let named = all.into_iter().flatten().enumerate();
    named.map(|(index, container)| (format!("spec.template.spec.containers[{index}]"), container))
}

/// The revision is named by the template: what changes behind a tag is no release.
pub(super) fn image(spec: &RolloutSpec, found: &mut Vec<Finding>) {
    for (field, container) in containers(spec) {
        let image = container["image"].as_str().unwrap_or_default();
        let last = image.rsplit('/').next().unwrap_or_default();
        let tag = last.split_once(':').map(|(_, tag)| tag);
        if !image.contains('@') && matches!(tag, None | Some("latest")) {
            found.push(Finding::warning(
                format!("{field}.image"),
                format!(
                    "{image} moves: a new image behind it is no new revision, so it goes out \
                     without steps, and an undo starts it again; name a version or a digest"
                ),
            ));
        }
    }
}

pub(super) fn probes(spec: &RolloutSpec, assumed: &Assumed, found: &mut Vec<Finding>) {
    let limit = spec.strategy.progress_deadline_seconds;
    for (field, container) in containers(spec) {
        if has_ports(container) && container["readinessProbe"].is_null() {
            found.push(Finding::warning(
                format!("{field}.readinessProbe"),
                "without it a pod counts as ready, and gets requests, as soon as its process has \
                 started; add one",
            ));
        }
        let probe = &container["startupProbe"];
        let number = |name: &str, otherwise| probe[name].as_i64().unwrap_or(otherwise);
        let permitted = number("initialDelaySeconds", 0)
            + number("periodSeconds", 10) * number("failureThreshold", 3);
        if !probe.is_null() && permitted > limit {
            found.push(Finding::warning(
                "spec.strategy.progressDeadlineSeconds",
                format!(
                    "{limit} s is less than the {permitted} s that {field}.startupProbe gives a \
                     start: slow starts would be undone; raise it above {permitted}"
                ),
            ));
        }
    }
    let startup = assumed.pull_seconds + assumed.startup_seconds;
    if startup >= limit {
        found.push(Finding::warning(
            "spec.strategy.progressDeadlineSeconds",
            format!(
                "pods need {startup} s to become ready, after {limit} s the release is undone: \
                 raise it to several times {startup}"
            ),
        ));
    }
}

fn has_ports(container: &Value) -> bool {
    container["ports"]
        .as_array()
        .is_some_and(|ports| !ports.is_empty())
}

pub(super) fn requests(spec: &RolloutSpec, found: &mut Vec<Finding>) {
    let without: Vec<_> = containers(spec)
        .filter(|(_, c)| c["resources"]["requests"].is_null() && c["resources"]["limits"].is_null())
        .filter_map(|(_, c)| c["name"].as_str())
        .collect();
    if !without.is_empty() {
        found.push(Finding::note(
            "spec.template.spec.containers",
            format!(
                "{} asks for no resources: the scheduler cannot tell whether old and new pods fit \
                 side by side; set resources.requests",
                without.join(", ")
            ),
        ));
    }
}
