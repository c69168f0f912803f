//! Feature flags that are turned on after a release.

use serde_json::json;

use crate::{
    api::{Flag, Promotion, RolloutSpec},
    plan::intent::Kind,
    simulate::{
        action::{Action, Circumstance, Tampering},
        flags::MAP,
        scenario::{SETTLED, Scenario, apply, command, name, pause, release, shop, wrong},
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

pub(super) fn flags() -> Vec<Scenario> {
    vec![
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
