use serde_json::{Value, json};

use super::*;
use crate::api::database::SqlRefusal;

fn read<K: serde::de::DeserializeOwned>(object: Value) -> K {
    serde_json::from_value(object).unwrap()
}

fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

fn deployment(annotations: Value, generation: i64, status: Value) -> ChildFacts {
    let object = json!({
        "metadata": {
            "name": "shop-r1", "uid": "u", "resourceVersion": "5", "generation": generation,
            "labels": {"stepgate.io/revision": "r1", "stepgate.io/epoch": "12"},
            "annotations": annotations,
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "X", "name": "a", "uid": "other"},
                {"apiVersion": "v1", "kind": "Y", "name": "b", "uid": "mine", "controller": true},
            ],
        },
        "spec": {"replicas": 3, "selector": {}, "template": {}},
        "status": status,
    });
    child(&read::<Deployment>(object))
}

#[test]
fn a_child_is_current_once_its_controller_has_seen_its_spec() {
    for (observed, current) in [(json!(null), false), (json!(6), false), (json!(7), true)] {
        let child = deployment(json!({}), 7, json!({"observedGeneration": observed}));
        assert_eq!(child.current, current, "{observed}");
    }
    let status = json!({"observedGeneration": 7, "replicas": 4, "availableReplicas": 2});
    let child = deployment(json!({}), 7, status);
    assert_eq!((child.replicas, child.possible), (3, (3, 3)));
    assert_eq!((child.status_replicas, child.available), (4, 2));
    assert_eq!((child.revision.as_str(), child.epoch), ("r1", Some(12)));
    assert_eq!(child.owner_uid.as_deref(), Some("mine"), "the controller's");
}

#[test]
fn a_second_replica_set_is_an_edit() {
    let key = "deployment.kubernetes.io/revision";
    for (annotations, edited) in [
        (json!({}), false),
        (json!({key: "1"}), false),
        (json!({key: "2"}), true),
        (json!({key: "2", keys::TEMPLATE: "another"}), true),
    ] {
        assert_eq!(deployment(annotations, 1, json!({})).edited, edited);
    }
}

#[test]
fn a_restart_by_kubectl_is_no_edit_and_whatever_comes_with_it_is() {
    let template = |annotations: Value, image: &str| {
        json!({
            "metadata": {"labels": {"app": "shop"}, "annotations": annotations},
            "spec": {"containers": [{"name": "shop", "image": image}]},
        })
    };
    let of = |number: &str, known: Option<&str>, template: &Value| {
        let mut annotations = json!({DEPLOYMENT_REVISION: number});
        if let Some(known) = known {
            annotations[keys::TEMPLATE] = json!(known);
        }
        let object = json!({
            "metadata": {"name": "shop-r1", "generation": 3, "annotations": annotations},
            "spec": {"selector": {}, "template": template},
            "status": {"observedGeneration": 3},
        });
        child(&read::<Deployment>(object))
    };
    let restarted = json!({keys::RESTARTED_AT: "2027-01-15T08:00:00Z"});
    let made = template(json!(null), "shop:1");
    let hash = of("1", None, &made).template.unwrap();
    let known = Some(&*hash);
    assert_eq!(of("1", known, &made).template, None, "it is on record");
    for (what, template, edited) in [
        ("restarted", template(restarted.clone(), "shop:1"), false),
        ("as it was made, by rollout undo", made.clone(), false),
        (
            "restarted and edited",
            template(restarted.clone(), "shop:2"),
            true,
        ),
        (
            "another annotation",
            template(json!({"a": "b"}), "shop:1"),
            true,
        ),
    ] {
        let child = of("2", known, &template);
        assert_eq!((child.edited, child.template), (edited, None), "{what}");
        assert!(of("2", None, &template).edited, "{what}, and nothing known");
    }

    let mut given = restarted;
    given["a"] = json!("b");
    let hash = of("1", None, &template(json!({"a": "b"}), "shop:1")).template;
    assert!(!of("2", hash.as_deref(), &template(given, "shop:1")).edited);
}

#[test]
fn a_template_is_on_record_only_as_it_was_made() {
    let seen = json!({"observedGeneration": 7});
    let first = json!({DEPLOYMENT_REVISION: "1"});
    let of = |annotations: &Value, generation, status: &Value| {
        let child = deployment(annotations.clone(), generation, status.clone());
        child.template.is_some()
    };
    assert!(of(&first, 7, &seen));
    assert!(!of(&first, 8, &seen), "its controller has not seen it yet");
    assert!(!of(&json!({}), 7, &seen), "nor counted it");
    assert!(!of(&json!({DEPLOYMENT_REVISION: "2"}), 7, &seen));
}

#[test]
fn a_child_that_cannot_make_pods_says_why() {
    let failure = |kind: &str, status: &str, reason: &str| {
        let condition =
            json!({"type": kind, "status": status, "reason": reason, "message": "its words"});
        deployment(json!({}), 1, json!({"conditions": [condition]})).problem
    };
    let words = Some("its words".to_owned());
    assert_eq!(failure("ReplicaFailure", "True", "FailedCreate"), words);
    assert_eq!(
        failure("Progressing", "False", "ReplicaSetCreateError"),
        words
    );
    assert_eq!(failure("ReplicaFailure", "False", ""), None);
    assert_eq!(
        failure("Progressing", "False", "ProgressDeadlineExceeded"),
        None
    );
    assert_eq!(
        failure("Available", "False", "MinimumReplicasUnavailable"),
        None
    );
}

fn pod_with(status: Value) -> PodFacts {
    let object = json!({
        "metadata": {
            "name": "p", "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"stepgate.io/revision": "r1"},
        },
        "status": status,
    });
    pod(&read::<Pod>(object))
}

#[test]
fn a_pod_is_ready_since_its_condition_turned() {
    let ready = |status: &str| {
        pod_with(json!({"conditions": [
            {"type": "ContainersReady", "status": "True", "lastTransitionTime": "2026-01-01T00:00:01Z"},
            {"type": "Ready", "status": status, "lastTransitionTime": "2026-01-01T00:00:09Z"},
        ]}))
    };
    assert_eq!(ready("True").ready_since, Some(at("2026-01-01T00:00:09Z")));
    assert_eq!(ready("False").ready_since, None);
    assert_eq!(ready("True").created, at("2026-01-01T00:00:00Z"));
}

#[test]
fn a_pod_whose_containers_are_ready_and_which_is_not_is_on_a_node_that_says_nothing() {
    let pod = |ready: &str, containers: &str, reason: Value| {
        let at = |second: i32| format!("2026-01-01T00:00:0{second}Z");
        let object = json!({
            "metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"nodeName": "node-7", "containers": []},
            "status": {"conditions": [
                {"type": "ContainersReady", "status": containers, "lastTransitionTime": at(1)},
                {"type": "Ready", "status": ready, "reason": reason, "lastTransitionTime": at(9)},
            ]},
        });
        super::pod(&read::<Pod>(object))
    };
    let silent = pod("False", "True", Value::Null);
    assert_eq!(silent.silent, Some(at("2026-01-01T00:00:09Z")));
    assert_eq!(silent.node.as_deref(), Some("node-7"));
    let ready = pod("True", "True", Value::Null);
    assert_eq!((ready.silent, ready.node), (None, None));
    let unready = pod("False", "False", json!("ContainersNotReady"));
    assert_eq!(unready.silent, None);
    // A gate is somebody's word about the pod, whatever its node says.
    let gated = pod("False", "True", json!("ReadinessGatesNotReady"));
    assert_eq!(gated.silent, None);
}

#[test]
fn a_pod_that_waits_says_for_what() {
    let waits = |reason: &str| {
        let waiting = json!({"waiting": {"reason": reason, "message": "back-off"}});
        let container = |name: &str, state: Value, restarts: i32| {
            json!({"name": name, "image": "", "imageID": "", "ready": false,
                   "restartCount": restarts, "state": state})
        };
        pod_with(json!({
            "initContainerStatuses": [container("init", json!({"terminated": {"exitCode": 0}}), 1)],
            "containerStatuses": [
                container("a", json!({"running": {}}), 0),
                container("b", waiting, 2),
            ],
        }))
    };
    let crash = waits("CrashLoopBackOff");
    let words = ("CrashLoopBackOff".to_owned(), "back-off".to_owned());
    // An init container is to end: that it ran twice is nobody's crash.
    assert_eq!((crash.waiting, crash.restarts), (Some(words), 2));
    assert!(waits("ImagePullBackOff").waiting.is_some());
    assert!(waits("ContainerCreating").waiting.is_none());
    assert!(waits("PodInitializing").waiting.is_none());
}

fn container(name: &str, state: Value, last: Value) -> Value {
    json!({"name": name, "image": "", "imageID": "", "ready": true, "restartCount": 1,
           "state": state, "lastState": last})
}

/// A pod with an init container, a sidecar and an application, whose states these are.
fn pod_of_three(init: Value, sidecar: Value, app: Value) -> PodFacts {
    pod(&read::<Pod>(json!({
        "metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {
            "initContainers": [{"name": "init"}, {"name": "sidecar", "restartPolicy": "Always"}],
            "containers": [{"name": "app"}],
        },
        "status": {"initContainerStatuses": [init, sidecar], "containerStatuses": [app]},
    })))
}

#[test]
fn the_last_end_of_a_container_is_told_whether_or_not_it_runs_again() {
    let ended = |second: &str| {
        let finished = format!("2026-01-01T00:00:{second}Z");
        json!({"terminated": {"exitCode": 1, "finishedAt": finished}})
    };
    let init = || container("init", ended("11"), ended("10"));
    let runs = |name: &str, last: Value| container(name, json!({"running": {}}), last);
    let end_of = |sidecar: Value, app: Value| pod_of_three(init(), sidecar, app).ended;
    let fine = || runs("sidecar", json!({}));
    assert_eq!(end_of(fine(), runs("app", json!({}))), None);
    let again = runs("app", ended("07"));
    assert_eq!(end_of(fine(), again), Some(at("2026-01-01T00:00:07Z")));
    let down = container("app", ended("09"), ended("07"));
    assert_eq!(end_of(fine(), down), Some(at("2026-01-01T00:00:09Z")));
    let sidecar = runs("sidecar", ended("08"));
    assert_eq!(
        end_of(sidecar, runs("app", json!({}))),
        Some(at("2026-01-01T00:00:08Z"))
    );
}

#[test]
fn an_init_container_that_waits_for_something_is_no_crash_loop() {
    let backs_off = || json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}});
    let starts = || {
        container(
            "app",
            json!({"waiting": {"reason": "PodInitializing"}}),
            json!({}),
        )
    };
    let runs = || container("sidecar", json!({"running": {}}), json!({}));
    let reason = |init: Value, sidecar: Value| {
        let waiting = pod_of_three(init, sidecar, starts()).waiting;
        waiting.map(|(reason, _)| reason)
    };
    let init = container("init", backs_off(), json!({}));
    assert_eq!(reason(init, runs()).unwrap(), "Init:CrashLoopBackOff");
    let done = container("init", json!({"terminated": {"exitCode": 0}}), json!({}));
    let sidecar = container("sidecar", backs_off(), json!({}));
    assert_eq!(reason(done, sidecar).unwrap(), "CrashLoopBackOff");
}

#[test]
fn a_pod_that_was_evicted_is_as_good_as_gone() {
    for (phase, gone) in [("Running", false), ("Failed", true), ("Succeeded", true)] {
        assert_eq!(pod_with(json!({"phase": phase})).deleting, gone, "{phase}");
    }
}

#[test]
fn a_pod_that_fits_nowhere_says_so_in_the_schedulers_words() {
    let scheduled = |reason: &str| {
        pod_with(
            json!({"conditions": [{"type": "PodScheduled", "status": "False",
            "reason": reason, "message": "0/3 nodes"}]}),
        )
    };
    let words = Some("0/3 nodes".to_owned());
    assert_eq!(scheduled("Unschedulable").unschedulable, words);
    assert_eq!(scheduled("SchedulingGated").unschedulable, None);
}

#[test]
fn only_a_job_that_ran_out_of_tries_under_its_policy_has_applied_nothing() {
    let ended = |reason: &str, policy: Value| {
        let object = json!({
            "metadata": {"name": "j"},
            "spec": {"template": {}, "podFailurePolicy": policy},
            "status": {"failed": 2, "conditions": [
                {"type": "Failed", "status": "True", "reason": reason}]},
        });
        job(&read::<Job>(object))
    };
    let policy = json!({"rules": [{"action": "FailJob"}]});
    let of = |reason, policy: &Value| ended(reason, policy.clone()).ended.unwrap().nothing_applied;
    assert!(of("BackoffLimitExceeded", &policy));
    assert!(!of("PodFailurePolicy", &policy));
    assert!(!of("DeadlineExceeded", &policy));
    assert!(
        !of("BackoffLimitExceeded", &Value::Null),
        "of a version without the policy"
    );
    assert_eq!(ended("BackoffLimitExceeded", policy).failed_pods, 2);
}

/// The runner's own word has the first rule of its Job's policy, and no other Job's.
#[test]
fn the_runners_word_that_nothing_was_applied_is_told_by_the_rule_that_it_met() {
    let end = |code: i32, codes: &[i32], rule: usize| {
        let words = format!(
            "Container stepgate-sql for pod a/b failed with exit code {code} matching FailJob rule \
             at index {rule}"
        );
        let exits = json!({"operator": "In", "values": codes, "containerName": "stepgate-sql"});
        let object = json!({
            "metadata": {"name": "j"},
            "spec": {"template": {}, "podFailurePolicy": {"rules": [
                {"action": "FailJob", "onExitCodes": exits}]}},
            "status": {"failed": 1, "conditions": [{
                "type": "Failed", "status": "True", "reason": "PodFailurePolicy", "message": words}]},
        });
        job(&read::<Job>(object)).ended.unwrap()
    };
    let of = |codes: &[i32], rule: usize| end(64, codes, rule).nothing_applied;
    let all = [64, 65, 66];
    assert!(of(&all, 0));
    assert!(!of(&all, 1), "any other end");
    assert!(!of(&[1], 0), "a policy of something else");
    let unproven = end(65, &all, 0);
    assert!(unproven.nothing_applied);
    assert_eq!(unproven.refusal, Some(SqlRefusal::ProofFailed));
    assert!(unproven.sql && !end(65, &[65], 0).sql);
    let disagrees = end(66, &all, 0);
    assert!(disagrees.nothing_applied);
    assert_eq!(disagrees.refusal, Some(SqlRefusal::RecordDisagrees));
    assert_eq!(end(66, &all, 1).refusal, None);
    assert_eq!(end(64, &all, 0).refusal, None);
    assert_eq!(end(65, &[65], 0).refusal, None, "another's policy");
}

/// Whatever a proof says, the contract after it has not begun; and only the runner knows a ledger.
#[test]
fn a_proof_that_fails_is_told_by_its_container() {
    let end = |name: &str, code: i32, rule: usize| {
        let words = format!(
            "Container {name} for pod a/b failed with exit code {code} matching FailJob rule at \
             index {rule}"
        );
        let not = json!({"operator": "NotIn", "values": [75]});
        let of = |name: &str| {
            let mut exits = not.clone();
            exits["containerName"] = json!(name);
            json!({"action": "FailJob", "onExitCodes": exits})
        };
        let object = json!({
            "metadata": {"name": "j"},
            "spec": {"template": {}, "podFailurePolicy": {"rules": [of(name), of("shop")]}},
            "status": {"failed": 1, "conditions": [{
                "type": "Failed", "status": "True", "reason": "PodFailurePolicy", "message": words}]},
        });
        job(&read::<Job>(object)).ended.unwrap()
    };
    let unproven = end("stepgate-verify", 65, 0);
    assert!(unproven.nothing_applied && !unproven.sql);
    assert_eq!(unproven.refusal, Some(SqlRefusal::ProofFailed));
    let unknown = end("stepgate-verify", 1, 0);
    assert!(unknown.nothing_applied && unknown.refusal.is_none());
    let users_own = end("stepgate-verify", 66, 0);
    assert!(users_own.nothing_applied && users_own.refusal.is_none());
    let proof = end("stepgate-proof", 66, 0);
    assert_eq!(proof.refusal, Some(SqlRefusal::RecordDisagrees));
    assert!(!proof.sql, "no contract is in the ledger");
    let contract = end("stepgate-verify", 65, 1);
    assert!(!contract.nothing_applied && contract.refusal.is_none());
}

#[test]
fn a_job_ends_with_its_last_condition_and_lives_with_its_pods() {
    let ended = |conditions: Value| {
        let object = json!({
            "metadata": {"name": "j", "labels": {"stepgate.io/rollout": "shop"}},
            "spec": {"suspend": false, "template": {}},
            "status": {"active": 1, "terminating": 2, "conditions": conditions},
        });
        job(&read::<Job>(object))
    };
    let condition = |kind: &str, status: &str| {
        json!([{"type": kind, "status": status, "reason": "DeadlineExceeded",
                "message": "too long", "lastTransitionTime": "2026-01-01T00:00:00Z"}])
    };
    let failed = ended(condition("Failed", "True"));
    assert_eq!((failed.live_pods, failed.suspended), (3, false));
    let end = failed.ended.unwrap();
    assert_eq!(
        (end.succeeded, end.message.as_str()),
        (false, "DeadlineExceeded: too long")
    );
    assert!(
        ended(condition("Complete", "True"))
            .ended
            .unwrap()
            .succeeded
    );
    for (kind, status) in [
        ("Failed", "False"),
        ("FailureTarget", "True"),
        ("Suspended", "True"),
    ] {
        assert_eq!(
            ended(condition(kind, status)).ended,
            None,
            "{kind} {status}"
        );
    }
}

#[test]
fn only_commands_are_kept_of_the_annotations() {
    let metadata = read::<ObjectMeta>(json!({"annotations": {
        "stepgate.io/promote": "r1/canary 7",
        "kubectl.kubernetes.io/last-applied-configuration": "…",
    }}));
    assert_eq!(
        commands(&metadata).keys().collect::<Vec<_>>(),
        ["stepgate.io/promote"]
    );
}

/// Readiness that is lost while the containers run on is told apart from that of a pod that has
/// never been ready, of one whose container ended, and of one whose node is lost.
#[test]
fn readiness_that_is_lost_is_told_apart() {
    let pod = |at: &str, ready: bool, state: Value| {
        let status = json!({
            "conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": at}],
            "containerStatuses": [{"name": "app", "ready": ready, "restartCount": 0, "image": "",
                "imageID": "", "state": state}],
        });
        pod_with(status).lost.map(|at| at.to_string())
    };
    let runs = json!({"running": {"startedAt": "2027-01-15T08:00:10Z"}});
    let later = "2027-01-15T08:05:00Z";
    assert_eq!(pod(later, false, runs.clone()).as_deref(), Some(later));
    let first = "2027-01-15T08:00:05Z";
    assert_eq!(pod(first, false, runs.clone()), None, "never ready");
    assert_eq!(pod(later, true, runs), None, "its node is lost");
    let ended = json!({"terminated": {"exitCode": 1, "finishedAt": later}});
    assert_eq!(pod(later, false, ended), None, "its container ended");
    let again = json!({"running": {"startedAt": later}});
    assert_eq!(pod(later, false, again), None, "and runs again");
}
