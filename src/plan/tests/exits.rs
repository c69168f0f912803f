//! Containers that end by themselves.

use super::fixture::{World, condition};
use crate::plan::draft::later;

#[test]
fn a_crash_loop_is_undone_before_the_progress_deadline() {
    let mut world = World::stable("v1").wants("v2").at_step(0);
    let revision = world.revision("v2");
    world.pod(&revision).waiting = Some(("CrashLoopBackOff".into(), "back-off 10s".into()));
    let release = world.decide().release.unwrap();
    assert_eq!(release.undo().unwrap().reason, "CrashLooping");
}

/// A canary that is held, of which a container ended so many seconds ago, by its node's clock.
fn restarted(held: i64, ago: i64) -> World {
    let mut world = World::stable("v1").wants("v2").at_step(0);
    world.hold(held);
    let at = later(world.now, -ago);
    let revision = world.revision("v2");
    let pod = world.pod(&revision);
    (pod.restarts, pod.ended) = (1, Some(at));
    world
}

fn step_of(world: &World) -> i32 {
    let release = world.status().release.clone().unwrap();
    release.step().unwrap().index
}

#[test]
fn no_step_is_left_right_after_a_container_of_it_ended() {
    let step = |ago| {
        let release = restarted(10_000, ago).decide().release.unwrap();
        release.step().unwrap().index
    };
    assert_eq!(step(61), 1);
    // The clock of its node is an hour ahead: that says nothing.
    assert_eq!(step(-3600), 1);
    let mut world = restarted(20, 3);
    world.settle();
    assert_eq!(step_of(&world), 0);
    let ready = condition(world.status(), "Ready");
    assert_eq!(ready.reason, "Inconclusive");
    assert!(ready.message.contains("ended by itself"), "{ready:?}");
    assert_eq!(world.plan().wake_at, Some(later(world.now, 7)));
}

#[test]
fn stable_keeps_its_pods_right_after_a_container_of_the_canary_ended() {
    let sizes = |ago| {
        let mut world = restarted(0, ago);
        let (v1, v2) = (world.revision("v1"), world.revision("v2"));
        world.command("promote", &format!("{v2}/canary p1"));
        let size = |world: &World, of: &str| world.seen.objects.child(of).unwrap().replicas;
        let before = (size(&world, &v1), size(&world, &v2));
        world.record();
        assert_eq!(step_of(&world), 1);
        world.step();
        (before, (size(&world, &v1), size(&world, &v2)))
    };
    let (before, after) = sizes(3);
    assert_eq!(before, after);
    let (before, after) = sizes(30);
    assert!(after.1 > before.1, "{before:?} {after:?}");
}
