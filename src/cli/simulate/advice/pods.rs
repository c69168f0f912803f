//! About the pod template.

use serde_json::Value;

use super::super::{finding::Finding, manifest::Documents, scenario::Assumed};
use crate::{
    api::{RolloutSpec, Selector, selector::template_labels},
    plan::course,
};

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
                    "{image} is a mutable tag: a new image behind it makes no new revision, so it \
                     is rolled out without steps, and an undo starts it again; use a version or a \
                     digest"
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

/// Pods of which a node takes one: with surge, a release needs a node that has none.
pub(super) fn one_a_node(spec: &RolloutSpec, found: &mut Vec<Finding>) {
    let surge = course::bounds(spec).ceiling - spec.replicas;
    if surge <= 0 {
        return;
    }
    let host_port = containers(spec).find_map(|(field, container)| {
        let ports = container["ports"].as_array().into_iter().flatten();
        let mut numbered = ports.enumerate();
        let (index, _) = numbered.find(|(_, port)| port["hostPort"].as_i64().is_some())?;
        Some(format!("{field}.ports[{index}].hostPort"))
    });
    let Some(field) = anti_affine(spec).or(host_port) else {
        return;
    };
    found.push(Finding::warning(
        field,
        format!(
            "no two of these pods fit on one node, and a release runs up to {surge} more than \
             spec.replicas: without that many free nodes the new pods find no place and the \
             release is undone. Where nodes are few, set strategy.maxSurge: 0 and \
             strategy.maxUnavailable: 1"
        ),
    ));
}

/// The required term that keeps the pods of the Rollout apart, node by node.
fn anti_affine(spec: &RolloutSpec) -> Option<String> {
    let labels = template_labels(&spec.template);
    let at = "affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution";
    let pointer = format!("/spec/{}", at.replace('.', "/"));
    let terms = spec.template.pointer(&pointer)?.as_array()?;
    let index = terms.iter().position(|term| {
        let selector = serde_json::from_value::<Selector>(term["labelSelector"].clone());
        term["topologyKey"] == "kubernetes.io/hostname"
            && selector.is_ok_and(|selector| selector.selects(&labels))
    })?;
    Some(format!("spec.template.spec.{at}[{index}]"))
}

/// Claims of the pods, each with its field, and what is known of whether several nodes can have it
/// at a time.
fn claims<'a>(
    spec: &'a RolloutSpec,
    documents: &'a Documents,
) -> impl Iterator<Item = (String, &'a str, Option<bool>)> {
    let volumes = spec.template.pointer("/spec/volumes");
    let volumes = volumes.and_then(Value::as_array).into_iter().flatten();
    volumes.enumerate().filter_map(|(index, volume)| {
        let claim = volume["persistentVolumeClaim"]["claimName"].as_str()?;
        let known = documents
            .all()
            .find(|d| d["kind"] == "PersistentVolumeClaim" && d["metadata"]["name"] == claim);
        let modes = known.and_then(|known| known["spec"]["accessModes"].as_array());
        let shared = ["ReadWriteMany", "ReadOnlyMany"];
        let is_shared = |modes: &Vec<Value>| modes.iter().any(|m| shared.iter().any(|s| m == s));
        let field = format!("spec.template.spec.volumes[{index}]");
        Some((field, claim, modes.map(is_shared)))
    })
}

/// Its pods have a disk that one node at a time can have.
pub(in crate::cli) fn has_disk_of_one_node(spec: &RolloutSpec, documents: &Documents) -> bool {
    claims(spec, documents).any(|(_, _, shared)| shared == Some(false))
}

/// Disks that one node at a time can have.
pub(super) fn disks(spec: &RolloutSpec, documents: &Documents, found: &mut Vec<Finding>) {
    let first = "strategy.type: Rolling, strategy.maxSurge: 0 and strategy.maxUnavailable: 1";
    if course::bounds(spec).ceiling <= spec.replicas {
        return;
    }
    for (field, claim, shared) in claims(spec, documents) {
        match shared {
            Some(true) => {}
            Some(false) => {
                let meanwhile = match spec.replicas {
                    1 => " (users are unserved until the new pod is ready)",
                    _ => "",
                };
                let message = format!(
                    "PersistentVolumeClaim {claim} is for one node (or pod) at a time, and old and \
                     new pods run side by side: a new pod on another node never starts, and the \
                     release is undone. Use accessMode ReadWriteMany, or let old pods go first with \
                     {first}{meanwhile}"
                );
                found.push(Finding::warning(field, message));
            }
            None => found.push(Finding::note(
                field,
                format!(
                    "old and new pods share PersistentVolumeClaim {claim}: if its accessMode is \
                     ReadWriteOnce, a new pod on another node never starts; then let old pods go \
                     first with {first}"
                ),
            )),
        }
    }
}
