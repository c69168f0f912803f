//! What is forgotten of old revisions, and what is not.

use super::fixture::World;
use crate::{
    api::status::Outcome,
    plan::{
        facts::{Refusal, Refused},
        intent::{Kind, Write},
    },
};

/// Names of what is to be deleted.
fn going(world: &World) -> Vec<(Kind, String)> {
    let writes = world.plan().writes.into_iter();
    let deleted = writes.filter_map(|write| match write {
        Write::Delete { kind, base } => Some((kind, base.name)),
        _ => None,
    });
    deleted.collect()
}

/// `v2` has replaced `v1`, of which nothing is to be kept.
fn replaced() -> World {
    let mut world = World::stable("v1").wants("v2").at_step(2);
    world.hold(1000);
    world.settle();
    assert_eq!(world.outcome("v2"), Some(Outcome::Stable));
    world.edit_spec(|spec| spec.revision_history_limit = 0);
    for write in world.plan().writes {
        if matches!(write, Write::RecordStatus { .. }) {
            world.apply(write);
        }
    }
    world
}

#[test]
fn an_old_deployment_goes_when_its_pods_have_gone_and_its_memory_after_it() {
    for (replicas, status_replicas) in [(0, 2), (2, 0), (0, 0)] {
        let mut world = replaced();
        let v1 = world.revision("v1");
        let mut children = world.seen.objects.children.iter_mut();
        let child = children.find(|c| c.revision == v1).unwrap();
        (child.replicas, child.status_replicas) = (replicas, status_replicas);
        let name = child.base.name.clone();
        let empty = replicas == 0 && status_replicas == 0;
        let expected = if empty {
            vec![(Kind::Deployment, name)]
        } else {
            vec![]
        };
        assert_eq!(going(&world), expected, "{replicas} {status_replicas}");
    }
    let mut world = replaced();
    let v1 = world.revision("v1");
    world.seen.objects.children.retain(|c| c.revision != v1);
    let record = world.seen.objects.revision(&v1).unwrap().base.name.clone();
    assert_eq!(going(&world), [(Kind::Revision, record)]);
    // It goes already.
    let mut records = world.seen.objects.revisions.iter_mut();
    records.find(|r| r.revision == v1).unwrap().deleting = true;
    assert_eq!(going(&world), []);
}

#[test]
fn a_failed_revision_that_the_spec_still_asks_for_is_never_forgotten() {
    let mut world = World::stable("v1").wants("v2").at_step(0);
    world.fails("p95");
    world.settle();
    world.edit_spec(|spec| spec.revision_history_limit = 0);
    world.settle();
    assert_eq!(world.outcome("v2"), Some(Outcome::Failed));
    assert!(world.seen.objects.child(&world.revision("v2")).is_some());
}

#[test]
fn an_idle_rollout_asks_nothing() {
    let mut world = World::stable("v1");
    world.seen.answers = crate::plan::facts::Answers::default();
    assert_eq!(world.plan().questions, []);
}

#[test]
fn nothing_is_forgotten_while_something_is_in_motion_or_was_refused() {
    let mut world = replaced();
    assert_ne!(going(&world), []);
    world.seen.refusals.push(Refusal {
        what: Refused::Other,
        message: "denied by policy".into(),
        transient: false,
    });
    assert_eq!(going(&world), []);
    world.seen.refusals.clear();
    let mut world = world.wants("v3");
    for _ in 0..4 {
        world.step();
        assert_eq!(going(&world), []);
    }
    assert!(world.status().release.is_some());
}
