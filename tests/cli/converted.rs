//! What other tools' manifests become.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::program::{Ran, convert, file, simulate};

fn rollout(ran: &Ran) -> Value {
    assert_eq!(ran.status, 0, "{}{}", ran.complained, ran.told);
    serde_saphyr::from_str(&ran.told).unwrap_or_else(|error| panic!("{error}: {}", ran.told))
}

/// A Deployment of ten pods whose spec has these fields too.
fn deployment(more: Value) -> Value {
    let mut spec = json!({
        "replicas": 10,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}, "creationTimestamp": null},
            "spec": {"containers": [{
                "name": "web", "image": "registry.example/web:1.2",
                "resources": {"requests": {"cpu": "10m"}},
            }]},
        },
    });
    spec.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec})
}

/// The same as a Rollout of Argo Rollouts with this canary.
fn argo(canary: Value) -> Value {
    let mut rollout = deployment(json!({"strategy": {"canary": canary}}));
    rollout["apiVersion"] = json!("argoproj.io/v1alpha1");
    rollout["kind"] = json!("Rollout");
    rollout
}

/// Several documents in one text.
fn documents(all: &[&Value]) -> String {
    let texts: Vec<_> = all.iter().map(ToString::to_string).collect();
    texts.join("\n---\n")
}

#[test]
fn a_rollout_of_argo_is_played_as_it_was_meant() {
    let ran = convert(&file("tests/cli/manifests/argo-rollout.yaml"));
    let made = rollout(&ran);
    assert_eq!(made["apiVersion"], "stepgate.io/v1alpha1");
    assert_eq!(made["metadata"], json!({"name": "accounts"}));
    let spec = &made["spec"];
    assert_eq!(
        spec["strategy"],
        json!({
            "maxSurge": "25%",
            "maxUnavailable": 0,
            "progressDeadlineSeconds": 900,
            "canary": {"steps": [
                {"name": "share-10", "replicas": "10%", "holdSeconds": 300},
                {"name": "share-50", "replicas": "50%", "holdSeconds": 86_400},
                {"name": "full", "replicas": "100%", "holdSeconds": 600},
            ]},
        })
    );
    assert_eq!(
        spec["analysis"],
        json!({
            "intervalSeconds": 30,
            "checks": [{"name": "success-rate", "errorRate": {"maxPercent": "5"}}],
        })
    );
    // All that is not taken over is named, with its field.
    for field in [
        "spec.minReadySeconds: not taken over: a step's holdSeconds",
        "spec.progressDeadlineAbort: not taken over: a release that misses",
        "spec.strategy.canary.canaryService: not taken over",
        "spec.strategy.canary.stableService: not taken over",
        "spec.strategy.canary.analysis.startingStep: not needed",
        "spec.strategy.canary.steps[3].pause: no step waits for a person",
        "metric success-rate: became a check that at most 5% of the requests fail",
    ] {
        assert!(
            ran.complained.contains(field),
            "{field}: {}",
            ran.complained
        );
    }
    for scenario in ["good", "errors"] {
        let played = simulate(&ran.told, &["--scenario", scenario]);
        assert_eq!(played.status, 0, "{scenario}: {}", played.told);
    }
}

#[test]
fn a_deployment_keeps_its_bounds_and_gets_the_default_steps() {
    let ran = convert(&deployment(json!({
        "minReadySeconds": 30,
        "progressDeadlineSeconds": 900,
        "revisionHistoryLimit": 0,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "200%", "maxUnavailable": 0}},
    })).to_string());
    let made = rollout(&ran);
    assert_eq!(
        made["spec"]["strategy"],
        json!({"maxSurge": "100%", "maxUnavailable": 0, "progressDeadlineSeconds": 900})
    );
    assert_eq!(made["spec"]["revisionHistoryLimit"], 1);
    assert_eq!(
        made["spec"]["template"]["metadata"],
        json!({"labels": {"app": "web"}})
    );
    for said in [
        "spec.minReadySeconds: not taken over",
        "spec.strategy.rollingUpdate.maxSurge: 200% became 100%",
        "spec.revisionHistoryLimit: 0 became 1",
        "spec.analysis: nothing is measured",
        "the default steps are used",
    ] {
        assert!(ran.complained.contains(said), "{said}: {}", ran.complained);
    }
    assert_eq!(simulate(&ran.told, &[]).status, 0);
}

#[test]
fn what_kubectl_prints_is_read() {
    let mut live = deployment(json!({}));
    live["metadata"] = json!({
        "name": "web", "namespace": "shop", "uid": "u", "resourceVersion": "7",
        "annotations": {"deployment.kubernetes.io/revision": "3", "team": "shop"},
    });
    live["status"] = json!({"replicas": 10});
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [live]});
    let made = rollout(&convert(&list.to_string()));
    assert_eq!(
        made["metadata"],
        json!({"name": "web", "namespace": "shop", "annotations": {"team": "shop"}})
    );
    assert!(made.get("status").is_none());
}

#[test]
fn an_autoscaler_is_left_alone_and_decides_the_size() {
    let hpa = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"},
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "minReplicas": 4},
    });
    let scaled = json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "web"},
        "spec": {"scaleTargetRef": {"name": "web"}},
    });
    for scaler in [hpa, scaled] {
        let ran = convert(&documents(&[&deployment(json!({})), &scaler]));
        assert!(rollout(&ran)["spec"].get("replicas").is_none());
        let said = format!(
            "left out: {} web decides it",
            scaler["kind"].as_str().unwrap()
        );
        assert!(ran.complained.contains(&said), "{}", ran.complained);
    }
}

#[test]
fn steps_become_targets_that_rise() {
    let cases = [
        (
            json!([{"setWeight": 20}, {"pause": {"duration": 60}}, {"setWeight": 100}]),
            vec![("20%", 60), ("100%", 0)],
        ),
        (
            json!([{"setWeight": 0}, {"setWeight": 5}, {"pause": {"duration": "1m"}}, {"pause": {"duration": "90s"}}]),
            vec![("5%", 150), ("100%", 600)],
        ),
        (
            json!([{"setWeight": 40}, {"setWeight": 20}, {"pause": {"duration": "1h"}}]),
            vec![("40%", 3600), ("100%", 600)],
        ),
        (
            json!([{"setCanaryScale": {"weight": 25}}, {"setWeight": 25}, {"pause": {"duration": "10"}}]),
            vec![("25%", 10), ("100%", 600)],
        ),
        (
            json!([{"pause": {"duration": 10}}, {"setWeight": 100}]),
            vec![("100%", 0)],
        ),
    ];
    for (steps, targets) in cases {
        let ran = convert(&argo(json!({"steps": steps})).to_string());
        let made = rollout(&ran);
        let found = made["spec"]["strategy"]["canary"]["steps"]
            .as_array()
            .unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|s| {
                (
                    s["replicas"].as_str().unwrap(),
                    s["holdSeconds"].as_i64().unwrap(),
                )
            })
            .collect();
        assert_eq!(found, targets, "{steps}");
        assert_eq!(simulate(&ran.told, &[]).status, 0, "{steps}");
    }
}

/// Every field of Argo Rollouts' reference is either taken over or named.
#[test]
fn nothing_is_dropped_in_silence() {
    let canary = json!({
        "canaryService": "c", "stableService": "s", "dynamicStableScale": true,
        "abortScaleDownDelaySeconds": 30, "scaleDownDelaySeconds": 30,
        "scaleDownDelayRevisionLimit": 2, "minPodsPerReplicaSet": 2,
        "canaryMetadata": {"labels": {"a": "b"}}, "stableMetadata": {"labels": {"a": "b"}},
        "antiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": {"weight": 1}},
        "trafficRouting": {"istio": {"virtualService": {"name": "v"}}},
        "pingPong": {"pingService": "a", "pongService": "b"},
        "somethingNew": {"deep": [1]},
        "steps": [
            {"setWeight": 10},
            {"analysis": {"templates": [{"templateName": "missing"}]}},
            {"experiment": {"duration": "1h"}},
            {"setHeaderRoute": {"name": "h"}},
            {"setMirrorRoute": {"name": "m"}},
            {"plugin": {"name": "p"}},
            {"somethingElse": {}},
            {"pause": {"duration": "soon"}},
        ],
    });
    let mut given = argo(canary);
    given["spec"]["restartAt"] = json!("2026-01-01T00:00:00Z");
    given["spec"]["analysis"] = json!({"successfulRunHistoryLimit": 3});
    let ran = convert(&given.to_string());
    let made = rollout(&ran);
    for field in [
        "spec.restartAt",
        "spec.analysis.successfulRunHistoryLimit",
        "spec.strategy.canary.canaryService",
        "spec.strategy.canary.stableService",
        "spec.strategy.canary.dynamicStableScale",
        "spec.strategy.canary.abortScaleDownDelaySeconds",
        "spec.strategy.canary.scaleDownDelaySeconds",
        "spec.strategy.canary.scaleDownDelayRevisionLimit",
        "spec.strategy.canary.minPodsPerReplicaSet",
        "spec.strategy.canary.canaryMetadata",
        "spec.strategy.canary.stableMetadata",
        "spec.strategy.canary.antiAffinity",
        "spec.strategy.canary.trafficRouting",
        "spec.strategy.canary.pingPong",
        "spec.strategy.canary.somethingNew.deep",
        "spec.strategy.canary.steps[1].analysis",
        "spec.strategy.canary.steps[2].experiment",
        "spec.strategy.canary.steps[3].setHeaderRoute",
        "spec.strategy.canary.steps[4].setMirrorRoute",
        "spec.strategy.canary.steps[5].plugin",
        "spec.strategy.canary.steps[6].somethingElse",
        "spec.strategy.canary.steps[7].pause",
    ] {
        assert!(
            ran.complained.contains(&format!(" {field}: ")),
            "{field}: {}",
            ran.complained
        );
    }
    assert_eq!(
        made["spec"]["strategy"]["canary"]["steps"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    let blue_green = deployment(json!({"strategy": {"blueGreen": {"activeService": "a"}}}));
    let ran = convert(&blue_green.to_string());
    assert!(
        ran.complained
            .contains("spec.strategy.blueGreen: not taken over"),
        "{}",
        ran.complained
    );
}

#[test]
fn a_template_in_a_deployment_is_found() {
    let mut given = argo(json!({}));
    let spec = given["spec"].as_object_mut().unwrap();
    spec.remove("template");
    spec.insert(
        "workloadRef".into(),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}),
    );
    let alone = convert(&given.to_string());
    assert_eq!(alone.status, 2);
    assert!(
        alone
            .complained
            .contains("Deployment web is not in the files"),
        "{}",
        alone.complained
    );
    assert_eq!(alone.told, "", "what would be refused is not written");
    let all = convert(&documents(&[&given, &deployment(json!({}))]));
    assert_eq!(all.status, 0, "{}", all.complained);
    assert_eq!(all.told.matches("registry.example/web:1.2").count(), 2);
}

#[test]
fn a_rollout_of_stepgate_stays_as_it_is() {
    let example = file("deploy/examples/schema.yaml");
    let ran = convert(&example);
    assert!(
        ran.complained.contains("nothing is changed"),
        "{}",
        ran.complained
    );
    let all: Vec<Value> = serde_saphyr::from_multiple(&example).unwrap();
    let given = all.into_iter().find(|d| d["kind"] == "Rollout").unwrap();
    assert_eq!(rollout(&ran), given);
}

#[test]
fn what_cannot_be_converted_is_said() {
    let name = "a-name-that-is-too-long-for-the-names-of-its-children";
    let mut long = deployment(json!({}));
    long["metadata"]["name"] = json!(name);
    for (given, said) in [
        (long.to_string(), "at most 40 characters"),
        (
            "kind: StatefulSet\nmetadata: {name: db}".to_owned(),
            "there is StatefulSet db",
        ),
        ("a: [".to_owned(), "no YAML"),
        (String::new(), "there is nothing"),
    ] {
        let ran = convert(&given);
        assert_eq!((ran.status, ran.told.as_str()), (2, ""), "{given}");
        assert!(ran.complained.contains(said), "{said}: {}", ran.complained);
    }
}

/// `simulate` names the fields that another tool has, and the way out, and that first.
#[test]
fn simulate_knows_what_comes_from_other_tools() {
    let given = argo(json!({"steps": [{"setWeight": 10}]}));
    let ran = simulate(&given.to_string(), &[]);
    assert_eq!(ran.status, 2);
    assert!(
        ran.complained.contains("apiVersion: argoproj.io/v1alpha1 of Rollout web is another tool's: stepgate convert -f -"),
        "{}",
        ran.complained
    );
    let mut renamed = given;
    renamed["apiVersion"] = json!("stepgate.io/v1alpha1");
    renamed["spec"]["minReadySeconds"] = json!(30);
    let ran = simulate(&renamed.to_string(), &[]);
    assert_eq!(ran.status, 2);
    let errors: Vec<&str> = ran
        .told
        .lines()
        .filter(|line| line.contains("error: "))
        .collect();
    assert!(
        errors[0].contains("apiVersion: some fields below (2) belong to"),
        "{}",
        ran.told
    );
    for said in [
        "spec.minReadySeconds: unknown field, known to other tools: a step's holdSeconds",
        "spec.strategy.canary.steps[0].setWeight: unknown field, known to other tools: write a step",
    ] {
        assert!(ran.told.contains(said), "{said}: {}", ran.told);
    }
    assert_eq!(convert(&renamed.to_string()).status, 0);
}

/// Names of steps are unlike each other, whatever the weights.
#[test]
fn steps_have_names_of_their_own() {
    let weights = (1..=31)
        .map(|n| json!({"setWeight": n * 3}))
        .collect::<Vec<_>>();
    let made = rollout(&convert(&argo(json!({"steps": weights})).to_string()));
    let mut names = BTreeMap::new();
    for step in made["spec"]["strategy"]["canary"]["steps"]
        .as_array()
        .unwrap()
    {
        *names.entry(step["name"].to_string()).or_insert(0) += 1;
    }
    assert!(
        names.len() == 32 && names.values().all(|count| *count == 1),
        "{names:?}"
    );
}
