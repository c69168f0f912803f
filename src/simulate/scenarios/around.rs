//! Stable, measured before a contract and after it.

use super::versions::{RELEASED, approve, at_once, phase, version_2, with_contract};
use crate::{
    api::PhaseKind,
    simulate::{
        action::{Action, Circumstance},
        prometheus::Outage,
        scenario::{SETTLED, Scenario, apply, command, name, release, requests, scale, shop},
        setting::{Behaviour, MigrationEnd},
    },
};

/// Shortly before stable is measured for the contract of `version_2`, for a minute.
const MEASURED: i64 = RELEASED - 50;

/// Its contract makes pods of all revisions answer with errors.
fn hurts(name: &'static str, percent: f64) -> Scenario {
    version_2(name, "Automatic").image(
        "v2",
        Behaviour {
            contract_hurts_percent: percent,
            ..Behaviour::default()
        },
    )
}

fn mend() -> Action {
    Action::Around(Circumstance::Mended(name()))
}

/// Which Rollouts the database's administrator allows there.
fn allow(rollouts: Option<Vec<String>>) -> Action {
    Action::Allow {
        database: "shop-db".into(),
        rollouts,
    }
}

/// Nobody makes requests once it is released.
fn idle(name: &'static str) -> Scenario {
    version_2(name, "Automatic").then(MEASURED, requests(0.2))
}

pub(super) fn around() -> Vec<Scenario> {
    let (refused, succeeds) = (MigrationEnd::NothingApplied, MigrationEnd::Succeeds);
    vec![
        hurts("contract-hurts", 5.0)
            .then(RELEASED + 400, mend())
            .then(RELEASED + 420, command("retry"))
            .lasts(1100),
        idle("contract-without-a-verdict")
            .then(RELEASED + 650, approve())
            .lasts(1200),
        idle("contract-without-a-verdict-is-measured-anew")
            .then(RELEASED + 600, requests(200.0))
            .then(RELEASED + 620, command("retry"))
            .lasts(1300),
        version_2("contract-while-prometheus-is-down", "Automatic")
            .then(MEASURED, Action::Metrics(Outage::Down))
            .then(MEASURED + 180, Action::Metrics(Outage::None))
            .lasts(900),
        // An approval that was given before that does not count.
        version_2("stable-does-badly-before-its-contract", "Manual")
            .then(MEASURED - 10, approve())
            .then(MEASURED, Action::Around(Circumstance::Hurt(name(), 5.0)))
            .then(RELEASED + 300, approve())
            .lasts(900),
        version_2("a-hotfix-while-stable-is-measured", "Automatic")
            .then(MEASURED + 20, release("v3", Some(2)))
            .lasts(1100),
        version_2("scaled-to-zero-while-stable-is-measured", "Automatic")
            .then(MEASURED + 20, scale(0))
            .then(MEASURED + 60, scale(4))
            .lasts(900),
        version_2("measured-anew-after-nothing-was-applied", "Automatic")
            .image(
                "v2",
                phase(PhaseKind::Contract, &[(20, refused), (20, succeeds)]),
            )
            .then(RELEASED + 400, command("retry"))
            .lasts(1000),
        Scenario::new("contract-without-checks")
            .then(1, apply(shop("v1", 4, Some(1))))
            .then(SETTLED, {
                let mut spec = at_once(shop("v2", 4, Some(2)));
                spec.analysis = None;
                apply(spec)
            })
            .lasts(500),
        version_2("the-next-release-waits-for-a-contract", "Automatic")
            .image("v2", phase(PhaseKind::Contract, &[(120, succeeds)]))
            .then(
                MEASURED + 130,
                apply(with_contract(shop("v3", 4, Some(3)), "Manual")),
            )
            .lasts(1300),
        // What was good before that says nothing a quarter of an hour later.
        version_2("not-allowed-between-measurement-and-contract", "Automatic")
            .then(MEASURED + 40, allow(Some(vec!["worker".to_owned()])))
            .then(RELEASED + 900, allow(None))
            .lasts(1700),
        version_2("operator-dies-while-stable-is-measured", "Automatic")
            .then(MEASURED + 20, Action::Crash(0))
            .lasts(900),
        version_2("status-is-lost-while-stable-is-measured", "Automatic")
            .then(MEASURED + 20, Action::LoseStatus(name()))
            .lasts(900),
    ]
}
