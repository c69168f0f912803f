//! What the pod of a phase does not have of the Rollout's own pods is told before its Job is made.

use serde_json::json;

use super::{
    fixture::World,
    makes_a_job,
    phases::{ends, world},
};

/// What is told of that while a release goes on to its pods, and how many Jobs were made before each.
fn told(mut world: World) -> Vec<(String, usize)> {
    let (mut told, mut made) = (Vec::new(), 0);
    for _ in 0..25 {
        let plan = world.plan();
        let events = plan.events.into_iter();
        let events = events.filter(|event| event.reason.word() == "LeftOut");
        told.extend(events.map(|event| (event.message, made)));
        for write in plan.writes {
            made += usize::from(makes_a_job(&write));
            world.apply(write);
        }
        ends(&mut world, true);
    }
    assert!(made > 0, "nothing ran");
    told
}

fn with_a_proxy(schema: serde_json::Value) -> World {
    let mut world = world(schema);
    world.edit_spec(|spec| {
        let containers = spec.template["spec"]["containers"].as_array_mut();
        let containers = containers.expect("containers");
        containers.push(json!({"name": "proxy", "image": "proxy:1"}));
        spec.template["metadata"]["labels"]["role"] = json!("api");
    });
    world
}

#[test]
fn it_is_told_once_and_before_the_job_is_made() {
    let told = told(with_a_proxy(json!({})));
    let [(words, 0)] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert!(words.contains("container proxy, label role"), "{words}");
    assert!(
        words.contains("spec.schema.job (keepContainers, labels)"),
        "{words}"
    );
}

#[test]
fn nothing_is_told_where_nothing_is_left_out() {
    let kept = json!({"job": {"keepContainers": ["proxy"], "labels": {"role": "migration"}}});
    assert_eq!(told(with_a_proxy(kept)), []);
    assert_eq!(told(world(json!({}))), []);
    // A template runs as it is written.
    let pod = json!({"spec": {"containers": [{"name": "sql", "image": "sql:1"}]}});
    assert_eq!(told(with_a_proxy(json!({"expand": {"template": pod}}))), []);
}
