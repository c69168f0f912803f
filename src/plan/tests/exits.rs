//! Containers that end by themselves.

use super::fixture::{World, condition};
use crate::{api::status::Outcome, plan::draft::later};

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
    assert!(ready.message.contains("exited at"), "{ready:?}");
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

/// `v2` is held with one pod, which has stopped being ready so many times, every so many seconds,
/// and is ready again.
fn flapped(times: i64, every: i64) -> World {
    let mut world = World::stable("v1").wants("v2").at_step(0);
    let v2 = world.revision("v2");
    for _ in 0..times {
        world.now = later(world.now, every);
        for available in [0, 1] {
            let now = world.now;
            let mut children = world.seen.objects.children.iter_mut();
            children.find(|c| c.revision == v2).unwrap().available = available;
            let pod = world.pod(&v2);
            (pod.lost, pod.ready_since) = match available {
                0 => (Some(now), None),
                _ => (None, Some(now)),
            };
            // A pass that sees the same loss twice counts it once.
            world.settle();
            world.settle();
            if world.status().release.is_none() {
                return world;
            }
        }
    }
    world
}

#[test]
fn a_pod_that_stops_being_ready_again_and_again_fails_its_revision() {
    let failed = |times, every| flapped(times, every).outcome("v2") == Some(Outcome::Failed);
    assert!(!failed(2, 20));
    assert!(failed(3, 20));
    assert!(!failed(3, 301), "not within ten minutes");
    let world = flapped(3, 20);
    let why = &world.status().history[0];
    assert_eq!(why.reason, "ReadinessLost");
    assert!(why.message.contains("3 times within 10 minutes"), "{why:?}");
    let pod = format!("pod shop-{}-0", world.revision("v2"));
    assert!(why.message.contains(&pod), "{why:?}");
}

#[test]
fn no_step_is_left_right_after_a_pod_stopped_being_ready() {
    let mut world = flapped(1, 400);
    assert_eq!(step_of(&world), 0);
    world.now = later(world.now, 59);
    world.settle();
    assert_eq!(step_of(&world), 0, "the hold is over, and it is not proven");
    world.now = later(world.now, 2);
    world.settle();
    assert_eq!(step_of(&world), 1);
}
