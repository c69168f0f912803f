//! What routes are told, and what is believed of them.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::{
    fixture::{World, stalled},
    services::foreign,
};
use crate::{
    api::{RolloutSpec, traffic::WeightStatus},
    plan::{
        draft::later,
        facts::{Base, Observed},
        intent::Write,
        reason::Reason,
        routes::{
            RouteFacts,
            facts::{Found, Pair, Unusable, Weight},
        },
    },
};

pub fn weigh(spec: &mut RolloutSpec) {
    spec.strategy.canary = serde_json::from_value(json!({"steps": [
        {"name": "five", "weight": 5, "holdSeconds": 300},
        {"name": "full", "weight": 100},
    ]}))
    .unwrap();
    spec.traffic = serde_json::from_value(json!({
        "portsFrom": {"name": "shop"},
        "stableService": "shop-stable",
        "canaryService": "shop-canary",
        "routes": [{"kind": "HTTPRoute", "name": "shop"}],
    }))
    .unwrap();
}

/// `v1` is stable behind its Services, and the routes were told 5% by a release that is over.
fn told() -> World {
    let mut world = World::stable("v1");
    world.seen.objects.services.all.push(foreign("shop"));
    world.edit_spec(weigh);
    world.settle();
    let mut status = world.status().clone();
    let spec = world.spec.traffic.clone().unwrap();
    status.traffic.as_mut().unwrap().weight = Some(WeightStatus {
        routes: spec.routes,
        canary: 5,
        former: 0,
        since: Time(world.now),
        seen: true,
        accepted: Some(Time(world.now)),
        resets: 0,
        shrinks: false,
    });
    world.seen.objects.rollout.status = status.into();
    world
}

fn weight(pointer: &str, value: i32) -> Weight {
    Weight {
        pointer: pointer.into(),
        value,
    }
}

fn at(canary: i32) -> Result<Found, Unusable> {
    Ok(Found {
        base: Base {
            name: "shop".into(),
            uid: "u-route".into(),
            resource_version: "7".into(),
        },
        rules: vec![Pair {
            rule: "rule web".into(),
            stable: weight("/spec/rules/0/backendRefs/0/weight", 100 - canary),
            canary: weight("/spec/rules/0/backendRefs/1/weight", canary),
        }],
        accepted: true,
    })
}

/// The API server has taken in new weights.
pub(crate) fn weighed(seen: &mut Observed, canary: i32) {
    let routes = seen.answers.routes.iter().flat_map(|routes| routes.iter());
    let routes = routes.map(|route| RouteFacts {
        asked: route.asked.clone(),
        found: at(canary),
    });
    seen.answers.routes = Some(routes.collect());
}

fn answer(world: &mut World, found: Result<Found, Unusable>) {
    let asked = world.spec.traffic.clone().unwrap().routes.remove(0);
    world.seen.answers.routes = Some([RouteFacts { asked, found }].into());
}

fn wait(world: &mut World, seconds: i64) {
    world.now = later(world.now, seconds);
    world.seen.looked = world.now;
}

fn kept(world: &World) -> Option<(i32, Option<Timestamp>)> {
    let weight = world.status().traffic.as_ref().unwrap().weight.as_ref();
    weight.map(|w| (w.canary, w.accepted.as_ref().map(|t| t.0)))
}

#[test]
fn routes_that_a_release_has_left_are_brought_to_rest_and_forgotten_a_minute_later() {
    let mut world = told();
    answer(&mut world, at(5));
    let writes = world.plan().writes;
    let weighs = |write: &Write| matches!(write, Write::Weigh { .. });
    assert!(!writes.iter().any(weighs), "it is on record first");
    world.settle();
    let route = &world.seen.answers.routes.as_ref().unwrap()[0];
    assert_eq!(route.found, at(0), "the route is told");
    assert_eq!(kept(&world).unwrap().0, 0);
    wait(&mut world, 59);
    world.settle();
    assert!(kept(&world).is_some(), "a late write may still arrive");
    wait(&mut world, 2);
    world.settle();
    assert_eq!(kept(&world), None);
}

#[test]
fn routes_are_brought_to_rest_when_the_status_was_lost_that_knew_of_them() {
    let mut world = told();
    answer(&mut world, at(5));
    world.seen.objects.rollout.status = Arc::default();
    world.settle();
    let route = &world.seen.answers.routes.as_ref().unwrap()[0];
    assert_eq!(route.found, at(0));
    wait(&mut world, 61);
    world.settle();
    assert_eq!(kept(&world), None);
    // What is not known to be lost is left as it is.
    answer(&mut world, at(50));
    wait(&mut world, 100);
    world.settle();
    let route = &world.seen.answers.routes.as_ref().unwrap()[0];
    assert_eq!(route.found, at(50));
}

#[test]
fn a_route_that_cannot_be_read_is_not_believed_to_be_at_rest() {
    let mut world = told();
    answer(&mut world, Err(Unusable::Forbidden("no".into())));
    for _ in 0..3 {
        world.settle();
        assert_eq!(kept(&world), Some((0, None)));
        assert_eq!(stalled(world.status()), Reason::RoutesForbidden.word());
        wait(&mut world, 100);
    }
    // One that is gone is nobody's way any more.
    answer(&mut world, Err(Unusable::Missing));
    world.settle();
    wait(&mut world, 100);
    world.settle();
    assert_eq!(kept(&world), None);
}
