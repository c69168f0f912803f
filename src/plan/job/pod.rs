//! The pod of a Job: what it takes over of the Rollout's own pods, by one rule.
//!
//! | | command | sql |
//! |---|---|---|
//! | labels | those with a prefix, but for the selector's, Kubernetes' and deploy tools'; and `schema.job.labels` | the same |
//! | annotations | all, and `schema.job.annotations` | `schema.job.annotations` |
//! | containers | the command's; native sidecars; what `keepContainers` names | the runner; what `keepContainers` names |
//! | the rest | all | ServiceAccount, pull secrets, where it may be placed, priority, DNS |

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::api::{
    Selector,
    database::SqlRefusal,
    schema::{JobPods, SchemaSpec},
};

/// The exit code by which a command says that it has applied nothing (`EX_TEMPFAIL`).
pub(crate) const NOTHING_APPLIED: i32 = 75;

/// The exit code by which Stepgate's own runner says that nothing was applied, and that trying again
/// would not help.
pub const REFUSED: i32 = 64;

/// The same, where the rows that a backfill should have filled are not.
pub(crate) const PROOF_FAILED: i32 = 65;

/// The same, where the ledger disagrees with what it is told.
pub(crate) const DISAGREES: i32 = 66;

/// All exit codes by which it says that, in the order in which the API server wants them.
pub(crate) const REFUSALS: [i32; 3] = [REFUSED, PROOF_FAILED, DISAGREES];

/// Those that say why.
pub(crate) const WHY: [(i32, SqlRefusal); 2] = [
    (PROOF_FAILED, SqlRefusal::ProofFailed),
    (DISAGREES, SqlRefusal::RecordDisagrees),
];

/// The exit code by which it says that it was told to end (`SIGTERM`): its pod was deleted, or its
/// node goes away. Another pod goes on.
const STOPPED: i32 = 76;

/// The exit code of a container that was killed (`SIGKILL`), for want of memory too.
pub(crate) const KILLED: i32 = 137;

/// The container in which the user's command proves that every row is filled in, before anything of
/// a contract runs.
pub(crate) const VERIFY: &str = "stepgate-verify";

/// The one in which Stepgate's own runner counts them, where it does not run the contract itself.
pub(crate) const PROOF: &str = "stepgate-proof";

/// Prefixes of labels that mean something to Kubernetes, or to a tool that deploys, on the object
/// that carries them.
const FOREIGN: [&str; 6] = [
    "kubernetes.io",
    "k8s.io",
    "helm.sh",
    "argoproj.io",
    "fluxcd.io",
    "stepgate.io",
];

/// What the pod of a phase is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::plan) enum Work {
    /// A command in the revision's own pod.
    Command,
    /// A pod template as it is written.
    Template,
    /// Files and batches, in Stepgate's own runner.
    Sql,
}

/// Every end of the command but [`NOTHING_APPLIED`] ends the Job: how far it came is unknown then.
/// So it does when its node goes away before it has said that. A pod whose command never ran may be
/// made again.
///
/// Stepgate's own runner says more ([`REFUSALS`]), and its ledger and its lock let another pod go on
/// where one was lost with its node, deleted, or killed.
///
/// What proves that a contract may run ends before that begins, so whatever it says, nothing was
/// applied. It comes first, as a rule for all containers would have its ends too.
pub(in crate::plan) fn failure_policy(template: &Value, work: Work) -> Value {
    let of = |name: Option<&str>, action: &str, operator: &str, codes: &[i32]| {
        let mut exits = json!({"operator": operator, "values": codes});
        if let Some(name) = name {
            exits["containerName"] = json!(name);
        }
        json!({"action": action, "onExitCodes": exits})
    };
    let main = container_of(template, work);
    let on = |action: &str, operator: &str, codes: &[i32]| of(main, action, operator, codes);
    let lost = |action: &str| {
        json!({
            "action": action,
            "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
        })
    };
    let mut rules = Vec::new();
    for name in proofs_in(template) {
        let of =
            |action: &str, operator: &str, codes: &[i32]| of(Some(name), action, operator, codes);
        if name == PROOF {
            rules.push(of("Ignore", "In", &[STOPPED]));
        }
        rules.push(of("FailJob", "NotIn", &[NOTHING_APPLIED]));
        rules.push(of("Count", "In", &[NOTHING_APPLIED]));
    }
    rules.extend(match work {
        Work::Sql => vec![
            // These codes are how this end is told from others.
            on("FailJob", "In", &REFUSALS),
            lost("Ignore"),
            on("Ignore", "In", &[STOPPED, KILLED]),
            on("FailJob", "NotIn", &[NOTHING_APPLIED, STOPPED, KILLED]),
        ],
        // What the command says of itself holds also where its node goes away.
        Work::Command | Work::Template => vec![
            on("FailJob", "NotIn", &[NOTHING_APPLIED]),
            on("Count", "In", &[NOTHING_APPLIED]),
            lost("FailJob"),
        ],
    });
    json!({"rules": rules})
}

/// Containers of a pod that prove something before a contract, and change nothing.
fn proofs_in(template: &Value) -> impl Iterator<Item = &str> {
    let init = template.pointer("/spec/initContainers");
    let init = init.and_then(Value::as_array).into_iter().flatten();
    let names = init.filter_map(|container| container["name"].as_str());
    names.filter(|name| is_proof(name))
}

/// Whether a container of this name proves something before a contract.
#[must_use]
pub(crate) fn is_proof(name: &str) -> bool {
    [VERIFY, PROOF].contains(&name)
}

/// The container whose exit codes count; none where those of every container do: in a template of
/// several it is not known which of them changes the database.
fn container_of(template: &Value, work: Work) -> Option<&str> {
    let list = |field: &str| {
        let list = template.pointer(field).and_then(Value::as_array);
        list.into_iter().flatten()
    };
    let ends = |c: &&Value| {
        c["restartPolicy"] != json!("Always") && !c["name"].as_str().is_some_and(is_proof)
    };
    let first = list("/spec/containers").next()?;
    let others =
        list("/spec/containers").count() - 1 + list("/spec/initContainers").filter(ends).count();
    if work == Work::Template && others > 0 {
        return None;
    }
    first["name"].as_str()
}

/// The revision's own pod, made to run one command to its end: nothing that serves, probes or
/// hooks, and no label by which it could become an endpoint.
pub(in crate::plan) fn of_command(
    (template, selector): (&Value, &Selector),
    container: Option<&str>,
    command: &[String],
    job: &JobPods,
) -> Option<Value> {
    let mut pod = template.get("spec")?.clone();
    let container = command_container(template, container, command)?;
    let kept = kept_containers(template, job, true);
    pod["containers"] = json!([container]);
    set_containers(&mut pod, kept);
    if let Some(name) = &job.service_account_name {
        set_account(&mut pod, name);
    }
    let annotations = template.pointer("/metadata/annotations");
    let annotations = annotations.and_then(Value::as_object).cloned();
    Some(json!({
        "metadata": {
            "labels": labels(template, selector, job),
            "annotations": with(annotations.unwrap_or_default(), job),
        },
        "spec": pod,
    }))
}

/// A container of the revision's pods, made to run one command to its end.
pub(in crate::plan) fn command_container(
    template: &Value,
    name: Option<&str>,
    command: &[String],
) -> Option<Value> {
    let containers = template.pointer("/spec/containers")?.as_array()?;
    let mut container = match name {
        Some(name) => containers.iter().find(|c| c["name"] == json!(name))?,
        None => containers.first()?,
    }
    .clone();
    let serving = [
        "args",
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
        "ports",
        "lifecycle",
    ];
    if let Some(fields) = container.as_object_mut() {
        fields.retain(|field, _| !serving.contains(&field.as_str()));
        fields.insert("command".into(), json!(command));
    }
    Some(container)
}

fn with(mut annotations: Map<String, Value>, job: &JobPods) -> Map<String, Value> {
    let own = job.annotations.iter();
    annotations.extend(own.map(|(key, value)| (key.clone(), json!(value))));
    annotations
}

fn set_account(pod: &mut Value, name: &str) {
    if let Some(fields) = pod.as_object_mut() {
        // Its former name, which must not contradict it.
        fields.remove("serviceAccount");
        fields.insert("serviceAccountName".into(), json!(name));
    }
}

fn set_containers(pod: &mut Value, init: Vec<Value>) {
    let Some(fields) = pod.as_object_mut() else {
        return;
    };
    if init.is_empty() {
        fields.remove("initContainers");
    } else {
        fields.insert("initContainers".into(), json!(init));
    }
}

/// Labels of the Rollout's pods that its Jobs' have too, and their own. A Service selects by plain
/// names or by those of Kubernetes, as a rule; who lets a pod into a network or gives it an identity
/// looks at a label with a prefix of his own.
fn labels(template: &Value, selector: &Selector, job: &JobPods) -> Map<String, Value> {
    let given = template.pointer("/metadata/labels");
    let given = given.and_then(Value::as_object).into_iter().flatten();
    let mut labels: Map<_, _> = given
        .filter(|(key, _)| is_kept(key, selector))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    labels.extend(job.labels.iter().map(|(k, v)| (k.clone(), json!(v))));
    labels
}

fn is_kept(key: &str, selector: &Selector) -> bool {
    let Some((prefix, _)) = key.split_once('/') else {
        return false;
    };
    let foreign = |of: &&str| prefix == *of || prefix.ends_with(&format!(".{of}"));
    !FOREIGN.iter().any(foreign) && !selector.names(key)
}

/// Init containers and native sidecars of a Job's pod, in the order in which they start. One that
/// serves until the end of a pod becomes a native sidecar, which ends with the Job's container; what
/// tells that it is ready tells then that it has started, so that the Job's container finds it ready.
fn kept_containers(template: &Value, job: &JobPods, native: bool) -> Vec<Value> {
    let list = |field: &str| {
        let list = template.pointer(field).and_then(Value::as_array);
        list.into_iter().flatten()
    };
    let named = |c: &&Value| {
        let mut names = job.keep_containers.iter();
        names.any(|name| c["name"] == json!(name))
    };
    let init = list("/spec/initContainers")
        .filter(|c| named(c) || (native && c["restartPolicy"] == json!("Always")));
    let serving = list("/spec/containers").filter(named).map(|container| {
        let mut container = container.clone();
        if let Some(fields) = container.as_object_mut() {
            let ready = fields.remove("readinessProbe");
            if let Some(mut ready) = ready.filter(|_| !fields.contains_key("startupProbe")) {
                if let Some(probe) = ready.as_object_mut() {
                    // A start takes one success, by the rules of Kubernetes.
                    probe.remove("successThreshold");
                }
                fields.insert("startupProbe".into(), ready);
            }
            fields.insert("restartPolicy".into(), json!("Always"));
        }
        container
    });
    init.cloned().chain(serving).collect()
}

/// Volumes of the Rollout's pods that these containers mount.
pub(super) fn mounted(template: &Value, containers: &[Value]) -> Vec<Value> {
    let mounts = containers
        .iter()
        .filter_map(|c| c["volumeMounts"].as_array());
    let names = mounts.flatten().filter_map(|m| m["name"].as_str());
    let names: BTreeSet<_> = names.collect();
    let given = template.pointer("/spec/volumes").and_then(Value::as_array);
    let needed = given.into_iter().flatten().filter(|volume| {
        let name = volume["name"].as_str();
        name.is_some_and(|name| names.contains(name))
    });
    needed.cloned().collect()
}

/// The pod in which Stepgate's runner does its work: the container, and of the Rollout's pods only
/// what says where they may run and as whom, and what `keepContainers` names.
pub(super) fn of_runner(
    (template, selector): (&Value, &Selector),
    schema: &SchemaSpec,
    container: Value,
    mut volumes: Vec<Value>,
) -> Option<Value> {
    const TAKEN: [&str; 14] = [
        "affinity",
        "dnsConfig",
        "dnsPolicy",
        "hostAliases",
        "imagePullSecrets",
        "nodeSelector",
        "preemptionPolicy",
        "priorityClassName",
        "runtimeClassName",
        "schedulerName",
        "serviceAccount",
        "serviceAccountName",
        "tolerations",
        "topologySpreadConstraints",
    ];
    let of = template.get("spec")?.as_object()?;
    let taken = of.iter().filter(|(key, _)| TAKEN.contains(&key.as_str()));
    let mut pod = json!(
        taken
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect::<Map<_, _>>()
    );
    let job = &schema.job;
    let kept = kept_containers(template, job, false);
    if kept.is_empty() {
        // The runner asks Kubernetes nothing.
        pod["automountServiceAccountToken"] = json!(false);
    } else {
        as_the_pods_run(template, &mut pod);
        volumes.extend(mounted(template, &kept));
    }
    pod["containers"] = json!([container]);
    pod["volumes"] = json!(volumes);
    set_containers(&mut pod, kept);
    if let Some(name) = &job.service_account_name {
        set_account(&mut pod, name);
    }
    Some(json!({
        "metadata": {
            "labels": labels(template, selector, job),
            "annotations": with(Map::new(), job),
        },
        "spec": pod,
    }))
}

/// What a container of the Rollout's pods finds in a pod of the runner as it does in its own.
pub(super) fn as_the_pods_run(template: &Value, pod: &mut Value) {
    let Some(pod) = pod.as_object_mut() else {
        return;
    };
    for field in ["securityContext", "automountServiceAccountToken"] {
        let path = format!("/spec/{field}");
        match template.pointer(&path) {
            Some(value) => pod.insert(field.into(), value.clone()),
            None => pod.remove(field),
        };
    }
}

/// What of the Rollout's pods is not in those of a phase, for people: containers that it may need,
/// and labels that may let it into a network.
#[must_use]
pub(crate) fn left_out(
    template: &Value,
    selector: &Selector,
    schema: &SchemaSpec,
    sql: bool,
) -> Vec<String> {
    let job = &schema.job;
    let kept = kept_containers(template, job, !sql);
    let own = schema.container.as_deref();
    let mut words = Vec::new();
    for (field, what) in [
        ("/spec/initContainers", "init container"),
        ("/spec/containers", "container"),
    ] {
        let list = template.pointer(field).and_then(Value::as_array);
        let list = list.into_iter().flatten();
        for (index, container) in list.enumerate() {
            let name = container["name"].as_str().unwrap_or_default();
            let runs = what == "container" && own.map_or(index == 0, |own| own == name);
            if !runs && !kept.iter().any(|kept| kept["name"] == container["name"]) {
                words.push(format!("{what} {name}"));
            }
        }
    }
    let given = template.pointer("/metadata/labels");
    let given = given.and_then(Value::as_object).into_iter().flatten();
    let dropped = given.filter(|(key, _)| {
        !is_kept(key, selector) && !selector.names(key) && !job.labels.contains_key(*key)
    });
    words.extend(dropped.map(|(key, _)| format!("label {key}")));
    words
}

/// What in `schema.job` would make the Jobs of phases wrong, for people.
pub(in crate::plan) fn problem(
    template: &Value,
    selector: &Selector,
    schema: &SchemaSpec,
) -> Option<String> {
    let job = &schema.job;
    let names = |field: &str| -> Vec<&str> {
        let list = template.pointer(field).and_then(Value::as_array);
        list.into_iter()
            .flatten()
            .filter_map(|container| container["name"].as_str())
            .collect()
    };
    let (init, serving) = (names("/spec/initContainers"), names("/spec/containers"));
    for name in &job.keep_containers {
        let field = format!("spec.schema.job.keepContainers: {name:?}");
        if !init.contains(&name.as_str()) && !serving.contains(&name.as_str()) {
            return Some(format!(
                "{field} is no container of the template, which has {}",
                [init.clone(), serving.clone()].concat().join(", ")
            ));
        }
        let own = schema.container.as_deref().or(serving.first().copied());
        let commands = schema.expand.iter().any(|e| !e.run.command.is_empty())
            || schema.backfill.iter().any(|b| !b.run.command.is_empty())
            || schema.contract.iter().any(|c| !c.run.command.is_empty());
        if commands && own == Some(name.as_str()) {
            return Some(format!(
                "{field} is the container in which the command itself runs: leave it out, or name \
                 another one in spec.schema.container"
            ));
        }
    }
    let labels = labels(template, selector, job).into_iter();
    let labels = labels.filter_map(|(key, value)| Some((key, value.as_str()?.to_owned())));
    let labels = labels.collect();
    (!job.labels.is_empty() && selector.selects(&labels)).then(|| {
        "spec.schema.job.labels match spec.selector: the Jobs' pods would get the traffic of \
         users; give them other labels"
            .to_owned()
    })
}

#[cfg(test)]
mod tests;
