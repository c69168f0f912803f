//! What is known no more: a status that was lost, owners whose uid is gone, revisions forgotten.

use std::sync::Arc;

use super::{
    super::{
        facts::Question,
        intent::{Kind, Write},
    },
    fixture::{World, condition, stalled},
};
use crate::api::status::Outcome;

/// After a restore a cache may show the ControllerRevision of an earlier stable before the last.
#[test]
fn a_lost_status_is_rebuilt_from_a_live_list_alone() {
    let mut world = World::stable("v1");
    world.seen.objects.rollout.status = Arc::default();
    world.seen.answers.revisions_live = false;
    let plan = world.plan();
    assert!(plan.writes.is_empty(), "{:?}", plan.writes);
    assert_eq!(plan.questions, [Question::Revisions]);
}

/// After a restore a cache may show no ControllerRevision at all: the Rollout is not new for that.
#[test]
fn a_command_is_not_taken_for_new_by_a_cache_that_lags() {
    let mut world = World::stable("v1");
    let v1 = world.revision("v1");
    world.command("pause", &format!("{v1} one"));
    world.seen.objects.rollout.status = Arc::default();
    let known = std::mem::take(&mut world.seen.objects.revisions);
    world.seen.answers.revisions_live = false;
    let plan = world.plan();
    assert!(plan.writes.is_empty(), "{:?}", plan.writes);
    assert_eq!(plan.questions, [Question::Revisions]);

    world.seen.objects.revisions = known;
    world.seen.answers.revisions_live = true;
    world.settle();
    assert_eq!(world.status().commands[0].result, "Ignored");
}

/// What is said of a status that is lost, before it is rebuilt, does not make it whole.
#[test]
fn a_command_is_not_carried_out_again_because_something_could_not_be_read() {
    for spec_is_unreadable in [false, true] {
        let mut world = World::stable("v1");
        let v1 = world.revision("v1");
        world.command("pause", &format!("{v1} one"));
        world.seen.objects.rollout.status = Arc::default();
        let spec = world.seen.objects.rollout.spec.clone();
        if spec_is_unreadable {
            world.seen.objects.rollout.spec = Err("spec.template: wrong".into());
        } else {
            world.seen.answers.revisions_live = false;
            world.seen.unread = Some("the API server is away".into());
        }
        let plan = world.plan();
        let [Write::RecordStatus { status, .. }] = plan.writes.as_slice() else {
            panic!("{:?}", plan.writes);
        };
        world.seen.objects.rollout.status = Arc::new((**status).clone());
        world.seen.objects.rollout.spec = spec;
        world.seen.unread = None;
        world.seen.answers.revisions_live = true;
        world.settle();
        assert_eq!(world.status().commands[0].result, "Ignored");
    }
}

#[test]
fn a_lost_status_is_rebuilt_from_the_revisions() {
    let mut world = World::stable("v1");
    world.settle();
    *Arc::make_mut(&mut world.seen.objects.rollout.status) = Default::default();
    world.settle();
    assert_eq!(
        world.status().stable.as_ref().unwrap().revision,
        world.revision("v1")
    );
    assert_eq!(condition(world.status(), "Ready").status, "True");
}

#[test]
fn a_command_is_not_carried_out_again_because_the_status_was_lost() {
    let mut world = World::stable("v1");
    world.settle();
    let mut world = world.wants("v2");
    let v2 = world.revision("v2");
    world.seen.objects.rollout.spec = Ok(world.spec.clone());
    world.settle();
    world.command("undo", &format!("{v2} one"));
    world.settle();
    assert_eq!(world.outcome("v2"), Some(Outcome::Failed));
    world.command("retry", &format!("{v2} two"));
    world.settle();
    world.command("undo", &format!("{v2} three"));
    world.settle();
    *Arc::make_mut(&mut world.seen.objects.rollout.status) = Default::default();
    world.settle();
    assert_eq!(world.outcome("v2"), Some(Outcome::Failed));
    assert!(
        world.status().release.is_none(),
        "a failed revision is not tried again"
    );
    assert!(
        world
            .status()
            .commands
            .iter()
            .all(|c| c.result == "Ignored")
    );
}

#[test]
fn nothing_is_adopted_before_the_rollout_is_known_to_be_there() {
    let mut world = World::stable("v1");
    world.settle();
    world.seen.objects.revisions[0].owner_uid = Some("gone".into());
    let writes = world.plan().writes;
    assert!(
        matches!(
            writes.as_slice(),
            [Write::RecordStatus { .. }, Write::Adopt { .. }, ..]
        ),
        "{writes:?}"
    );
}

/// After a restore: what keeps the owner whose uid is gone is collected as garbage.
#[test]
fn whatever_is_left_without_its_owner_is_adopted() {
    let mut world = World::stable("v1");
    world.settle();
    world.seen.objects.revisions[0].owner_uid = Some("gone".into());
    world.seen.objects.children[0].owner_uid = Some("gone".into());
    let writes = world.plan().writes;
    for wanted in [Kind::Revision, Kind::Deployment] {
        let adopted = |w: &&Write| matches!(w, Write::Adopt { kind, .. } if *kind == wanted);
        assert_eq!(writes.iter().filter(adopted).count(), 1, "{writes:?}");
    }
}

#[test]
fn pods_of_a_revision_that_nothing_remembers_are_left_alone() {
    let mut world = World::stable("v1");
    world.settle();
    world.seen.objects.revisions.clear();
    world.seen.answers.revisions_live = true;
    world.seen.objects.rollout.status = Arc::default();
    let mut world = world.wants("v2");
    world.seen.objects.rollout.spec = Ok(world.spec.clone());
    let status = world.record();
    assert_eq!(stalled(&status), "MemoryLost");
    assert_eq!(
        world
            .seen
            .objects
            .child(&world.revision("v1"))
            .unwrap()
            .replicas,
        8
    );
}
