//! Steps that are edited while a release is at one of them.

use serde_json::json;

use super::fixture::World;
use crate::api::{Step, status::StepStatus};

fn step(world: &World) -> StepStatus {
    let release = world.status().release.clone().unwrap();
    release.step.unwrap()
}

fn named(name: &str, replicas: &str) -> Step {
    serde_json::from_value(json!({"name": name, "replicas": replicas, "holdSeconds": 300})).unwrap()
}

#[test]
fn a_step_that_is_moved_is_gone_on_with() {
    let mut world = World::stable("v1").wants("v2").at_step(1);
    let before = step(&world);
    world.edit_spec(|spec| {
        let steps = &mut spec.strategy.canary.steps;
        steps.insert(0, named("first", "10%"));
    });
    world.settle();
    let now = step(&world);
    assert_eq!((now.index, now.name), (2, before.name));
    assert_eq!(now.reached, before.reached, "its hold goes on");
    assert_eq!(now.held, before.held);
}

#[test]
fn a_step_that_is_gone_begins_again_at_the_first() {
    let mut world = World::stable("v1").wants("v2").at_step(1);
    world.edit_spec(|spec| spec.strategy.canary.steps[1] = named("third", "33%"));
    let release = world.record().release.unwrap();
    let now = release.step.unwrap();
    assert_eq!((now.index, now.name.as_str()), (0, "canary"));
    assert_eq!(now.reached, None, "nothing of it has been held");
    world.settle();
    assert_eq!(world.seen.child(&world.revision("v2")).unwrap().replicas, 1);
}
