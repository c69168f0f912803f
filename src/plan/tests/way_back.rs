//! `status.undo`: what an undo would do now.

use super::{
    fixture::{World, condition},
    routes,
};
use crate::{
    api::{StablePods, WayBack},
    plan::{draft::later, facts::ChildFacts, way_back::sentence},
};

fn told(world: &World) -> WayBack {
    world.status().undo.clone().unwrap()
}

/// `v2` is at a step, with 2 pods of 8. Pods of stable took so long to start.
fn at_quarter(start: i64) -> World {
    let mut world = World::stable("v1").wants("v2").at_step(1);
    let v1 = world.revision("v1");
    for pod in world
        .seen
        .objects
        .pods
        .iter_mut()
        .filter(|p| p.revision == v1)
    {
        pod.placed = pod.ready_since.map(|ready| later(ready, -start));
    }
    // It is said when something else is written.
    let v2 = world.revision("v2");
    world.command("pause", &format!("{v2} p1"));
    world
}

#[test]
fn in_motion_it_says_who_comes_back_and_what_that_takes() {
    let world = at_quarter(42);
    let (v1, v2) = (world.revision("v1"), world.revision("v2"));
    let way = world.decide().undo.unwrap();
    assert_eq!((&way.from, way.to.as_ref()), (&v2, Some(&v1)));
    assert_eq!((way.starts, way.stops), (Some(2), Some(2)));
    // Four pods at a time may be missing or too many, and 42 s are about 45.
    assert_eq!(way.about_seconds, Some(45));
    assert!(way.obstacles.is_empty(), "{way:?}");
    let words = format!(
        "an undo rolls back from {v2} to {v1}: it starts 2 pods and stops 2, in about 45 s"
    );
    assert_eq!(sentence(&way), words);
}

#[test]
fn where_pods_follow_the_weight_their_requests_take_time_too() {
    let about = |world: &World| world.decide().undo.unwrap().about_seconds;
    let mut world = at_quarter(44);
    assert_eq!(about(&world), Some(45));
    world.edit_spec(|spec| {
        routes::weigh(spec);
        let canary = spec.strategy.canary.as_mut().unwrap();
        canary.stable_pods = Some(StablePods::Shrink);
    });
    assert_eq!(about(&world), Some(50), "two seconds for a route");
}

#[test]
fn nothing_is_guessed() {
    let mut world = at_quarter(42);
    let v1 = world.revision("v1");
    world.seen.objects.pods.retain(|p| p.revision != v1);
    let about = |world: &World| world.decide().undo.unwrap().about_seconds;
    assert_eq!(about(&world), Some(5), "what the other's pods took");
    world.seen.objects.pods.clear();
    assert_eq!(about(&world), None);
    // Readiness that came back after hours is no start.
    let mut world = at_quarter(90_000);
    world.seen.objects.pods.retain(|p| p.revision == v1);
    assert_eq!(about(&world), None);
}

#[test]
fn what_stands_in_the_way_is_named_where_it_is_known() {
    let mut world = at_quarter(42);
    let v1 = world.revision("v1");
    world.database_mut().undo_floor = Some(7);
    let stable = |world: &mut World, edit: &dyn Fn(&mut ChildFacts)| {
        let mut children = world.seen.objects.children.iter_mut();
        edit(children.find(|c| c.revision == v1).unwrap());
    };
    stable(&mut world, &|c| {
        c.problem = Some("exceeded quota: pods".into())
    });
    let way = world.decide().undo.unwrap();
    assert_eq!(way.floor, Some(7));
    let all = way.obstacles.join("\n");
    for words in ["exceeded quota: pods", "the contract of version 7"] {
        assert!(all.contains(words), "{words}: {all}");
    }
    // What the condition says of stable is said here too.
    stable(&mut world, &|c| c.edited = true);
    let status = world.decide();
    let possible = condition(&status, "UndoPossible");
    assert_eq!(possible.status, "False");
    assert_eq!(status.undo.as_ref().unwrap().obstacles[0], possible.message);
}

#[test]
fn apart_from_releases_it_has_the_revisions_and_the_floor() {
    let world = World::stable("v1");
    let way = told(&world);
    assert_eq!((way.from, way.to), (world.revision("v1"), None));
    assert_eq!(way.obstacles, ["there is no former stable revision"]);
    let mut world = world.wants("v2");
    for _ in 0..4 {
        world.settle();
        world.hold(1000);
    }
    world.settle();
    let (v1, v2) = (world.revision("v1"), world.revision("v2"));
    let way = told(&world);
    assert_eq!((way.from.as_str(), way.to.as_deref()), (&*v2, Some(&*v1)));
    assert_eq!(
        (way.starts, way.stops, way.about_seconds),
        (None, None, None)
    );
    assert_eq!(
        sentence(&way),
        format!("an undo rolls back from {v2} to {v1}")
    );
    // And the command does that.
    world.command("undo", &format!("{v2} u1"));
    let status = world.record();
    assert_eq!(status.stable.unwrap().revision, v1);
    assert_eq!(status.undo.unwrap().to, Some(v1));
}

#[test]
fn it_costs_no_write_of_its_own_while_only_its_figures_change() {
    let mut world = World::stable("v1").wants("v2").at_step(1);
    world.settle();
    let at = told(&world).at;
    world.now = later(world.now, 5);
    world.seen.status_written = Some(later(world.now, -5));
    let v1 = world.revision("v1");
    for pod in world
        .seen
        .objects
        .pods
        .iter_mut()
        .filter(|p| p.revision == v1)
    {
        pod.placed = pod.ready_since.map(|ready| later(ready, -300));
    }
    let plan = world.plan();
    assert!(plan.writes.is_empty(), "{:?}", plan.writes);
    // It is written by a clock that was set back since: what is written then is news at once.
    world.seen.status_written = Some(later(world.now, 300));
    assert!(
        !world.plan().writes.is_empty(),
        "it is kept back for minutes"
    );
    world.seen.status_written = Some(later(world.now, -5));
    // The floor is another matter.
    world.database_mut().undo_floor = Some(7);
    let way = world.decide().undo.unwrap();
    assert_eq!(way.floor, Some(7));
    assert_ne!(way.at, at);
}
