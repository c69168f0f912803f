//! Requests that are shared by weight, through a route.

use super::blue_green::{service, traffic};
use crate::{
    api::{
        Promotion, RolloutSpec, StablePods, Step,
        traffic::{RouteKind, RouteRef},
    },
    plan::intent::Kind,
    simulate::{
        action::Routed,
        action::{Action, Circumstance, Given},
        scenario::{
            SETTLED, Scenario, apply, command, pause, release, scale, shop, slow, unwell, wrong,
        },
        setting::{Behaviour, Health},
    },
};

/// Steps of 5, 25 and 100 percent of the requests.
pub(crate) fn weighted(mut spec: RolloutSpec) -> RolloutSpec {
    let template = spec.strategy.steps_mut().remove(0);
    let step = |name: &str, weight, hold_seconds| Step {
        name: name.into(),
        replicas: None,
        weight: Some(weight),
        hold_seconds,
        ..template.clone()
    };
    let steps = vec![
        step("five", 5, 60),
        step("quarter", 25, 60),
        step("full", 100, 90),
    ];
    *spec.strategy.steps_mut() = steps;
    let mut traffic = traffic();
    traffic.routes = vec![RouteRef {
        kind: RouteKind::Http,
        name: "shop".into(),
        rules: Vec::new(),
    }];
    spec.traffic = Some(traffic);
    spec
}

/// The routes are VirtualServices, which report nothing.
pub(crate) fn to_virtual_services(spec: &mut RolloutSpec) {
    let traffic = spec.traffic.iter_mut();
    for route in traffic.flat_map(|traffic| &mut traffic.routes) {
        route.kind = RouteKind::VirtualService;
    }
}

/// The same, and stable's pods follow the weight.
pub(crate) fn shrinking(spec: RolloutSpec) -> RolloutSpec {
    let mut spec = weighted(spec);
    if let Some(canary) = &mut spec.strategy.canary {
        canary.stable_pods = Some(StablePods::Shrink);
        canary.steps[1].weight = Some(50);
    }
    spec
}

fn by_a_person(spec: RolloutSpec) -> RolloutSpec {
    let mut spec = weighted(spec);
    spec.strategy.steps_mut()[1].promotion = Promotion::Manual;
    spec
}

pub(crate) fn route(name: &'static str, is: Routed) -> Action {
    Action::Around(Circumstance::Route { name, is })
}

pub(crate) fn gateway(away: bool) -> Action {
    Action::Around(Circumstance::Gateway { away })
}

fn world(name: &'static str) -> Scenario {
    Scenario::new(name)
        .then(0, service("shop", Given::Ordinary))
        .then(0, route("shop", Routed::AtRest))
}

fn v2(name: &'static str, behaviour: Behaviour) -> Scenario {
    world(name)
        .image("v2", behaviour)
        .then(1, apply(weighted(shop("v1", 8, Some(1)))))
        .then(SETTLED, release("v2", Some(2)))
}

fn good(name: &'static str) -> Scenario {
    v2(name, Behaviour::default())
}

fn small(name: &'static str, behaviour: Behaviour) -> Scenario {
    world(name)
        .image("v2", behaviour)
        .then(1, apply(shrinking(shop("v1", 8, Some(1)))))
        .then(SETTLED, release("v2", Some(2)))
}

pub(super) fn shrinks() -> Vec<Scenario> {
    let good = |name| small(name, Behaviour::default());
    vec![
        good("shrink"),
        small("shrink-errors", wrong(5.0)),
        small("shrink-never-ready", unwell(Health::NeverReady)),
        good("shrink-undone-at-half").then(SETTLED + 130, command("undo")),
        good("shrink-undone-at-the-last-step").then(SETTLED + 260, command("undo")),
        good("shrink-undone-on-the-way-to-all").then(SETTLED + 165, command("undo")),
        good("shrink-replaced-by-a-third").then(SETTLED + 130, release("v3", Some(2))),
        good("shrink-scaled").then(SETTLED + 130, scale(12)),
        good("shrink-undone-while-the-gateway-is-down")
            .then(SETTLED + 125, gateway(true))
            .then(SETTLED + 130, command("undo"))
            .then(SETTLED + 400, gateway(false)),
        good("shrink-waits-for-its-gateway")
            .then(SETTLED + 75, gateway(true))
            .then(SETTLED + 900, gateway(false)),
        good("shrink-loses-its-status").then(SETTLED + 130, Action::LoseStatus("shop".into())),
        good("shrink-is-turned-off-and-undone")
            .then(SETTLED + 130, apply(weighted(shop("v2", 8, Some(2)))))
            .then(SETTLED + 131, command("undo")),
        good("the-operator-dies-while-pods-shrink")
            .then(SETTLED + 90, Action::Crash(0))
            .then(SETTLED + 105, Action::Crash(0))
            .then(SETTLED + 200, Action::Crash(0)),
    ]
}

pub(super) fn weights() -> Vec<Scenario> {
    vec![
        good("weights"),
        world("weights-by-a-person")
            .then(1, apply(by_a_person(shop("v1", 8, Some(1)))))
            .then(SETTLED, release("v2", Some(2)))
            .then(300, command("promote")),
        v2("weights-errors", wrong(5.0)),
        v2("weights-slow", slow(600.0)),
        v2("weights-never-ready", unwell(Health::NeverReady)),
        v2("weights-crash", unwell(Health::Crashes { after: 20 })),
        good("weights-undone-at-the-last-step").then(SETTLED + 200, command("undo")),
        good("weights-replaced-by-a-third").then(SETTLED + 110, release("v3", Some(2))),
        good("weights-scaled").then(SETTLED + 110, scale(12)),
        good("weights-paused")
            .then(SETTLED + 110, pause(true))
            .then(SETTLED + 200, pause(false)),
        good("git-applies-its-weights-again").then(SETTLED + 110, route("shop", Routed::AtRest)),
        (0..5).fold(good("git-fights-for-its-weights"), |story, n| {
            story.then(SETTLED + 35 + 15 * n, route("shop", Routed::AtRest))
        }),
        good("somebody-writes-a-higher-weight").then(SETTLED + 50, route("shop", Routed::At(80))),
        // While the first pod starts.
        good("a-higher-weight-is-lowered-first").then(SETTLED + 23, route("shop", Routed::At(50))),
        good("the-gateway-s-controller-is-down")
            .then(SETTLED + 20, gateway(true))
            .then(SETTLED + 260, gateway(false)),
        good("its-route-is-deleted")
            .then(SETTLED + 110, route("shop", Routed::Gone))
            .then(SETTLED + 260, route("shop", Routed::AtRest)),
        good("the-kind-of-its-route-is-removed")
            .then(SETTLED + 110, route("shop", Routed::Undefined))
            .then(SETTLED + 260, route("shop", Routed::AtRest)),
        Scenario::new("without-its-route")
            .then(0, service("shop", Given::Ordinary))
            .then(1, apply(weighted(shop("v1", 8, Some(1)))))
            .then(SETTLED, release("v2", Some(2)))
            .then(SETTLED + 100, route("shop", Routed::AtRest)),
        world("its-route-is-not-at-rest")
            .then(1, apply(weighted(shop("v1", 8, Some(1)))))
            .then(SETTLED - 10, route("shop", Routed::At(50)))
            .then(SETTLED, release("v2", Some(2)))
            .then(SETTLED + 100, route("shop", Routed::AtRest)),
        good("weights-are-refused")
            .then(SETTLED + 10, Action::Deny(Some(Kind::HttpRoute)))
            .then(SETTLED + 200, Action::Deny(None)),
        v2("an-undo-waits-for-no-route", wrong(5.0))
            .then(SETTLED + 70, Action::Deny(Some(Kind::HttpRoute)))
            .then(SETTLED + 300, Action::Deny(None)),
        good("the-operator-dies-in-mid-weight")
            .then(SETTLED + 25, Action::Crash(0))
            .then(SETTLED + 100, Action::Crash(0))
            .then(SETTLED + 160, Action::Crash(0)),
    ]
}
