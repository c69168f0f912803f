//! Stable, measured after the expand and before the first pod of the new revision.

use crate::{
    api::{OnInconclusive, RolloutSpec, Soak},
    simulate::{
        action::{Action, Circumstance},
        prometheus::Outage,
        scenario::{
            SETTLED, Scenario, apply, apply_to, command, name, pause, release, requests, scale,
            shop, workload, wrong,
        },
        setting::Behaviour,
    },
};

/// When `v2`'s expand has succeeded.
const EXPANDED: i64 = SETTLED + 25;

/// Stable is measured for a minute after its expand.
pub(crate) fn soaked(on_inconclusive: OnInconclusive, mut spec: RolloutSpec) -> RolloutSpec {
    if let Some(expand) = spec.schema.as_mut().and_then(|s| s.expand.as_mut()) {
        expand.soak = Some(Soak {
            hold_seconds: 60,
            deadline_seconds: 120,
            on_inconclusive,
        });
    }
    spec
}

fn spec(image: &str, version: i64) -> RolloutSpec {
    soaked(OnInconclusive::Pause, shop(image, 4, Some(version)))
}

/// `v1` runs, and `v2` is released with a soak.
fn v2(name: &'static str, behaviour: Behaviour) -> Scenario {
    Scenario::new(name)
        .image("v2", behaviour)
        .then(1, apply(spec("v1", 1)))
        .then(SETTLED, apply(spec("v2", 2)))
}

fn good(name: &'static str) -> Scenario {
    v2(name, Behaviour::default())
}

/// Since its expand the code before it gets errors.
fn hurts(name: &'static str) -> Scenario {
    let behaviour = Behaviour {
        hurts_percent: 5.0,
        ..Behaviour::default()
    };
    v2(name, behaviour)
}

/// The operator dies while stable is measured, and is away for some time.
fn dies(mut scenario: Scenario) -> Scenario {
    scenario.setting.restart_seconds = 40;
    scenario.then(EXPANDED + 3, Action::Crash(0))
}

/// Somebody puts right what the expand has done to the code before it.
fn mend() -> Action {
    Action::Around(Circumstance::Mended(name()))
}

/// Too few requests for a verdict.
fn idle(name: &'static str, on_inconclusive: OnInconclusive) -> Scenario {
    let spec = soaked(on_inconclusive, shop("v2", 4, Some(2)));
    Scenario::new(name)
        .then(1, apply(shop("v1", 4, Some(1))))
        .then(SETTLED, requests(0.2))
        .then(SETTLED, apply(spec))
}

pub(super) fn soak() -> Vec<Scenario> {
    vec![
        good("soak"),
        hurts("soak-hurts-and-is-promoted").then(EXPANDED + 150, command("promote")),
        hurts("soak-hurts-and-is-undone")
            .then(EXPANDED + 150, command("undo"))
            .lasts(400),
        hurts("soak-hurts-and-is-mended")
            .then(EXPANDED + 150, mend())
            .then(EXPANDED + 170, command("resume")),
        hurts("soak-hurts-and-is-resumed-unmended")
            .then(EXPANDED + 150, command("resume"))
            .lasts(400),
        hurts("soak-hurts-and-is-superseded")
            .then(EXPANDED + 150, apply(spec("v3", 2)))
            .lasts(800),
        hurts("soak-hurts-undone-and-retried")
            .then(EXPANDED + 150, command("undo"))
            .then(EXPANDED + 250, mend())
            .then(EXPANDED + 400, command("retry"))
            .lasts(900),
        hurts("soak-hurts-while-paused")
            .then(EXPANDED - 10, pause(true))
            .then(EXPANDED + 200, pause(false))
            .lasts(500),
        Scenario::new("soak-of-a-stable-that-was-bad-before")
            .image("v1", wrong(2.0))
            .then(1, {
                let mut spec = shop("v1", 4, Some(1));
                spec.analysis = None;
                apply(spec)
            })
            .then(SETTLED, apply(spec("v2", 2))),
        Scenario::new("soak-of-a-stable-that-became-worse")
            .image("v1", wrong(2.0))
            .image(
                "v2",
                Behaviour {
                    hurts_percent: 5.0,
                    ..Behaviour::default()
                },
            )
            .then(1, {
                let mut spec = shop("v1", 4, Some(1));
                spec.analysis = None;
                apply(spec)
            })
            .then(SETTLED, apply(spec("v2", 2)))
            .lasts(400),
        idle("soak-without-requests", OnInconclusive::Pause)
            .then(EXPANDED + 240, requests(200.0))
            .then(EXPANDED + 260, command("resume"))
            .lasts(700),
        idle("soak-without-requests-undone", OnInconclusive::Undo),
        idle("soak-without-requests-goes-on", OnInconclusive::Proceed)
            .then(EXPANDED + 190, requests(200.0)),
        good("soak-while-prometheus-is-down")
            .then(SETTLED, Action::Metrics(Outage::Down))
            .then(EXPANDED + 100, Action::Metrics(Outage::None)),
        Scenario::new("soak-left-out-at-first").then(1, apply(spec("v1", 1))),
        good("soak-left-out-for-the-same-version")
            .then(SETTLED + 400, release("v3", Some(2)))
            .lasts(1_000),
        Scenario::new("soak-left-out-after-another-rollout")
            .then(1, apply(spec("v1", 1)))
            .then(
                1,
                apply_to("worker", {
                    soaked(OnInconclusive::Pause, workload("worker", "w1", 2, Some(1)))
                }),
            )
            .then(
                SETTLED,
                Action::Release {
                    rollout: "worker".into(),
                    image: "w2".into(),
                    version: Some(2),
                },
            )
            .then(SETTLED + 150, release("v2", Some(2)))
            .lasts(700),
        good("soak-paused")
            .then(EXPANDED, pause(true))
            .then(EXPANDED + 200, pause(false)),
        good("soak-promoted").then(EXPANDED + 10, command("promote")),
        good("soak-superseded")
            .then(EXPANDED + 10, apply(spec("v3", 3)))
            .lasts(800),
        good("soak-scaled-to-zero")
            .then(EXPANDED + 10, scale(0))
            .then(EXPANDED + 100, scale(4)),
        // An autoscaler at night: the schema change hurts as before.
        hurts("soak-hurts-and-is-scaled-to-zero")
            .then(EXPANDED + 150, scale(0))
            .then(EXPANDED + 250, scale(4))
            .then(EXPANDED + 350, command("undo"))
            .lasts(500),
        good("soak-removed").then(EXPANDED + 10, apply(shop("v2", 4, Some(2)))),
        good("soak-of-a-lost-status")
            .then(EXPANDED + 10, Action::LoseStatus(name()))
            .lasts(800),
        dies(hurts("operator-dies-while-soaking")).lasts(400),
        dies(good("operator-dies-while-all-is-well")),
    ]
}
