use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::*;

fn object(value: Value) -> DynamicObject {
    serde_json::from_value(value).unwrap()
}

fn rollout(spec: Value, status: Value) -> StoredRollout {
    let metadata = json!({"namespace": "n", "name": "shop", "uid": "u", "generation": 3});
    StoredRollout::new(&object(json!({
        "apiVersion": "stepgate.io/v1alpha1", "kind": "Rollout",
        "metadata": metadata, "spec": spec, "status": status,
    })))
}

fn spec() -> Value {
    json!({
        "selector": {"matchLabels": {"app": "shop"}},
        "template": {"metadata": {"labels": {"app": "shop"}}, "spec": {"newer": 1}},
        "schema": {"database": "db"},
    })
}

#[test]
fn a_rollout_is_the_same_after_it_was_kept_as_text() {
    let stored = rollout(spec(), json!({"observedGeneration": -1}));
    assert_eq!(stored.database.as_deref(), Some("db"));
    let facts = stored.facts(None);
    let read: RolloutSpec = serde_json::from_value(spec()).unwrap();
    assert_eq!(facts.spec.as_deref().map(|spec| &**spec), Ok(&read));
    assert_eq!(facts.status.observed_generation, Some(-1));
    assert_eq!((facts.generation, facts.deleting), (3, false));
}

#[test]
fn what_has_not_changed_is_not_parsed_again() {
    let stored = rollout(spec(), json!({"observedGeneration": 1}));
    let known = stored.facts(None);
    let same = |one: &RolloutFacts, two: &RolloutFacts| match (&one.spec, &two.spec) {
        (Ok(one), Ok(two)) => Arc::ptr_eq(one, two),
        _ => false,
    };
    let again = stored.facts(Some(&known));
    assert!(same(&again, &known) && Arc::ptr_eq(&again.status, &known.status));

    let mut another = known.clone();
    another.base.resource_version = "another".into();
    let again = stored.facts(Some(&another));
    assert!(same(&again, &known) && !Arc::ptr_eq(&again.status, &known.status));
    another.generation += 1;
    assert!(!same(&stored.facts(Some(&another)), &known));
    another = known.clone();
    another.base.uid = "another".into();
    assert!(!same(&stored.facts(Some(&another)), &known));
}

#[test]
fn a_spec_that_cannot_be_read_names_its_field() {
    let mut wrong = spec();
    wrong["strategy"] = json!({"canary": {"steps": [{"name": "a", "replicas": {}}]}});
    let facts = rollout(wrong, Value::Null).facts(None);
    let error = facts.spec.unwrap_err();
    assert!(
        error.starts_with("strategy.canary.steps[0].replicas: "),
        "{error}"
    );
    assert!(!error.contains("line"), "{error}");
    let error = rollout(Value::Null, Value::Null)
        .facts(None)
        .spec
        .unwrap_err();
    assert!(error.contains("invalid type: null"), "{error}");
}

#[test]
fn a_status_that_cannot_be_read_counts_as_lost() {
    let facts = rollout(spec(), json!({"replicas": "many"})).facts(None);
    assert_eq!(*facts.status, RolloutStatus::default());
    assert!(facts.spec.is_ok());
}

#[test]
fn a_status_of_ones_own_concerns_nobody_else() {
    let old = rollout(spec(), Value::Null);
    assert!(!rollout(spec(), json!({"replicas": 3})).concerns_others(&old));
    let mut other = spec();
    other["schema"] = json!({"database": "other"});
    assert!(rollout(other, Value::Null).concerns_others(&old));
    let mut wider = spec();
    wider["template"]["metadata"]["labels"]["tier"] = json!("web");
    assert!(rollout(wider, Value::Null).concerns_others(&old));
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
}
