//! Feature flags that are turned on after a release.

use serde_json::json;

use super::versions::with_contract;
use crate::{
    api::{Flag, Promotion, RolloutSpec},
    plan::intent::Kind,
    simulate::{
        action::{Action, Circumstance, Tampering},
        flags::MAP,
        scenario::{SETTLED, Scenario, apply, command, name, pause, release, scale, shop, wrong},
        setting::Behaviour,
    },
};

/// When `v2` is stable.
const RELEASED: i64 = SETTLED + 230;

/// A flag that is on for 10% of users, then for half of them, then for all.
pub(crate) fn flag(key: &str) -> Option<Flag> {
    let flag = json!({
        "key": key,
        "configMap": {"name": MAP},
        "onVariant": "new",
        "offVariant": "old",
        "ramp": [
            {"name": "few", "percent": 10, "holdSeconds": 60},
            {"name": "half", "percent": 50, "holdSeconds": 60},
            {"name": "all", "percent": 100, "holdSeconds": 60},
        ],
    });
    serde_json::from_value(flag).ok()
}

fn flagged(mut spec: RolloutSpec) -> RolloutSpec {
    spec.flags.extend(flag("use-full-name"));
    spec
}

/// `v1` runs, and `v2` is released with a flag.
fn v2(name: &'static str, behaviour: Behaviour) -> Scenario {
    Scenario::new(name)
        .image("v2", behaviour)
        .then(1, apply(shop("v1", 4, None)))
        .then(SETTLED, apply(flagged(shop("v2", 4, None))))
        .lasts(1_200)
}

fn good(name: &'static str) -> Scenario {
    v2(name, Behaviour::default())
}

/// Users for whom the flag is on get errors.
fn bad(name: &'static str) -> Scenario {
    let behaviour = Behaviour {
        flagged_error_percent: 50.0,
        ..Behaviour::default()
    };
    v2(name, behaviour)
}

fn tamper(how: Tampering) -> Action {
    Action::Around(Circumstance::Flags(how))
}

/// `v2` has a contract that waits for its flag.
fn gated() -> RolloutSpec {
    let mut spec = with_contract(flagged(shop("v2", 4, Some(2))), "Automatic");
    let contract = spec.schema.as_mut().and_then(|s| s.contract.as_mut());
    if let Some(contract) = contract {
        contract.flags = vec!["use-full-name".to_owned()];
    }
    spec
}

fn contract(name: &'static str) -> Scenario {
    Scenario::new(name)
        .then(1, apply(shop("v1", 4, Some(1))))
        .then(SETTLED, apply(gated()))
}

/// When its contract has run.
const CONTRACTED: i64 = 900;

pub(super) fn flags() -> Vec<Scenario> {
    vec![
        contract("flag-before-its-contract").lasts(1_200),
        // The flag is taken back before the contract may run, which then waits on.
        contract("flag-fails-before-its-contract")
            .image(
                "v2",
                Behaviour {
                    flagged_error_percent: 50.0,
                    ..Behaviour::default()
                },
            )
            .lasts(1_000),
        contract("flag-frozen-by-its-contract")
            .then(CONTRACTED, command("undo-flag"))
            .then(CONTRACTED + 60, tamper(Tampering::Off))
            .then(CONTRACTED + 100, scale(5))
            .then(CONTRACTED + 160, command("retry-flag"))
            .then(CONTRACTED + 260, Action::LoseStatus(name()))
            .then(CONTRACTED + 360, tamper(Tampering::Gone))
            .lasts(CONTRACTED + 500),
        contract("flag-frozen-and-removed")
            .then(CONTRACTED, apply(shop("v2", 4, Some(2))))
            .then(CONTRACTED + 100, release("v3", Some(2)))
            .lasts(CONTRACTED + 600),
        // The spec leaves the database, and then the flag too.
        contract("flag-frozen-and-its-database-left")
            .then(CONTRACTED, apply(flagged(shop("v2", 4, None))))
            .then(CONTRACTED + 60, command("undo-flag"))
            .then(CONTRACTED + 160, apply(shop("v2", 4, None)))
            .then(CONTRACTED + 260, release("v3", None))
            .lasts(CONTRACTED + 700),
        good("flag"),
        bad("flag-fails")
            .then(700, command("retry-flag"))
            .lasts(1_000),
        good("flag-undone-with-its-release")
            .then(RELEASED + 200, command("undo"))
            .lasts(900),
        good("flag-undone-while-it-cannot-be-written")
            .then(RELEASED + 180, Action::Deny(Some(Kind::ConfigMap)))
            .then(RELEASED + 200, command("undo"))
            .then(RELEASED + 400, Action::Deny(None))
            .lasts(900),
        good("flag-changed-by-hand")
            .then(RELEASED + 100, tamper(Tampering::Off))
            .then(RELEASED + 200, command("retry-flag"))
            .lasts(1_200),
        good("flag-config-map-broken-and-deleted")
            .then(RELEASED + 50, tamper(Tampering::Gone))
            .then(RELEASED + 300, tamper(Tampering::Broken))
            .lasts(900),
        good("flag-config-map-is-taken")
            .then(0, tamper(Tampering::Foreign))
            .then(600, tamper(Tampering::Gone))
            .lasts(1_200),
        good("flag-without-the-right")
            .then(10, Action::Deny(Some(Kind::ConfigMap)))
            .then(600, Action::Deny(None))
            .lasts(900),
        good("flag-by-a-person")
            .then(SETTLED + 10, {
                let mut spec = flagged(shop("v2", 4, None));
                for flag in &mut spec.flags {
                    flag.ramp[0].promotion = Promotion::Manual;
                }
                apply(spec)
            })
            .then(RELEASED + 50, pause(true))
            .then(RELEASED + 250, pause(false))
            .then(RELEASED + 300, command("promote-flag"))
            .then(RELEASED + 450, command("undo-flag"))
            .lasts(1_000),
        good("flag-stands-still-during-a-release")
            .then(RELEASED + 50, release("v3", None))
            .lasts(1_500),
        v2("flag-waits-for-a-release-that-fails", wrong(5.0)).lasts(700),
        good("flag-of-a-lost-status")
            .then(RELEASED + 200, Action::LoseStatus(name()))
            .lasts(1_500),
        good("flag-removed")
            .then(RELEASED + 200, apply(shop("v2", 4, None)))
            .lasts(800),
        good("flags-one-after-the-other")
            .then(SETTLED + 10, {
                let mut spec = flagged(shop("v2", 4, None));
                spec.flags.extend(flag("new-search"));
                apply(spec)
            })
            .lasts(1_800),
    ]
}
