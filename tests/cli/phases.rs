//! Schema phases: SQL in ConfigMaps, and what a phase's Job has of the Rollout's pods.

use serde_json::{Value, json};

use super::program::{Ran, file, simulate, stepgate};

fn together(all: &[Value]) -> Ran {
    let texts: Vec<_> = all.iter().map(ToString::to_string).collect();
    simulate(&texts.join("\n---\n"), &[])
}

/// A Rollout with a proxy beside it, an init container, and labels.
fn rollout(schema: &Value) -> Value {
    json!({
        "apiVersion": "stepgate.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "hr"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "hr"}},
            "template": {
                "metadata": {"labels": {"app": "hr", "tier": "web", "network.example/db": "true"}},
                "spec": {
                    "initContainers": [{"name": "render-config", "image": "render:1"}],
                    "containers": [
                        {"name": "hr", "image": "hr:2"},
                        {"name": "sql-proxy", "image": "sql-proxy:2"},
                    ],
                },
            },
            "schema": schema,
        },
    })
}

#[test]
fn the_example_of_sql_is_clean_and_goes_out() {
    let example = "deploy/examples/sql.yaml";
    let linted = stepgate(&["lint", "-f", example]);
    assert_eq!(linted.status, 0, "{}{}", linted.told, linted.complained);
    let ran = simulate(&file(example), &[]);
    assert_eq!(ran.status, 0, "{}", ran.told);
    assert!(
        ran.told.contains("key uri of Secret shop-ddl"),
        "{}",
        ran.told
    );
    assert!(
        ran.told.contains("shop-new-expand-1 succeeded"),
        "{}",
        ran.told
    );
    let fails = simulate(&file(example), &["--scenario", "migration-fails"]);
    assert!(fails.told.contains("ExpandFailed"), "{}", fails.told);
}

#[test]
fn the_example_with_preflight_and_revert_goes_out() {
    let ran = simulate(&file("deploy/examples/phases.yaml"), &[]);
    assert_eq!(ran.status, 0, "{}", ran.told);
    for words in [
        "shop-new-preflight-1 succeeded",
        "played as if a backup had just been made",
    ] {
        assert!(ran.told.contains(words), "{words}: {}", ran.told);
    }
}

#[test]
fn a_text_that_is_not_there_is_said_before_and_stalls_the_release() {
    let files = json!([{"configMapKeyRef": {"name": "sql-2", "key": "expand.sql"}}]);
    let mut schema = json!({
        "database": "hr", "version": 2, "expand": {"sql": {"files": files}},
    });
    let ran = together(&[rollout(&schema)]);
    assert!(
        ran.told.contains("schema.postgres is needed"),
        "{}",
        ran.told
    );
    schema["postgres"] = json!({"connection": {"secretKeyRef": {"name": "ddl", "key": "uri"}}});
    let ran = together(&[rollout(&schema)]);
    assert!(
        ran.told.contains("ConfigMap sql-2 is not among the files"),
        "{}",
        ran.told
    );
    assert_eq!(ran.status, 0, "{}", ran.told);
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "sql-2"},
        "data": {"other.sql": "SELECT 1"},
    });
    let ran = together(&[rollout(&schema), map]);
    let words = "spec.schema.expand.sql.files[0]: ConfigMap sql-2 has no key expand.sql";
    assert!(ran.told.contains(words), "{}", ran.told);
    assert!(ran.told.contains("SqlUnreadable"), "{}", ran.told);
    assert_ne!(ran.status, 0, "{}", ran.told);
}

#[test]
fn what_a_phase_runs_without_is_named_until_it_is_kept() {
    let mut schema = json!({"database": "hr", "version": 2, "expand": {"command": ["migrate"]}});
    let ran = together(&[rollout(&schema)]);
    let words = "spec.schema.job: the Job of expand runs without init container render-config, \
                 container sql-proxy, label tier";
    assert!(ran.told.contains(words), "{}", ran.told);
    schema["job"] = json!({
        "keepContainers": ["render-config", "sql-proxy"],
        "labels": {"tier": "migration"},
    });
    let ran = together(&[rollout(&schema)]);
    assert!(!ran.told.contains("spec.schema.job"), "{}", ran.told);
    assert_eq!(ran.status, 0, "{}", ran.told);
    schema["job"] = json!({"keepContainers": ["proxy"]});
    let ran = together(&[rollout(&schema)]);
    assert!(
        ran.told.contains("is no container of the template"),
        "{}",
        ran.told
    );
    // Where else one would look for them.
    schema["job"].take();
    schema["expand"]["labels"] = json!({"tier": "migration"});
    let ran = together(&[rollout(&schema)]);
    assert!(
        ran.told.contains("is given in spec.schema.job.labels"),
        "{}",
        ran.told
    );
}
