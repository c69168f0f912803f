use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::*;

fn object(value: Value) -> DynamicObject {
    serde_json::from_value(value).unwrap()
}

fn stored(spec: Value, status: Value) -> DynamicObject {
    let metadata = json!({"namespace": "n", "name": "shop", "uid": "u", "generation": 3});
    object(json!({
        "apiVersion": "stepgate.io/v1alpha1", "kind": "Rollout",
        "metadata": metadata, "spec": spec, "status": status,
    }))
}

fn rollout(spec: Value, status: Value) -> RolloutFacts {
    super::rollout(&stored(spec, status))
}

fn spec() -> Value {
    json!({
        "selector": {"matchLabels": {"app": "shop"}},
        "template": {"metadata": {"labels": {"app": "shop"}}, "spec": {"newer": 1}},
        "schema": {"database": "db"},
    })
}

#[test]
fn a_rollout_is_kept_without_its_pod_templates_and_is_the_same_revision() {
    let mut asked = spec();
    asked["schema"]["expand"] = json!({"template": {"spec": {"large": "x".repeat(1000)}}});
    let object = stored(asked.clone(), json!({"observedGeneration": -1}));
    let facts = super::rollout(&object);
    let kept = facts.spec.expect("a spec");
    let text = serde_json::to_string(&**kept).unwrap();
    assert!(!text.contains("newer") && !text.contains("xxx"), "{text}");
    assert_eq!(kept.database(), Some("db"));
    assert_eq!(kept.labels()["app"], "shop");
    assert_eq!(facts.status.observed_generation, Some(-1));
    assert_eq!((facts.generation, facts.deleted), (3, None));
    let whole = live(&object).whole.expect("a spec");
    let read: RolloutSpec = serde_json::from_value(asked).unwrap();
    assert_eq!(**whole, read);
    assert_eq!(whole.revision(), kept.revision());
}

#[test]
fn a_revision_is_kept_without_its_pod_template() {
    let object: ControllerRevision = serde_json::from_value(json!({
        "metadata": {"name": "shop-r1", "labels": {"stepgate.io/revision": "r1"}},
        "revision": 4,
        "data": {
            "template": {"spec": {"volumes": [{"configMap": {"name": "settings"}}]}},
            "schema": {"database": "db", "version": 7},
        },
    }))
    .unwrap();
    let facts = revision(&object);
    assert_eq!((facts.number, facts.schema_version), (4, Some(7)));
    assert_eq!(facts.config[0].name, "settings");
    assert!(remembered(object).template["spec"]["volumes"].is_array());
}

#[test]
fn a_spec_that_cannot_be_read_names_its_field() {
    let mut wrong = spec();
    wrong["strategy"] = json!({"canary": {"steps": [{"name": "a", "replicas": {}}]}});
    let facts = rollout(wrong, Value::Null);
    let error = facts.spec.unwrap_err();
    assert!(
        error.starts_with("strategy.canary.steps[0].replicas: "),
        "{error}"
    );
    assert!(!error.contains("line"), "{error}");
    let error = rollout(Value::Null, Value::Null).spec.unwrap_err();
    assert!(error.contains("invalid type: null"), "{error}");
}

#[test]
fn a_status_that_cannot_be_read_counts_as_lost() {
    let facts = rollout(spec(), json!({"replicas": "many"}));
    assert_eq!(*facts.status, RolloutStatus::default());
    assert!(facts.spec.is_ok());
}

#[test]
fn a_database_that_cannot_be_read_is_not_an_empty_one() {
    let named = |record: Value| {
        database(&object(json!({
            "apiVersion": "stepgate.io/v1alpha1", "kind": "DatabaseSchema",
            "metadata": {"namespace": "n", "name": "db"}, "record": record,
        })))
    };
    assert_eq!(
        named(json!({"undoFloor": 3})).unwrap().record.undo_floor,
        Some(3)
    );
    assert_eq!(
        *named(Value::Null).unwrap().record,
        DatabaseRecord::default()
    );
    let error = named(json!({"undoFloor": "three"})).unwrap_err();
    assert!(error.starts_with("undoFloor: "), "{error}");
    // After a downgrade: a phase that only a later version knows.
    let phase = |kind: &str| {
        json!({"phases": [{"rollout": "shop", "revision": "r", "phase": kind, "attempt": 1,
                           "succeeded": true, "job": "j", "ended": "2030-01-01T00:00:00Z"}]})
    };
    assert_eq!(named(phase("Expand")).unwrap().record.phases.len(), 1);
    let error = named(phase("Seed")).unwrap_err();
    assert!(error.starts_with("phases[0].phase: "), "{error}");
    assert!(error.contains("Seed"), "{error}");
}
