//! A first deployment: there is no stable revision to return to.

use super::fixture::{World, reading, stalled};
use crate::{evidence::Verdict, plan::draft::later};

/// `v1` is held, all 8 pods of it.
fn held() -> World {
    let mut world = World::new().wants("v1");
    world.seen.answers.overlaps = Some(Vec::new());
    world.seen.answers.revisions_live = true;
    world.edit_spec(|spec| spec.schema = None);
    world.settle();
    let release = world.status().release.as_ref().unwrap();
    assert!(release.first && release.step().is_some());
    world
}

#[test]
fn a_command_is_taken_though_nothing_is_stable_or_has_ended() {
    let mut world = held();
    let v1 = world.revision("v1");
    world.command("pause", &format!("{v1} p1"));
    let status = world.record();
    assert_eq!(status.commands[0].result, "Done", "{:?}", status.commands);
    world.command("promote", &format!("{v1}/full p2"));
    let status = world.record();
    assert_eq!(status.commands[0].result, "Done", "{:?}", status.commands);
    assert_eq!(status.stable.unwrap().revision, v1);
}

#[test]
fn one_that_waits_for_a_person_is_scaled_all_the_same() {
    let mut world = held().with_check("errors");
    world.says(vec![reading("errors", Verdict::Fail)]);
    world.settle();
    assert_eq!(stalled(world.status()), "CheckFailed");
    world.edit_spec(|spec| spec.replicas = 12);
    world.settle();
    let v1 = world.revision("v1");
    assert_eq!(world.seen.objects.child(&v1).unwrap().replicas, 12);
}

#[test]
fn one_end_of_a_container_keeps_nobody_waiting() {
    let mut world = held();
    world.hold(2000);
    let (v1, at) = (world.revision("v1"), later(world.now, -5));
    world.pod(&v1).ended = Some(at);
    let stable = world.record().stable.map(|s| s.revision);
    assert_eq!(stable, Some(v1));
}
