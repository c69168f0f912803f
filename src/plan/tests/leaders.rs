//! Leaders that come after one another.

use super::{
    super::{facts::Question, intent::Write},
    fixture::World,
};

#[test]
fn a_new_leader_fences_a_rollout_in_motion_before_it_decides_anything() {
    let mut world = World::stable("v1").wants("v2").at_step(0);
    world.seen.epoch += 1;
    world.spec = world.seen.objects.rollout.spec.clone().unwrap();
    let mut world = world.wants("v3");
    world.seen.objects.rollout.spec = Ok(world.spec.clone());
    let writes = world.plan().writes;
    let fences = writes.iter().filter(|w| matches!(w, Write::Fence { .. }));
    assert_eq!(fences.count(), 2, "{writes:?}");
    assert!(matches!(writes[0], Write::Fence { .. }));
}

#[test]
fn whoever_reads_a_higher_epoch_stops() {
    let mut world = World::stable("v1").wants("v2").at_step(0);
    world.seen.epoch -= 1;
    world.seen.outranks -= 1;
    world.edit_spec(|spec| spec.replicas = 20);
    assert_eq!(world.plan().writes, []);
    assert_eq!(world.plan().wake_at, None);
    // Unless it was found out that the higher one is of nobody: then it is replaced.
    world.seen.outranks += 1;
    let writes = world.plan().writes;
    let fences = |w: &Write| matches!(w, Write::Fence { epoch: 0, .. });
    assert!(
        !writes.is_empty() && writes.iter().all(fences),
        "{writes:?}"
    );
}

#[test]
fn what_only_waits_costs_a_new_leader_nothing() {
    let mut world = World::stable("v1").wants("v2").at_step(0);
    world.edit_spec(|spec| spec.replicas = 0);
    world.settle();
    world.seen.epoch += 1;
    world.seen.outranks += 1;
    world.seen.confirmed = false;
    let plan = world.plan();
    assert_eq!((plan.writes, plan.questions), (vec![], vec![]));
    // When there is something to do, it is fenced first.
    world.edit_spec(|spec| spec.replicas = 8);
    assert_eq!(world.plan().questions, [Question::Rollout("shop".into())]);
    world.seen.confirmed = true;
    let writes = world.plan().writes;
    assert!(!writes.is_empty() && writes.iter().all(|w| matches!(w, Write::Fence { .. })));
}

/// A leader that has only its caches to go by may see the record of its predecessor's time.
#[test]
fn nothing_is_moved_on_a_record_that_only_a_cache_shows() {
    let mut world = World::stable("v1").wants("v2").at_stage("step");
    let moves = world.plan().writes;
    assert!(
        moves.iter().all(|w| matches!(w, Write::Scale { .. })) && !moves.is_empty(),
        "{moves:?}"
    );
    world.seen.confirmed = false;
    let plan = world.plan();
    assert_eq!(plan.questions, [Question::Rollout("shop".into())]);
    assert!(plan.writes.is_empty(), "{:?}", plan.writes);

    // Where it cannot be read for long, that is said: such a write fails on an old record.
    world.seen.unread = Some("Rollout shop: no answer".into());
    let plan = world.plan();
    assert_eq!(plan.questions, []);
    assert!(
        matches!(plan.writes.as_slice(), [Write::RecordStatus { .. }]),
        "{:?}",
        plan.writes
    );
}

/// What is put on record first needs no question: the API server refuses it on an old copy.
#[test]
fn a_decision_is_not_asked_for_twice() {
    let mut world = World::stable("v1").wants("v2");
    world.seen.confirmed = false;
    let plan = world.plan();
    assert_eq!(plan.questions, []);
    assert!(matches!(
        plan.writes.as_slice(),
        [Write::RecordStatus { .. }]
    ));
}
