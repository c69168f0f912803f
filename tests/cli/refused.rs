//! Manifests and arguments that are wrong: status 2, and what is wrong about them.

use serde_json::{Value, json};

use super::{
    mistakes::{mistakes, right, set, templates},
    program::{file, simulate, stepgate},
};

fn minimal() -> Value {
    json!({
        "apiVersion": "stepgate.io/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": "shop"},
        "spec": {
            "selector": {"matchLabels": {"app": "shop"}},
            "template": {
                "metadata": {"labels": {"app": "shop"}},
                "spec": {"containers": [{"name": "app", "image": "app:1"}]},
            },
        },
    })
}

#[test]
fn every_mistake_is_told_in_the_words_of_the_api_server() {
    let mut wrong = Vec::new();
    for mistake in mistakes() {
        let mut rollout = minimal();
        set(&mut rollout, mistake.at, mistake.value);
        let ran = simulate(&rollout.to_string(), &[]);
        if ran.status != 2 || !ran.told.contains(mistake.told) {
            wrong.push(format!("{}: {} {}", mistake.name, ran.status, ran.told));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_right_is_played() {
    let mut wrong = Vec::new();
    for (at, value) in right() {
        let mut rollout = minimal();
        set(&mut rollout, at, value.clone());
        let ran = simulate(&rollout.to_string(), &[]);
        if ran.status != 0 {
            wrong.push(format!("{at} = {value}: {} {}", ran.status, ran.told));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What the API server refuses when it is given the Deployment.
#[test]
fn what_a_deployment_would_be_refused_for_is_told_with_its_field() {
    let mut wrong = Vec::new();
    for (at, value, field) in templates() {
        let mut rollout = minimal();
        set(&mut rollout, &format!("/spec/template{at}"), value.clone());
        let ran = simulate(&rollout.to_string(), &[]);
        let mut lines = ran.told.lines();
        if ran.status != 2 || !lines.any(|line| line.contains(field)) {
            wrong.push(format!("{at} = {value}: {} {}", ran.status, ran.told));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Beyond the table: what the API server says only to kubectl, and what it or the operator would
/// refuse later.
#[test]
fn unknown_fields_and_wrong_templates_are_named_with_their_path() {
    let cases = [
        (
            "/spec/replica",
            json!(3),
            "spec.replica: unknown field: did you mean replicas?",
        ),
        (
            "/spec/strategy",
            json!({"canary": {"steps": [{"name": "a", "replicas": "100%", "holdSecs": 1}]}}),
            "spec.strategy.canary.steps[0].holdSecs: unknown field: did you mean holdSeconds?",
        ),
        (
            "/spec/analysis",
            json!({"checks": [{"name": "a", "errorRate": {"maxPercent": "1"}, "onFailure": "undo"}]}),
            "spec.analysis.checks[0].onFailure: Unsupported value \"undo\": supported values: \
             \"Undo\", \"Pause\"",
        ),
        (
            "/spec/analysis",
            json!({"checks": [{"name": "a", "latency": {"maxMilliseconds": 1}, "initialDelaySeconds": 90}]}),
            "spec.analysis.checks[0].initialDelaySeconds: unknown field: to leave out the first \
             seconds of each pod, set latency.warmUpSeconds",
        ),
        (
            "/spec/template/spec/containers",
            json!([{"name": "app", "image": "app:1", "ports": [{"containerPort": "80"}]}]),
            "spec.template.spec.containers[0].ports[0].containerPort: ",
        ),
        (
            "/spec/template/spec/containers",
            json!([]),
            "spec.template.spec.containers: Required value",
        ),
        (
            "/spec/template/spec/restartPolicy",
            json!("Never"),
            "spec.template.spec.restartPolicy: ",
        ),
        (
            "/spec/selector",
            json!({"matchExpressions": [{"key": "tier", "operator": "Exists"}]}),
            "spec.selector.matchExpressions: ",
        ),
        (
            "/spec/schema",
            json!({"database": "db", "container": "other", "expand": {"command": ["a"]}}),
            "spec.schema.container: the template has no container \"other\"",
        ),
        (
            "/apiVersion",
            json!("stepgate.io/v2"),
            "apiVersion: stepgate.io/v2 is not known",
        ),
    ];
    for (at, value, told) in cases {
        let mut rollout = minimal();
        set(&mut rollout, at, value);
        let ran = simulate(&rollout.to_string(), &[]);
        assert_eq!(ran.status, 2, "{at}: {}", ran.told);
        assert!(
            ran.told.contains(&format!("error: {told}")),
            "{at}: {}",
            ran.told
        );
    }
}

/// YAML reads `1.10` as the number 1.1, and `0x10` as 16: only the file still says what was meant.
#[test]
fn a_word_that_yaml_reads_as_a_number_is_to_be_quoted_as_it_stands_in_the_file() {
    for (line, field) in [
        (
            "selector: {matchLabels: {version: 1.10}}",
            "spec.selector.matchLabels.version",
        ),
        (
            "schema: {database: db, expand: {command: [a]}, job: {labels: {version: 1.10}}}",
            "spec.schema.job.labels.version",
        ),
        (
            "schema: {database: db, expand: {command: [a, 1.10]}}",
            "spec.schema.expand.command[1]",
        ),
        (
            "schema: {database: 0x10, expand: {command: [a]}}",
            "spec.schema.database",
        ),
        (
            "schema: {database: True, expand: {command: [a]}}",
            "spec.schema.database",
        ),
    ] {
        let mut text = String::from(
            "apiVersion: stepgate.io/v1alpha1\nkind: Rollout\nmetadata: {name: shop}\nspec:\n",
        );
        if !line.starts_with("selector") {
            text.push_str("  selector: {matchLabels: {app: shop}}\n");
        }
        text.push_str("  template:\n    metadata: {labels: {app: shop}}\n");
        text.push_str("    spec: {containers: [{name: app, image: \"app:1\"}]}\n");
        text.push_str(&format!("  {line}\n"));
        let ran = simulate(&text, &[]);
        let told = ran.told.lines().find(|told| told.contains(field));
        let told = told.unwrap_or_else(|| panic!("{line}: {}", ran.told));
        assert_eq!(ran.status, 2, "{told}");
        assert!(
            told.ends_with("in quotes, as it stands in the file"),
            "{told}"
        );
    }
}

#[test]
fn several_mistakes_are_told_at_once() {
    let ran = simulate(&file("tests/cli/manifests/mistakes.yaml"), &[]);
    assert_eq!(ran.status, 2);
    assert_eq!(ran.told.matches("error: ").count(), 7, "{}", ran.told);
}

#[test]
fn wrong_arguments_are_told_on_standard_error() {
    let example = "deploy/examples/minimal.yaml";
    let with = |more: &[&'static str]| stepgate(&[&["simulate", "-f", example], more].concat());
    for (ran, told) in [
        (stepgate(&["simulate"]), "--file"),
        (
            stepgate(&["simulate", "-f", "nowhere.yaml"]),
            "nowhere.yaml: ",
        ),
        (simulate("a: [", &[]), "no YAML"),
        (
            simulate("kind: Service\nmetadata: {name: a}", &[]),
            "there is Service a",
        ),
        (
            with(&["--scenario", "sunshine"]),
            "no such file, and none of good, errors",
        ),
        (
            with(&["--scenario", "migration-fails"]),
            "no spec.schema.expand",
        ),
        (with(&["--rollout", "other"]), "none of that name"),
        (with(&["--error-percent", "101"]), "between 0 and 100"),
        (with(&["--requests-per-second", "NaN"]), "not a number"),
        (with(&["--replicas", "0"]), "0 is not in 1..=500"),
    ] {
        assert_eq!(ran.status, 2, "{told}: {}", ran.complained);
        assert!(ran.complained.contains(told), "{told}: {}", ran.complained);
    }
}
