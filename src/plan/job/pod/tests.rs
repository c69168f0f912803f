#![allow(clippy::unwrap_used)]

use super::*;
use crate::api::RolloutSpec;

fn spec(value: Value) -> RolloutSpec {
    serde_json::from_value(value).unwrap()
}

fn shop() -> RolloutSpec {
    spec(json!({
        "selector": {"matchLabels": {"app": "shop"}},
        "template": {
            "metadata": {"labels": {"app": "shop"}, "annotations": {"a": "b"}},
            "spec": {
                "serviceAccountName": "shop",
                "initContainers": [
                    {"name": "proxy", "restartPolicy": "Always"},
                    {"name": "prepare"},
                ],
                "containers": [
                    {"name": "other", "image": "other:1"},
                    {"name": "shop", "image": "shop:1", "args": ["serve"], "ports": [{}],
                     "readinessProbe": {}, "env": [{"name": "A", "value": "b"}]},
                ],
            },
        },
        "schema": {"database": "db", "container": "shop", "expand": {"command": ["x"]}},
    }))
}

/// The pod of its expand.
fn of(spec: &RolloutSpec) -> Value {
    let schema = spec.schema.as_ref().unwrap();
    let command = &schema.expand.as_ref().unwrap().run.command;
    let of = (&spec.template, &spec.selector);
    of_command(of, schema.container.as_deref(), command, &schema.job).unwrap()
}

fn names(list: &Value) -> Vec<&str> {
    let list = list.as_array().into_iter().flatten();
    list.map(|c| c["name"].as_str().unwrap()).collect()
}

#[test]
fn a_phase_runs_in_the_revisions_own_pod_and_serves_nobody() {
    let spec = shop();
    let pod = of(&spec);
    assert_eq!(pod["metadata"]["labels"], json!({}), "never an endpoint");
    assert_eq!(pod["metadata"]["annotations"]["a"], "b");
    let containers = pod["spec"]["containers"].as_array().unwrap();
    assert_eq!(containers.len(), 1);
    assert_eq!(containers[0]["image"], "shop:1");
    assert_eq!(containers[0]["command"], json!(["x"]));
    for field in ["args", "ports", "readinessProbe"] {
        assert!(containers[0].get(field).is_none(), "{field}");
    }
    assert!(containers[0].get("env").is_some());
    assert_eq!(names(&pod["spec"]["initContainers"]), ["proxy"]);
    assert_eq!(pod["spec"]["serviceAccountName"], "shop");
    let schema = spec.schema.as_ref().unwrap();
    assert_eq!(
        left_out(&spec.template, &spec.selector, schema, false),
        ["init container prepare", "container other"]
    );
}

/// The rules of a policy in short: the action, and by what.
fn rules(template: &Value, work: Work) -> Vec<String> {
    let policy = failure_policy(template, work);
    let rules = policy["rules"].as_array().unwrap();
    let short = |rule: &Value| {
        let action = rule["action"].as_str().unwrap();
        let exits = &rule["onExitCodes"];
        match exits["operator"].as_str() {
            Some(operator) => {
                let name = exits["containerName"].as_str().unwrap_or("*");
                format!("{action} {name} {operator} {}", exits["values"])
            }
            None => {
                let kind = &rule["onPodConditions"][0]["type"];
                format!("{action} {}", kind.as_str().unwrap())
            }
        }
    };
    rules.iter().map(short).collect()
}

#[test]
fn only_the_commands_own_word_is_tried_again() {
    let template = json!({"spec": {
        "initContainers": [{"name": "prepare"}],
        "containers": [{"name": "shop"}],
    }});
    let of_command = [
        "FailJob shop NotIn [75]",
        // A drain does not turn its word into a dirty database.
        "Count shop In [75]",
        "FailJob DisruptionTarget",
    ];
    assert_eq!(rules(&template, Work::Command), of_command);
}

/// The operator knows the first rule by its codes (see the facts of a Job).
#[test]
fn the_runners_own_word_has_the_first_rule_and_its_pod_is_made_again_where_it_was_cut_off() {
    let template = json!({"spec": {"containers": [{"name": "stepgate-sql"}]}});
    let of_sql = [
        "FailJob stepgate-sql In [64,65,66]",
        "Ignore DisruptionTarget",
        "Ignore stepgate-sql In [76,137]",
        "FailJob stepgate-sql NotIn [75,76,137]",
    ];
    assert_eq!(rules(&template, Work::Sql), of_sql);
}

/// What proves something before a contract ends before that begins: its ends are its own.
#[test]
fn whatever_a_proof_says_the_contract_has_not_begun() {
    let init = |names: &[&str]| {
        let init: Vec<_> = names.iter().map(|name| json!({"name": name})).collect();
        json!({"spec": {"initContainers": init, "containers": [{"name": "shop"}]}})
    };
    let of_verify = [
        "FailJob stepgate-verify NotIn [75]",
        "Count stepgate-verify In [75]",
        "FailJob shop NotIn [75]",
        "Count shop In [75]",
        "FailJob DisruptionTarget",
    ];
    assert_eq!(rules(&init(&["stepgate-verify"]), Work::Command), of_verify);
    // In a template of one container beside the proof it is still known who changes the database.
    assert_eq!(
        rules(&init(&["stepgate-verify"]), Work::Template),
        of_verify
    );
    let of_proof = rules(&init(&["prepare", "stepgate-proof"]), Work::Template);
    let expected = [
        // Its pod was deleted: another counts.
        "Ignore stepgate-proof In [76]",
        "FailJob stepgate-proof NotIn [75]",
        "Count stepgate-proof In [75]",
        "FailJob * NotIn [75]",
        "Count * In [75]",
        "FailJob DisruptionTarget",
    ];
    assert_eq!(of_proof, expected);
}

#[test]
fn in_a_template_every_container_may_be_the_one_that_changes_the_database() {
    let of = |init: Value, containers: Value| {
        let template = json!({"spec": {"initContainers": init, "containers": containers}});
        rules(&template, Work::Template).swap_remove(0)
    };
    let migrate = json!({"name": "migrate"});
    let proxy = json!({"name": "proxy", "restartPolicy": "Always"});
    let any = "FailJob * NotIn [75]";
    assert_eq!(of(json!([migrate]), json!([{"name": "done"}])), any);
    assert_eq!(of(json!([]), json!([{"name": "log"}, migrate])), any);
    // A native sidecar is told to end when the only other container has.
    let one = "FailJob migrate NotIn [75]";
    assert_eq!(of(json!([proxy]), json!([migrate])), one);
}

/// An identity webhook looks at one label, a NetworkPolicy at another, the mesh at a third.
#[test]
fn labels_that_let_a_pod_in_are_kept_and_those_that_select_it_are_not() {
    let mut spec = shop();
    spec.template["metadata"]["labels"] = json!({
        "app": "shop",
        "tier": "web",
        "app.kubernetes.io/name": "shop",
        "app.argoproj.io/instance": "shop",
        "azure.workload.identity/use": "true",
        "network.example/egress-postgres": "true",
        "sidecar.istio.io/inject": "false",
    });
    let kept = json!({
        "azure.workload.identity/use": "true",
        "network.example/egress-postgres": "true",
        "sidecar.istio.io/inject": "false",
    });
    assert_eq!(of(&spec)["metadata"]["labels"], kept);
    let schema = spec.schema.as_ref().unwrap();
    let left = left_out(&spec.template, &spec.selector, schema, false);
    assert_eq!(
        left[2..],
        [
            "label app.argoproj.io/instance",
            "label app.kubernetes.io/name",
            "label tier"
        ]
    );
    // A label that the Rollout's own pods are selected by is not, whatever it is called.
    spec.selector.match_labels =
        [("sidecar.istio.io/inject".to_owned(), "false".to_owned())].into();
    assert!(
        of(&spec)["metadata"]["labels"]
            .get("sidecar.istio.io/inject")
            .is_none()
    );
    // What is given is there.
    let job = &mut spec.schema.as_mut().unwrap().job;
    job.labels = [("tier".to_owned(), "migration".to_owned())].into();
    job.annotations = [("a".to_owned(), "c".to_owned())].into();
    job.service_account_name = Some("ddl".to_owned());
    let pod = of(&spec);
    assert_eq!(pod["metadata"]["labels"]["tier"], "migration");
    assert_eq!(pod["metadata"]["annotations"]["a"], "c");
    assert_eq!(pod["spec"]["serviceAccountName"], "ddl");
}

/// A proxy to the database beside the application, and an init container that renders what the
/// migration reads.
fn with_proxy() -> RolloutSpec {
    spec(json!({
        "selector": {"matchLabels": {"app": "hr"}},
        "template": {
            "metadata": {"labels": {"app": "hr"}},
            "spec": {
                "automountServiceAccountToken": true,
                "initContainers": [{
                    "name": "render-config", "image": "render:1",
                    "volumeMounts": [{"name": "config", "mountPath": "/config"}],
                }],
                "containers": [
                    {"name": "hr", "image": "hr:2", "volumeMounts": [{"name": "config", "mountPath": "/config"}]},
                    {"name": "sql-proxy", "image": "sql-proxy:2", "args": ["--port=5432"],
                     "readinessProbe": {"tcpSocket": {"port": 5432}, "successThreshold": 2}},
                ],
                "volumes": [{"name": "config", "emptyDir": {}}, {"name": "unused", "emptyDir": {}}],
            },
        },
        "schema": {"database": "hr", "version": 2, "expand": {"command": ["hr", "migrate"]}},
    }))
}

#[test]
fn what_is_to_be_kept_runs_beside_the_phase_and_ends_with_it() {
    let mut spec = with_proxy();
    assert_eq!(of(&spec)["spec"].get("initContainers"), None);
    let schema = spec.schema.as_mut().unwrap();
    schema.job.keep_containers = vec!["render-config".to_owned(), "sql-proxy".to_owned()];
    assert_eq!(
        problem(
            &spec.template,
            &spec.selector,
            spec.schema.as_ref().unwrap()
        ),
        None
    );
    let pod = of(&spec);
    let init = &pod["spec"]["initContainers"];
    assert_eq!(names(init), ["render-config", "sql-proxy"]);
    assert_eq!(init[0].get("restartPolicy"), None, "it ends by itself");
    assert_eq!(init[1]["restartPolicy"], "Always");
    // The command starts once the proxy is ready.
    assert_eq!(
        init[1]["startupProbe"],
        json!({"tcpSocket": {"port": 5432}})
    );
    assert_eq!(init[1].get("readinessProbe"), None);
    assert_eq!(names(&pod["spec"]["containers"]), ["hr"]);
    let schema = spec.schema.as_ref().unwrap();
    let left = left_out(&spec.template, &spec.selector, schema, false);
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn a_container_to_keep_must_be_there_and_not_be_the_commands_own() {
    let mut spec = with_proxy();
    let mut keeping = |name: &str| {
        spec.schema.as_mut().unwrap().job.keep_containers = vec![name.to_owned()];
        problem(
            &spec.template,
            &spec.selector,
            spec.schema.as_ref().unwrap(),
        )
        .unwrap()
    };
    let words = keeping("proxy");
    assert!(
        words.contains("which has render-config, hr, sql-proxy"),
        "{words}"
    );
    let words = keeping("hr");
    assert!(words.contains("the command itself runs"), "{words}");
    let mut spec = shop();
    let schema = spec.schema.as_mut().unwrap();
    schema.job.labels = [("app".to_owned(), "shop".to_owned())].into();
    let words = problem(
        &spec.template,
        &spec.selector,
        spec.schema.as_ref().unwrap(),
    )
    .unwrap();
    assert!(words.contains("the traffic of users"), "{words}");
}

#[test]
fn the_runner_has_little_of_the_rollouts_pods() {
    let mut spec = with_proxy();
    spec.template["spec"]["tolerations"] = json!([{"key": "db"}]);
    spec.template["spec"]["hostNetwork"] = json!(true);
    spec.template["metadata"]["annotations"] = json!({"vault.example/inject": "true"});
    let runner = |spec: &RolloutSpec| {
        let of = (&spec.template, &spec.selector);
        let schema = spec.schema.as_ref().unwrap();
        of_runner(of, schema, json!({"name": "stepgate-sql"}), Vec::new()).unwrap()
    };
    let pod = runner(&spec);
    assert_eq!(pod["metadata"]["annotations"], json!({}));
    assert_eq!(
        pod["spec"],
        json!({
            "automountServiceAccountToken": false,
            "containers": [{"name": "stepgate-sql"}],
            "tolerations": [{"key": "db"}],
            "volumes": [],
        })
    );
    spec.schema.as_mut().unwrap().job.keep_containers = vec!["render-config".to_owned()];
    let pod = runner(&spec);
    assert_eq!(names(&pod["spec"]["initContainers"]), ["render-config"]);
    assert_eq!(names(&pod["spec"]["volumes"]), ["config"]);
    assert_eq!(pod["spec"]["automountServiceAccountToken"], true);
}
