//! Releases that go well, and releases that do not.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::{
    api::{OnNewRevision, RolloutSpec, Strategy},
    simulate::{
        action::{Action, Circumstance},
        scenario::{
            SETTLED, Scenario, apply, command, good, name, pause, release, scale, shop, slow,
            unwell, v2, wrong,
        },
        setting::{Behaviour, Health},
    },
};

/// Its checks let everything pass.
fn tolerant(mut spec: RolloutSpec) -> RolloutSpec {
    for check in spec.analysis.iter_mut().flat_map(|a| &mut a.checks) {
        if let Some(errors) = &mut check.error_rate {
            errors.max_percent = "90".into();
        }
    }
    spec
}

/// It goes up one pod at a time, with none missing.
fn one_at_a_time(mut spec: RolloutSpec) -> RolloutSpec {
    spec.strategy.max_surge = IntOrString::Int(1);
    spec.strategy.max_unavailable = IntOrString::Int(0);
    spec
}

/// A release ends before the next begins.
fn one_after_the_other(mut spec: RolloutSpec) -> RolloutSpec {
    spec.strategy.on_new_revision = OnNewRevision::Finish;
    spec
}

/// No steps and no checks are given.
fn as_short_as_can_be(mut spec: RolloutSpec) -> RolloutSpec {
    (spec.strategy, spec.analysis) = (Strategy::default(), None);
    spec
}

/// The old pod goes before the new one comes.
fn without_surge(mut spec: RolloutSpec) -> RolloutSpec {
    spec.strategy.max_surge = IntOrString::Int(0);
    spec.strategy.max_unavailable = IntOrString::Int(1);
    spec
}

/// Its steps are held longer than a step may take to be reached.
fn patient(mut spec: RolloutSpec) -> RolloutSpec {
    spec.strategy.progress_deadline_seconds = 60;
    for step in spec.strategy.steps_mut() {
        step.hold_seconds = 150;
    }
    spec
}

pub(super) fn releases() -> Vec<Scenario> {
    vec![
        Scenario::new("first-deploy")
            .then(1, apply(shop("v1", 4, Some(1))))
            .lasts(300),
        Scenario::new("first-deploy-without-database")
            .then(1, apply(shop("v1", 4, None)))
            .lasts(300),
        Scenario::new("first-deploy-without-checks")
            .then(1, apply(as_short_as_can_be(shop("v1", 4, None))))
            .lasts(300),
        Scenario::new("first-deploy-wrong")
            .image("v1", wrong(20.0))
            .then(1, apply(shop("v1", 4, Some(1))))
            .lasts(300),
        good("good"),
        v2("errors", wrong(5.0)),
        v2("slow", slow(600.0)),
        v2("crash", unwell(Health::Crashes { after: 20 })),
        v2("never-ready", unwell(Health::NeverReady)),
        v2("no-image", unwell(Health::NoImage)),
        Scenario::new("no-image-without-database")
            .image("v2", unwell(Health::NoImage))
            .then(1, apply(shop("v1", 4, None)))
            .then(SETTLED, release("v2", None)),
        v2("wrong-at-full-load", wrong(0.8)),
        good("invalid-template").then(SETTLED, release("invalid", Some(2))),
        good("third-revision-while-paused")
            .then(190, pause(true))
            .then(240, release("v3", Some(3)))
            .then(400, pause(false))
            .lasts(900),
        Scenario::new("commits-more-often-than-releases-end")
            .then(1, apply(one_after_the_other(shop("v1", 4, None))))
            .then(SETTLED, release("v2", None))
            .then(200, release("v3", None))
            .then(280, release("v4", None))
            .lasts(900),
        Scenario::new("one-replica-without-surge")
            .then(1, apply(without_surge(shop("v1", 1, None))))
            .then(SETTLED, release("v2", None))
            .then(300, scale(2))
            .lasts(900),
        good("third-revision")
            .then(240, release("v3", Some(3)))
            .lasts(900),
        good("back-to-stable").then(240, release("v1", Some(1))),
        good("back-to-former-stable")
            .then(450, release("v1", Some(1)))
            .lasts(700),
        good("former-stable-again")
            .then(450, release("v1", Some(1)))
            .then(600, release("v2", Some(2)))
            .lasts(900),
        v2("failed-is-not-tried-again", wrong(5.0))
            .then(400, release("v1", Some(1)))
            .then(450, release("v2", Some(2)))
            .lasts(700),
        v2(
            "slow-to-start",
            Behaviour {
                start_seconds: 45,
                ..Behaviour::default()
            },
        )
        .lasts(900),
        Scenario::new("many-slow-batches")
            .image(
                "v2",
                Behaviour {
                    start_seconds: 40,
                    ..Behaviour::default()
                },
            )
            .then(1, apply(one_at_a_time(shop("v1", 8, None))))
            .then(SETTLED, release("v2", None))
            .lasts(1_200),
        v2("crash-after-ready", unwell(Health::Crashes { after: 40 })).lasts(900),
        v2(
            "ready-half-of-the-time",
            unwell(Health::Flaps {
                ready: 4,
                unready: 4,
            }),
        ),
        v2("never-ready-twice", unwell(Health::NeverReady))
            .image("v3", unwell(Health::NeverReady))
            .then(320, release("v3", Some(3)))
            .lasts(700),
        good("third-revision-at-full-size")
            .then(320, release("v3", Some(3)))
            .lasts(900),
        good("fixed-after-an-undo")
            .then(240, command("undo"))
            .then(300, release("v3", Some(3)))
            .lasts(700),
        v2("failed-and-left-alone", wrong(5.0))
            .then(250, apply(tolerant(shop("v2", 4, Some(2)))))
            .then(300, scale(6))
            .then(350, Action::Crash(0))
            .then(400, pause(true))
            .then(420, pause(false))
            .lasts(700),
        Scenario::new("hold-longer-than-the-deadline")
            .then(1, apply(patient(shop("v1", 4, None))))
            .then(260, release("v2", None))
            .lasts(900),
        good("stable-breaks-and-is-fixed")
            .then(
                100,
                Action::Around(Circumstance::Behaves {
                    image: "v1".into(),
                    behaviour: Box::new(unwell(Health::Crashes { after: 8 })),
                }),
            )
            .then(
                101,
                Action::KillContainers {
                    rollout: name(),
                    count: 4,
                },
            )
            .then(300, command("promote"))
            .then(320, command("promote"))
            .lasts(900),
    ]
}
