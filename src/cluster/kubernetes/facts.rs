//! Objects as the API server tells them, made into facts.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        batch::v1::{Job, PodFailurePolicyOnExitCodesRequirement},
        core::v1::{ConfigMap, ContainerStatus, Pod, Service, ServicePort, ServiceSpec},
    },
    apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta},
};

use serde_json::{Value, json};

use super::ours::{self, label};
use crate::{
    api::{Selector, keys, text::bounded},
    plan::{
        adopting,
        facts::{
            Adopted, Base, ChildFacts, DeploymentFacts, JobEnd, JobFacts, PodFacts, Reach,
            ServiceFacts,
        },
        flags::file::{ConfigMapFacts, FILE},
        job::pod,
        revision::sha256,
    },
};

/// Set by the Deployment controller: the number of the newest ReplicaSet. A Deployment whose
/// template is never changed stays at 1.
const DEPLOYMENT_REVISION: &str = "deployment.kubernetes.io/revision";
const FIRST: &str = "1";

/// Why a pod is not ready whose containers are: one of its readiness gates is shut.
const NOT_LET_THROUGH: &str = "ReadinessGatesNotReady";

/// A Deployment.
#[must_use]
pub fn child(object: &Deployment) -> ChildFacts {
    let metadata = &object.metadata;
    let status = object.status.as_ref();
    // The API server defaults `replicas` to 1.
    let replicas = object.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1);
    let observed = status.and_then(|s| s.observed_generation);
    let current = observed >= metadata.generation;
    let number = annotation(metadata, DEPLOYMENT_REVISION);
    let known = annotation(metadata, keys::TEMPLATE);
    // Once the controller has seen it and counts one, it is as it was made.
    let certain = current && number == Some(FIRST) && known.is_none();
    let changed = number.is_some_and(|number| number != FIRST);
    ChildFacts {
        base: base(metadata),
        revision: label(metadata, keys::REVISION),
        owner_uid: owner(metadata),
        epoch: epoch(metadata),
        replicas,
        possible: (replicas, replicas),
        current,
        status_replicas: status.and_then(|s| s.replicas).unwrap_or(0),
        available: status.and_then(|s| s.available_replicas).unwrap_or(0),
        adopted: None,
        edited: changed && known.is_none_or(|known| known != template_hash(object)),
        template: certain.then(|| template_hash(object).into()),
        problem: child_problem(object),
        deleting: metadata.deletion_timestamp.is_some(),
    }
}

/// A Deployment of somebody else: what is Stepgate's of it stands in `managedFields`.
#[must_use]
pub fn foreign(object: &Deployment) -> ChildFacts {
    let metadata = &object.metadata;
    let writers = || {
        metadata
            .managed_fields
            .iter()
            .flatten()
            .filter(owns_replicas)
    };
    let name = |entry: &ManagedFieldsEntry| entry.manager.clone().unwrap_or_default();
    let last = writers().max_by_key(|entry| entry.time.clone());
    let epochs = writers().filter_map(|entry| epoch_of_manager(&name(entry)));
    let epochs: Vec<i64> = epochs.collect();
    let facts = child(object);
    ChildFacts {
        revision: adopting::revision_of(&facts.base.name),
        epoch: epochs.iter().copied().max(),
        adopted: Some(Adopted {
            generation: metadata.generation.unwrap_or(0),
            writer: last.map(|entry| bounded(&name(entry))),
            epochs,
        }),
        edited: false,
        template: None,
        ..facts
    }
}

/// A hash of its pods' template, but for what kubectl writes there so that they are made anew.
fn template_hash(object: &Deployment) -> String {
    let template = object.spec.as_ref().map(|spec| spec.template.clone());
    let mut template = template.unwrap_or_default();
    if let Some(metadata) = &mut template.metadata
        && let Some(annotations) = &mut metadata.annotations
    {
        annotations.remove(keys::RESTARTED_AT);
        metadata.annotations.take_if(|left| left.is_empty());
    }
    sha256(&serde_json::to_vec(&template).unwrap_or_default())
}

fn owns_replicas(entry: &&ManagedFieldsEntry) -> bool {
    let fields = entry.fields_v1.as_ref();
    fields.is_some_and(|fields| !fields.0["f:spec"]["f:replicas"].is_null())
}

/// The manager by whose name the replicas of an adopted Deployment are applied. One that settles has
/// another, so that it always changes something.
#[must_use]
pub(crate) fn manager(epoch: i64, settles: Option<&str>) -> String {
    match settles {
        None => format!("{}-{epoch}", keys::FIELD_MANAGER),
        Some(version) => format!("{}-{epoch}-{version}", keys::FIELD_MANAGER),
    }
}

fn epoch_of_manager(manager: &str) -> Option<i64> {
    let rest = manager
        .strip_prefix(keys::FIELD_MANAGER)?
        .strip_prefix('-')?;
    rest.split('-').next()?.parse().ok()
}

/// The same, with what is asked of it before it is adopted.
#[must_use]
pub fn deployment(object: &Deployment) -> DeploymentFacts {
    let metadata = &object.metadata;
    let status = object.status.as_ref();
    let child = foreign(object);
    let mut owners = metadata.owner_references.iter().flatten();
    let owner = owners.find(|owner| owner.controller == Some(true));
    let owner = owner.map(|owner| format!("{} {}", owner.kind, owner.name));
    let labels = metadata.labels.as_ref();
    let updated = status.and_then(|s| s.updated_replicas).unwrap_or(0);
    DeploymentFacts {
        selector: selector(object),
        labels: template_labels(object),
        owner,
        labelled: labels.and_then(|labels| labels.get(keys::ROLLOUT).cloned()),
        paused: object.spec.as_ref().and_then(|s| s.paused) == Some(true),
        rolling: updated != child.status_replicas,
        child,
    }
}

fn child_problem(object: &Deployment) -> Option<String> {
    let conditions = object.status.as_ref()?.conditions.as_deref()?;
    let bad = conditions.iter().find(|c| match c.type_.as_str() {
        "ReplicaFailure" => c.status == "True",
        "Progressing" => {
            c.status == "False" && c.reason.as_deref() == Some("ReplicaSetCreateError")
        }
        _ => false,
    })?;
    let message = bad.message.clone().filter(|m| !m.is_empty());
    let message = message.or_else(|| bad.reason.clone());
    Some(bounded(&message.unwrap_or_default()))
}

/// A pod.
#[must_use]
pub fn pod(object: &Pod) -> PodFacts {
    let metadata = &object.metadata;
    let status = object.status.as_ref();
    let conditions = status.and_then(|s| s.conditions.as_deref());
    let condition = |kind: &str| conditions?.iter().find(|c| c.type_ == kind);
    let init = || {
        status
            .into_iter()
            .flat_map(|s| s.init_container_statuses.iter().flatten())
    };
    let sidecars = || init().filter(|c| is_sidecar(object, &c.name));
    let own = || {
        status
            .into_iter()
            .flat_map(|s| s.container_statuses.iter().flatten())
    };
    let lasting = || own().chain(sidecars());
    let since = |kind: &str, status: &str| {
        let found = condition(kind).filter(|c| c.status == status)?;
        Some(found.last_transition_time.as_ref()?.0)
    };
    // At first a pod is not ready from before its containers start. One that stops being ready
    // later has been ready; who says so is a container that runs, and not its node.
    let unready = |c: &&ContainerStatus| !c.ready;
    let unready_since = lasting().filter(unready).filter_map(runs_since).min();
    let lost = since("Ready", "False").filter(|at| unready_since.is_some_and(|s| s < *at));
    // Its kubelet would have said this of the containers too. A gate of somebody else may say it
    // of the pod alone.
    let gated = condition("Ready").and_then(|c| c.reason.as_deref()) == Some(NOT_LET_THROUGH);
    let whole = since("ContainersReady", "True").filter(|_| !gated);
    let silent = whole.and_then(|_| since("Ready", "False"));
    let ready_since = since("Ready", "True");
    let node = object.spec.as_ref().and_then(|s| s.node_name.clone());
    let over = status.and_then(|s| s.phase.as_deref());
    let over = matches!(over, Some("Failed" | "Succeeded"));
    PodFacts {
        name: metadata.name.clone().unwrap_or_default(),
        revision: label(metadata, keys::REVISION),
        created: created(metadata),
        placed: since("PodScheduled", "True"),
        ready_since,
        lost,
        silent,
        node: node.filter(|_| ready_since.is_none()),
        restarts: lasting().map(|c| c.restart_count).sum(),
        ended: lasting().filter_map(last_end).max(),
        waiting: lasting().find_map(waiting).or_else(|| {
            // As kubectl has it: one that tries until something is there is no crash loop.
            let (reason, words) = init().find_map(waiting)?;
            Some((format!("Init:{reason}"), words))
        }),
        unschedulable: condition("PodScheduled")
            .filter(|c| c.status == "False" && c.reason.as_deref() == Some("Unschedulable"))
            .map(|c| bounded(c.message.as_deref().unwrap_or_default())),
        deleting: metadata.deletion_timestamp.is_some() || over,
        ends_by: metadata
            .deletion_timestamp
            .as_ref()
            .filter(|_| !over)
            .map(|t| t.0),
    }
}

/// Whether this init container is one that runs beside the others, and is not to end.
fn is_sidecar(object: &Pod, name: &str) -> bool {
    let spec = object.spec.as_ref();
    let mut init = spec
        .into_iter()
        .flat_map(|s| s.init_containers.iter().flatten());
    init.any(|c| c.name == name && c.restart_policy.as_deref() == Some("Always"))
}

/// When a container last ended, whether or not it runs again.
fn last_end(container: &ContainerStatus) -> Option<Timestamp> {
    let states = [&container.state, &container.last_state];
    let ends = states.into_iter().filter_map(|state| {
        let terminated = state.as_ref()?.terminated.as_ref()?;
        Some(terminated.finished_at.as_ref()?.0)
    });
    ends.max()
}

/// Since when a container runs.
fn runs_since(container: &ContainerStatus) -> Option<Timestamp> {
    let running = container.state.as_ref()?.running.as_ref()?;
    Some(running.started_at.as_ref()?.0)
}

/// Why a container waits, unless that is how every container begins.
fn waiting(container: &ContainerStatus) -> Option<(String, String)> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.clone().filter(|r| !r.is_empty())?;
    if matches!(reason.as_str(), "ContainerCreating" | "PodInitializing") {
        return None;
    }
    let message = waiting.message.as_deref().unwrap_or_default();
    Some((bounded(&reason), bounded(message)))
}

/// Whether the pod of a Job was killed; and if so, for want of memory.
#[must_use]
pub fn killed(object: &Pod) -> Option<bool> {
    let status = object.status.as_ref()?;
    let lists = [&status.init_container_statuses, &status.container_statuses];
    let all = lists.into_iter().flatten().flatten();
    let ends = all.filter_map(|c| c.state.as_ref()?.terminated.as_ref());
    let mut killed = ends.filter(|end| end.exit_code == pod::KILLED);
    let reason = killed.next()?.reason.as_deref();
    Some(reason == Some("OOMKilled"))
}

/// A Job.
#[must_use]
pub fn job(object: &Job) -> JobFacts {
    let metadata = &object.metadata;
    let status = object.status.as_ref();
    let count = |n: Option<i32>| n.unwrap_or(0);
    JobFacts {
        base: base(metadata),
        rollout: label(metadata, keys::ROLLOUT),
        revision: label(metadata, keys::REVISION),
        test: !label(metadata, keys::TEST).is_empty(),
        owner_uid: owner(metadata),
        epoch: epoch(metadata),
        suspended: object.spec.as_ref().and_then(|s| s.suspend) == Some(true),
        started: status.and_then(|s| s.start_time.as_ref()).map(|t| t.0),
        runs: status.is_some_and(|s| count(s.ready) > 0),
        live_pods: status.map_or(0, |s| count(s.active) + count(s.terminating)),
        failed_pods: status.map_or(0, |s| count(s.failed)),
        ended: job_end(object),
        deleting: metadata.deletion_timestamp.is_some(),
    }
}

fn job_end(object: &Job) -> Option<JobEnd> {
    let conditions = object.status.as_ref()?.conditions.as_deref()?;
    let end = conditions
        .iter()
        .find(|c| c.status == "True" && matches!(c.type_.as_str(), "Complete" | "Failed"))?;
    let words = [end.reason.as_deref(), end.message.as_deref()];
    let words: Vec<&str> = words
        .into_iter()
        .flatten()
        .filter(|w| !w.is_empty())
        .collect();
    let at = end.last_transition_time.as_ref();
    // Any other exit ends a Job that has this policy at once, for another reason.
    let policy = object
        .spec
        .as_ref()
        .and_then(|s| s.pod_failure_policy.as_ref());
    let ran_out_of_tries = end.reason.as_deref() == Some("BackoffLimitExceeded");
    let rules = policy.map_or(&[][..], |policy| &policy.rules);
    let said = end.message.as_deref().unwrap_or_default();
    // By a rule of its own the runner of SQL says that nothing was applied, and so does what proves
    // something before a contract begins.
    let met = said.rsplit_once(" rule at index ").filter(|_| {
        end.reason.as_deref() == Some("PodFailurePolicy") && said.contains("matching FailJob")
    });
    let met = met.and_then(|(_, index)| rules.get(index.parse::<usize>().ok()?));
    let met = met.and_then(|rule| rule.on_exit_codes.as_ref());
    let refused = met.is_some_and(|codes| is_word(codes) || is_proof(codes));
    let speaks = met.is_some_and(|codes| codes.container_name.as_deref() != Some(pod::VERIFY));
    let why = pod::WHY.into_iter().filter(|(code, _)| {
        let told = said.contains(&format!("exit code {code} "));
        refused && told && (speaks || *code == pod::PROOF_FAILED)
    });
    Some(JobEnd {
        succeeded: end.type_ == "Complete",
        refusal: why.map(|(_, why)| why).next(),
        sql: rules
            .iter()
            .any(|r| r.on_exit_codes.as_ref().is_some_and(is_word)),
        nothing_applied: (ran_out_of_tries && policy.is_some()) || refused,
        message: bounded(&words.join(": ")),
        at: at.map_or(Timestamp::UNIX_EPOCH, |t| t.0),
    })
}

/// Whether these are the codes by which the runner of SQL says that it has applied nothing.
fn is_word(codes: &PodFailurePolicyOnExitCodesRequirement) -> bool {
    codes.operator == "In" && codes.values == pod::REFUSALS
}

/// Whether these are of a container that proves something before a contract.
fn is_proof(codes: &PodFailurePolicyOnExitCodesRequirement) -> bool {
    codes.container_name.as_deref().is_some_and(pod::is_proof)
}

/// A Service.
#[must_use]
pub fn service(object: &Service) -> ServiceFacts {
    let metadata = &object.metadata;
    let spec = object.spec.clone().unwrap_or_default();
    let reach = if spec.type_.as_deref() == Some("ExternalName") {
        Reach::ExternalName
    } else if spec.cluster_ip.as_deref() == Some("None") {
        Reach::Headless
    } else {
        Reach::Address
    };
    let ours = ours::is_service(object);
    ServiceFacts {
        base: base(metadata),
        rollout: ours.then(|| label(metadata, keys::ROLLOUT)),
        owner_uid: owner(metadata),
        epoch: epoch(metadata),
        reach,
        ports: Arc::new(ports(&spec)),
        selector: spec.selector.unwrap_or_default(),
        not_for_users: annotation(metadata, keys::NOT_FOR_USERS) == Some("true"),
        uncertain: false,
        deleting: metadata.deletion_timestamp.is_some(),
    }
}

/// A ConfigMap that holds flags, or is to.
#[must_use]
pub fn config_map(object: ConfigMap) -> ConfigMapFacts {
    let metadata = &object.metadata;
    let mut data = object.data.unwrap_or_default();
    let mut notes = metadata.annotations.clone().unwrap_or_default();
    let rollout = label(metadata, keys::ROLLOUT);
    ConfigMapFacts {
        base: base(metadata),
        rollout: (!rollout.is_empty()).then_some(rollout),
        owner_uid: owner(metadata),
        deleting: metadata.deletion_timestamp.is_some(),
        file: data.remove(FILE),
        notes: notes.remove(keys::FLAGS),
    }
}

/// What is copied of a Service: its ports, but for those of nodes, and its session affinity.
fn ports(spec: &ServiceSpec) -> Value {
    let ports: Vec<Value> = spec
        .ports
        .iter()
        .flatten()
        .map(|port| {
            let port = ServicePort {
                node_port: None,
                ..port.clone()
            };
            serde_json::to_value(port).unwrap_or_default()
        })
        .collect();
    let mut copied = json!({"ports": ports});
    if let Some(affinity) = &spec.session_affinity {
        copied["sessionAffinity"] = json!(affinity);
    }
    if let Some(config) = &spec.session_affinity_config {
        copied["sessionAffinityConfig"] = json!(config);
    }
    copied
}

/// Labels of a Deployment's pods.
#[must_use]
pub(crate) fn template_labels(object: &Deployment) -> BTreeMap<String, String> {
    let template = object.spec.as_ref().map(|s| &s.template);
    let metadata = template.and_then(|t| t.metadata.as_ref());
    metadata.and_then(|m| m.labels.clone()).unwrap_or_default()
}

/// A Deployment's selector; `None` for one that cannot be read.
#[must_use]
pub fn selector(object: &Deployment) -> Option<Selector> {
    let selector = serde_json::to_value(&object.spec.as_ref()?.selector).ok()?;
    serde_json::from_value(selector).ok()
}

pub(super) fn base(metadata: &ObjectMeta) -> Base {
    Base {
        name: metadata.name.clone().unwrap_or_default(),
        uid: metadata.uid.clone().unwrap_or_default(),
        resource_version: metadata.resource_version.clone().unwrap_or_default(),
    }
}

pub(super) fn created(metadata: &ObjectMeta) -> Timestamp {
    let created = metadata.creation_timestamp.as_ref();
    created.map_or(Timestamp::UNIX_EPOCH, |t| t.0)
}

pub(super) fn annotation<'a>(metadata: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    let annotations = metadata.annotations.as_ref()?;
    annotations.get(key).map(String::as_str)
}

/// The uid of the controlling owner, else of the first.
pub(super) fn owner(metadata: &ObjectMeta) -> Option<String> {
    let owners = metadata.owner_references.as_deref()?;
    let controller = owners.iter().find(|o| o.controller == Some(true));
    controller.or(owners.first()).map(|o| o.uid.clone())
}

fn epoch(metadata: &ObjectMeta) -> Option<i64> {
    let value = metadata.labels.as_ref()?.get(keys::EPOCH)?;
    value.parse().ok()
}

/// The annotations that carry commands. The others are nobody's business here, and
/// `last-applied-configuration` alone is as large as the object.
pub(super) fn commands(metadata: &ObjectMeta) -> Arc<BTreeMap<String, String>> {
    let annotations = metadata.annotations.iter().flatten();
    let ours = annotations.filter(|(key, _)| key.starts_with(keys::PREFIX));
    Arc::new(ours.map(|(k, v)| (k.clone(), v.clone())).collect())
}

#[cfg(test)]
mod tests;
