//! Blue-green: two whole sets, and a Service that leads users to one of them.

use crate::{
    api::{OnFailure, Promotion, RolloutSpec, Traffic, traffic::PortsFrom},
    plan::intent::Kind,
    simulate::{
        action::{Action, Circumstance, Given},
        object::Watched,
        scenario::{
            SETTLED, Scenario, apply, command, migrating, name, pause, release, scale, shop, slow,
            unwell, wrong,
        },
        scenarios::ways,
        setting::{Behaviour, Health, MigrationEnd},
    },
};

/// The Services of `shop`.
pub(crate) fn traffic() -> Traffic {
    Traffic {
        ports_from: PortsFrom {
            name: "shop".into(),
        },
        stable_service: "shop-stable".into(),
        canary_service: "shop-canary".into(),
        routes: Vec::new(),
    }
}

/// Users are switched as soon as nothing stands against it; the old set stays for a minute and a
/// half.
pub(crate) fn automatic(mut spec: RolloutSpec) -> RolloutSpec {
    let blue_green = spec.strategy.blue_green_mut();
    blue_green.promotion = Promotion::Automatic;
    blue_green.scale_down_delay_seconds = 90;
    spec.traffic = Some(traffic());
    spec
}

fn manual(mut spec: RolloutSpec) -> RolloutSpec {
    spec = automatic(spec);
    spec.strategy.blue_green_mut().promotion = Promotion::Manual;
    spec
}

pub(crate) fn service(name: &'static str, is: Given) -> Action {
    Action::Around(Circumstance::Service { name, is })
}

fn world(name: &'static str) -> Scenario {
    Scenario::new(name).then(0, service("shop", Given::Ordinary))
}

fn v2(name: &'static str, behaviour: Behaviour) -> Scenario {
    world(name)
        .image("v2", behaviour)
        .then(1, apply(automatic(shop("v1", 4, Some(1)))))
        .then(SETTLED, release("v2", Some(2)))
}

fn good(name: &'static str) -> Scenario {
    v2(name, Behaviour::default())
}

/// Its preview is tested, and once more what users have been switched to; the tests go so.
fn tested(name: &'static str, ends: &[MigrationEnd]) -> Scenario {
    let mut spec = automatic(shop("v1", 4, Some(1)));
    let blue_green = spec.strategy.blue_green_mut();
    blue_green.scale_down_delay_seconds = 60;
    blue_green.tests = vec![
        ways::test("smoke", OnFailure::Undo),
        ways::at_the_end("journey", OnFailure::Undo),
    ];
    world(name)
        .image("v2", ways::testing(ends))
        .then(1, apply(spec))
        .then(SETTLED, release("v2", Some(2)))
}

/// A release of a Rollout of one revision with this Service beside it.
fn beside(scenario: &'static str, name: &'static str, is: Given) -> Scenario {
    good(scenario).then(60, service(name, is))
}

pub(super) fn blue_green() -> Vec<Scenario> {
    vec![
        good("blue-green"),
        world("blue-green-by-a-person")
            .then(1, apply(manual(shop("v1", 4, Some(1)))))
            .then(SETTLED, release("v2", Some(2)))
            .then(300, command("promote")),
        tested("blue-green-tested", &[MigrationEnd::Succeeds]),
        tested(
            "blue-green-test-of-the-preview-fails",
            &[MigrationEnd::Fails],
        ),
        tested(
            "blue-green-test-after-the-switch-fails",
            &[MigrationEnd::Succeeds, MigrationEnd::Fails],
        ),
        v2("blue-green-errors", wrong(5.0)),
        v2("blue-green-slow", slow(600.0)),
        v2("blue-green-never-ready", unwell(Health::NeverReady)),
        v2("blue-green-crash", unwell(Health::Crashes { after: 20 })),
        good("blue-green-undone-after-the-switch")
            .then(230, command("undo"))
            .then(320, command("retry"))
            .lasts(900),
        good("blue-green-undone-after-the-delay")
            .then(450, command("undo"))
            .lasts(700),
        good("blue-green-paused-at-the-switch")
            .then(150, pause(true))
            .then(300, pause(false))
            .lasts(700),
        good("blue-green-scaled")
            .then(200, scale(8))
            .then(260, scale(3))
            .lasts(700),
        good("blue-green-scaled-to-zero")
            .then(160, scale(0))
            .then(300, scale(4))
            .lasts(900),
        good("blue-green-third-revision")
            .then(240, release("v3", Some(3)))
            .lasts(900),
        good("blue-green-lease-changes-hands")
            .then(203, Action::HandOver { overlap: 6_000 })
            .then(260, Action::HandOver { overlap: 2_000 }),
        good("blue-green-services-lag")
            .then(
                150,
                Action::BreakWatch {
                    process: 0,
                    kind: Watched::Services,
                    seconds: 120,
                },
            )
            .then(230, command("undo"))
            .lasts(700),
        good("blue-green-service-refused")
            .then(150, Action::Deny(Some(Kind::Service)))
            .then(400, Action::Deny(None))
            .lasts(700),
        good("blue-green-service-edited-and-deleted")
            .then(240, service("shop-stable", Given::Edited))
            .then(250, service("shop-canary", Given::Gone))
            .then(400, service("shop", Given::OtherPort)),
        world("blue-green-services-edited-and-deleted-in-a-first-release")
            .image("v2", migrating(&[(10, MigrationEnd::Fails)]))
            .then(1, apply(automatic(shop("v1", 4, Some(1)))))
            .then(50, release("v2", Some(2)))
            .then(100, service("shop-stable", Given::Gone))
            .then(110, service("shop-canary", Given::Gone))
            .then(120, service("shop-stable", Given::Edited))
            .then(130, service("shop-canary", Given::Edited))
            .then(140, service("shop", Given::OtherPort))
            .then(200, release("v3", Some(1)))
            .lasts(500),
        world("blue-green-of-a-canary-that-runs")
            .then(1, apply(shop("v1", 4, None)))
            .then(SETTLED, apply(automatic(shop("v1", 4, None))))
            .then(200, release("v2", None))
            .then(450, apply(shop("v2", 4, None)))
            .lasts(700),
        good("blue-green-becomes-a-canary-in-mid-release")
            .then(230, apply(shop("v2", 4, Some(2))))
            .lasts(900),
        world("blue-green-one-replica")
            .then(1, apply(automatic(shop("v1", 1, None))))
            .then(SETTLED, release("v2", None)),
        beside("blue-green-bypassed", "legacy", Given::Ordinary)
            .then(300, service("legacy", Given::NotForUsers))
            .lasts(700),
        good("blue-green-bypassed-in-mid-release")
            .then(150, service("legacy", Given::Ordinary))
            .then(300, service("legacy", Given::Gone))
            .lasts(700),
        Scenario::new("blue-green-without-ports")
            .then(1, apply(automatic(shop("v1", 4, None))))
            .then(60, service("shop", Given::Headless))
            .then(120, service("shop", Given::Selectorless))
            .then(180, service("shop", Given::Ordinary)),
        world("blue-green-name-is-taken")
            .then(0, service("shop-stable", Given::NotForUsers))
            .then(1, apply(automatic(shop("v1", 4, None))))
            .then(120, service("shop-stable", Given::Gone)),
        good("blue-green-status-lost")
            .then(230, Action::LoseStatus(name()))
            .lasts(900),
    ]
}
