//! Pods that are waited for: merely starting, late, without room.

use super::fixture::{World, condition};
use crate::plan::draft::later;

/// `v2` is at its first step of one pod; that pod is not ready for so many seconds by now.
fn unready(seconds: i64) -> World {
    let mut world = World::stable("v1").wants("v2").at_step(0);
    let (v2, since) = (world.revision("v2"), later(world.now, -seconds));
    let mut children = world.seen.objects.children.iter_mut();
    children.find(|c| c.revision == v2).unwrap().available = 0;
    let pod = world.pod(&v2);
    (pod.created, pod.ready_since) = (since, None);
    world
}

fn words(world: &World) -> String {
    condition(world.status(), "Ready").message.clone()
}

fn undone(world: &World) -> Option<String> {
    let release = world.status().release.as_ref()?;
    release.undo().map(|undo| undo.message.clone())
}

#[test]
fn what_was_reached_and_is_lost_is_not_called_unreached() {
    let mut world = unready(5000);
    world.settle();
    assert!(
        words(&world).contains("was reached at"),
        "{}",
        words(&world)
    );
    world.now = later(world.now, world.spec.strategy.progress_deadline_seconds);
    world.record();
    let why = undone(&world).unwrap();
    assert!(
        why.contains("then lacked pods for") && !why.contains("was not reached"),
        "{why}"
    );
    assert!(why.contains("0 of 1 pods"), "{why}");
    assert!(why.contains("look at its readiness probe"), "{why}");
}

#[test]
fn no_probe_is_accused_while_a_pod_merely_starts() {
    let mut world = unready(10);
    world.settle();
    assert!(
        words(&world).contains("has been starting since"),
        "{}",
        words(&world)
    );
    assert!(!words(&world).contains("probe"), "{}", words(&world));
}

#[test]
fn the_deadline_stands_still_while_pods_wait_for_the_room_of_others() {
    let wait = |ends_in: i64| {
        let mut world = unready(10);
        let (v1, v2, now) = (world.revision("v1"), world.revision("v2"), world.now);
        world.pod(&v2).unschedulable = Some("no room".into());
        let draining = world.pod(&v1);
        (draining.deleting, draining.ends_by) = (true, Some(later(now, ends_in)));
        let name = draining.name.clone();
        world.settle();
        for seconds in [200, 1000] {
            world.now = later(now, seconds);
            world.settle();
        }
        (world, name)
    };
    let (world, name) = wait(1800);
    assert_eq!(undone(&world), None);
    assert_eq!(condition(world.status(), "Ready").reason, "WaitingForRoom");
    assert!(words(&world).contains(&name), "{}", words(&world));
    // One that should be gone long ago is not waited for.
    let (world, _) = wait(100);
    assert!(
        world.status().release.is_none(),
        "{:?}",
        world.status().release
    );
}

/// The only pod of `v2` is on `node-1` and not ready, where for so long nothing is said of `v1`.
fn on_a_silent_node(others: &str) -> World {
    let mut world = unready(10);
    let (v1, v2, now) = (world.revision("v1"), world.revision("v2"), world.now);
    world.pod(&v2).node = Some("node-1".into());
    let silent = world.pod(&v1);
    (silent.ready_since, silent.silent) = (None, Some(later(now, -40)));
    silent.node = Some(others.into());
    world.settle();
    for seconds in [200, 5000] {
        world.now = later(now, seconds);
        world.settle();
    }
    world
}

#[test]
fn the_deadline_stands_still_while_the_node_of_a_pod_says_nothing() {
    let world = on_a_silent_node("node-1");
    assert_eq!(undone(&world), None);
    assert_eq!(condition(world.status(), "Ready").reason, "WaitingForNode");
    let words = words(&world);
    assert!(
        words.contains("node node-1 has not reported since"),
        "{words}"
    );
    assert!(!words.contains("probe"), "{words}");
    // A pod that does not become ready elsewhere is late all the same.
    let world = on_a_silent_node("node-2");
    assert!(
        world.status().release.is_none(),
        "{:?}",
        world.status().release
    );
}

#[test]
fn no_probe_is_accused_of_a_pod_whose_node_says_nothing() {
    let mut world = World::stable("v1");
    let (v1, now) = (world.revision("v1"), world.now);
    for child in &mut world.seen.objects.children {
        child.available = 0;
    }
    for pod in &mut world.seen.objects.pods {
        (pod.ready_since, pod.silent) = (None, Some(later(now, -40)));
        pod.node = Some("node-1".into());
    }
    assert!(world.seen.objects.pods_of(&v1).count() > 0);
    world.settle();
    let words = words(&world);
    assert!(
        words.contains("is on node node-1, which has not reported since"),
        "{words}"
    );
}

/// Pods come up, and others are lost: that is slow, and no failure.
#[test]
fn a_release_whose_pods_come_up_is_not_undone_for_being_slow() {
    let slow = |came_up: bool| {
        let mut world = World::stable("v1").wants("v2").at_step(1);
        world.hold(10_000);
        world.record();
        let v2 = world.revision("v2");
        world.step();
        world.now = later(world.now, world.spec.strategy.progress_deadline_seconds);
        let (now, mut fresh) = (world.now, 0);
        let pods = world.seen.objects.pods.iter_mut();
        for pod in pods.filter(|p| p.revision == v2) {
            fresh += 1;
            if fresh == 1 {
                // It has just been started in the place of one that was lost.
                (pod.created, pod.ready_since) = (later(now, -5), None);
            } else if came_up {
                (pod.created, pod.ready_since) = (later(now, -100), Some(later(now, -60)));
            } else {
                (pod.created, pod.ready_since) = (later(now, -5000), Some(later(now, -4900)));
            }
        }
        let mut children = world.seen.objects.children.iter_mut();
        let child = children.find(|c| c.revision == v2).unwrap();
        child.available = child.replicas - 1;
        if let Some(release) =
            &mut std::sync::Arc::make_mut(&mut world.seen.objects.rollout.status).release
        {
            release.step_mut().unwrap().available = 100;
        }
        world.record();
        undone(&world)
    };
    assert_eq!(slow(true), None);
    assert!(slow(false).unwrap().contains("has been starting since"));
}
