//! What the Job of a contract proves before it removes anything.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{fixture::World, fixture::second, versions};
use crate::{
    api::sql::KeyRef,
    plan::{
        facts::Text,
        intent::{Kind, Write},
        job::order_in,
    },
};

/// Version 2 is released, with this backfill and this contract, and nobody is below it.
fn world(backfill: &Value, contract: &Value) -> World {
    let mut contract = contract.clone();
    contract["afterSeconds"] = json!(10);
    let mut world = World::new();
    let key = KeyRef {
        name: "sql".into(),
        key: "contract.sql".into(),
    };
    world.seen.answers.texts = BTreeMap::from([(key, Text::Is("0a".into()))]);
    let world = versions::released(world, |spec| {
        let schema = json!({
            "database": "db",
            "version": 2,
            "expand": {"command": ["x"]},
            "postgres": {"connection": {"secretKeyRef": {"name": "ddl", "key": "uri"}}},
            "backfill": backfill,
            "contract": contract,
        });
        spec.schema = serde_json::from_value(schema).expect("a schema");
        let pod = &mut spec.template["spec"];
        pod["volumes"] = json!([{"name": "ca", "emptyDir": {}}, {"name": "other", "emptyDir": {}}]);
        pod["containers"][0]["volumeMounts"] = json!([{"name": "ca", "mountPath": "/ca"}]);
        pod["securityContext"] = json!({"runAsUser": 7});
    });
    let mut world = versions::filled_in(world);
    world.now = second(60);
    world
}

/// The pod of its contract, once that is approved.
fn pod(world: &mut World) -> Value {
    for _ in 0..30 {
        versions::approve(world, 2);
        for write in world.plan().writes {
            match write {
                Write::Create {
                    kind: Kind::Job,
                    manifest,
                } if manifest["metadata"]["name"]
                    .to_string()
                    .contains("contract") =>
                {
                    return manifest["spec"]["template"]["spec"].clone();
                }
                write => world.apply(write),
            }
        }
    }
    panic!("no Job is made: {:?}", world.plan());
}

fn of(backfill: &Value, contract: &Value) -> Value {
    pod(&mut world(backfill, contract))
}

fn names(list: &Value) -> Vec<&str> {
    let list = list.as_array().into_iter().flatten();
    list.map(|c| c["name"].as_str().expect("a name")).collect()
}

fn batches() -> Value {
    json!({"batches": [{"name": "names", "table": "public.users", "key": ["id"],
                        "set": "a = b", "where": "a IS NULL"}]})
}

fn verified() -> Value {
    json!({"command": ["fill"], "verify": {"command": ["prove", "it"]}})
}

fn sql() -> Value {
    let file = json!({"configMapKeyRef": {"name": "sql", "key": "contract.sql"}});
    json!({"sql": {"files": [file]}})
}

#[test]
fn the_command_that_proves_runs_before_the_command_of_the_contract() {
    let pod = of(&verified(), &json!({"command": ["drop"]}));
    let first = &pod["initContainers"][0];
    assert_eq!(first["name"], "stepgate-verify");
    assert_eq!(first["command"], json!(["prove", "it"]));
    assert_eq!(first["image"], pod["containers"][0]["image"]);
    assert_eq!(pod["containers"][0]["command"], json!(["drop"]));
    assert_eq!(names(&pod["volumes"]), ["ca", "other"]);
}

#[test]
fn the_command_that_proves_finds_in_the_runners_pod_what_it_needs() {
    let pod = of(&verified(), &sql());
    assert_eq!(names(&pod["initContainers"]), ["stepgate-verify"]);
    assert_eq!(names(&pod["containers"]), ["stepgate-sql"]);
    assert_eq!(names(&pod["volumes"]), ["stepgate-sql", "ca"]);
    assert_eq!(pod["securityContext"], json!({"runAsUser": 7}));
    let order = order_in(&pod["containers"][0]["env"]).expect("an order");
    assert_eq!(order["proofs"], json!([]));
}

#[test]
fn the_runner_counts_what_batches_have_filled_in_whatever_the_contract_is() {
    let template =
        json!({"template": {"spec": {"containers": [{"name": "drop", "image": "d:1"}]}}});
    for contract in [
        json!({"command": ["drop"], "deadlineSeconds": 100}),
        template,
    ] {
        let pod = of(&batches(), &contract);
        assert_eq!(names(&pod["initContainers"]), ["stepgate-proof"]);
        let first = &pod["initContainers"][0];
        assert_eq!(first["image"], "stepgate-sql:test");
        let order = order_in(&first["env"]).expect("an order");
        assert_eq!(order["proofs"][0]["where"], "a IS NULL");
        assert_eq!(order["files"], json!([]));
        if contract["command"].is_array() {
            // It ends before its Job does, and says that nothing was applied.
            assert_eq!(order["deadlineSeconds"], 50);
        }
    }
    // The runner's own contract counts by itself.
    let pod = of(&batches(), &sql());
    assert!(pod.get("initContainers").is_none());
    let order = order_in(&pod["containers"][0]["env"]).expect("an order");
    assert_eq!(order["proofs"][0]["name"], "names");
}

#[test]
fn without_the_runners_image_nothing_is_removed_and_it_is_said() {
    let mut world = world(&batches(), &json!({"command": ["drop"]}));
    world.seen.sql_image = "".into();
    for _ in 0..30 {
        versions::approve(&mut world, 2);
        for write in world.plan().writes {
            assert!(!super::makes_a_job(&write), "{write:?}");
            world.apply(write);
        }
    }
    let schema = world.status().schema.clone().expect("the schema");
    assert_eq!(schema.state, "NoSqlRunner", "{}", schema.message);
}

#[test]
fn what_may_be_gone_is_not_asked_for_again() {
    let mut world = world(&verified(), &json!({"command": ["drop"]}));
    let record = world.database_mut();
    let mut failed = record.phases[0].clone();
    (failed.phase, failed.version) = (crate::api::PhaseKind::Contract, Some(2));
    (failed.succeeded, failed.nothing_applied) = (false, true);
    failed.job = "shop-b-contract-0".into();
    failed.attempt = 0;
    record.phases.push(failed);
    let again = pod(&mut world);
    assert_eq!(names(&again["initContainers"]), ["stepgate-verify"]);
    let record = world.database_mut();
    let last = record.phases.last_mut().expect("it");
    last.nothing_applied = false;
    let job = world
        .seen
        .objects
        .database
        .as_ref()
        .and_then(|d| d.record.holder.clone());
    assert!(job.is_some());
    let again = pod(&mut world);
    assert!(again.get("initContainers").is_none(), "{again}");
}
