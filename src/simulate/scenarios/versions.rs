//! A schema version after its release: backfill, gate, contract.

use serde_json::json;

use crate::{
    api::{PhaseKind, RolloutSpec},
    simulate::{
        action::{Action, Circumstance},
        scenario::{
            SETTLED, Scenario, apply, apply_to, command, name, release, shop, workload, wrong,
        },
        setting::{Behaviour, Migration, MigrationEnd},
    },
};

/// A release of four pods, from its start to its end, takes so many seconds at most.
pub(super) const RELEASED: i64 = SETTLED + 330;

/// A workload may lag for so many seconds.
const LAGS: i64 = 7200;

/// With a backfill, and a contract a minute after nobody is below it.
pub(super) fn with_contract(mut spec: RolloutSpec, approval: &str) -> RolloutSpec {
    let phases = json!({
        "backfill": {
            "command": ["shop", "migrate", "backfill"],
            "deadlineSeconds": 300,
            "verify": {"command": ["shop", "migrate", "verify"]},
        },
        "contract": {
            "command": ["shop", "migrate", "contract"],
            "deadlineSeconds": 120,
            "afterSeconds": 60,
            "approval": approval,
        },
    });
    if let Some(schema) = &mut spec.schema {
        schema.backfill = serde_json::from_value(phases["backfill"].clone()).ok();
        schema.contract = serde_json::from_value(phases["contract"].clone()).ok();
    }
    spec
}

/// With a contract as soon as nobody is below it, and nothing to fill in.
pub(super) fn at_once(spec: RolloutSpec) -> RolloutSpec {
    let mut spec = with_contract(spec, "Automatic");
    if let Some(schema) = &mut spec.schema {
        schema.backfill = None;
        if let Some(contract) = &mut schema.contract {
            contract.after_seconds = 0;
        }
    }
    spec
}

/// Nothing runs beside its backfill.
fn exclusive(mut spec: RolloutSpec) -> RolloutSpec {
    let backfill = spec.schema.as_mut().and_then(|s| s.backfill.as_mut());
    if let Some(backfill) = backfill {
        backfill.exclusive = true;
    }
    spec
}

/// `v1` runs, and version 2 is released with `v2`.
pub(super) fn version_2(name: &'static str, approval: &str) -> Scenario {
    let v2 = with_contract(shop("v2", 4, Some(2)), approval);
    Scenario::new(name)
        .then(1, apply(shop("v1", 4, Some(1))))
        .then(SETTLED, apply(v2))
}

pub(super) fn approve() -> Action {
    Action::Approve {
        database: "shop-db".into(),
        right: true,
    }
}

/// The attempts of this phase go so.
pub(super) fn phase(kind: PhaseKind, attempts: &[(i64, MigrationEnd)]) -> Behaviour {
    let attempts = attempts.iter().map(|(seconds, end)| Migration {
        seconds: *seconds,
        end: *end,
    });
    Behaviour {
        migrations: [(kind, attempts.collect())].into(),
        ..Behaviour::default()
    }
}

const fn consumer(version: Option<Option<i64>>) -> Action {
    Action::Around(Circumstance::Consumer { version })
}

pub(super) fn versions() -> Vec<Scenario> {
    let (fails, succeeds) = (MigrationEnd::Fails, MigrationEnd::Succeeds);
    let worker = |image: &str, version| apply_to("worker", workload("worker", image, 2, version));
    vec![
        version_2("backfill-then-contract", "Automatic").lasts(800),
        Scenario::new("contract-at-once-without-a-backfill")
            .then(1, apply(shop("v1", 4, Some(1))))
            .then(SETTLED, apply(at_once(shop("v2", 4, Some(2)))))
            .lasts(500),
        version_2("contract-waits-for-its-approval", "Manual")
            .then(RELEASED + 200, approve())
            .lasts(900),
        version_2("another-digest-is-approved", "Manual")
            .then(
                RELEASED + 100,
                Action::Approve {
                    database: "shop-db".into(),
                    right: false,
                },
            )
            .lasts(800),
        version_2("backfill-fails", "Automatic")
            .image(
                "v2",
                phase(PhaseKind::Backfill, &[(20, fails), (20, succeeds)]),
            )
            .then(RELEASED + 100, command("retry"))
            .lasts(1000),
        version_2("contract-fails", "Automatic")
            .image(
                "v2",
                phase(PhaseKind::Contract, &[(20, fails), (20, succeeds)]),
            )
            .then(RELEASED + 300, command("retry"))
            .lasts(1000),
        version_2("a-contract-that-ends-clean-lowers-the-floor", "Automatic")
            .image(
                "v2",
                phase(
                    PhaseKind::Contract,
                    &[(20, MigrationEnd::NothingApplied), (20, succeeds)],
                ),
            )
            .then(RELEASED + 100, command("undo"))
            .lasts(1000),
        version_2(
            "the-floor-of-a-contract-that-fails-half-way-stays",
            "Automatic",
        )
        .image("v2", phase(PhaseKind::Contract, &[(20, fails)]))
        .then(RELEASED + 100, Action::LowerFloor("shop-db".into()))
        .lasts(700),
        version_2("a-higher-version-waits-for-the-backfill", "Automatic")
            .image("v2", phase(PhaseKind::Backfill, &[(200, succeeds)]))
            .then(
                RELEASED + 20,
                apply(with_contract(shop("v3", 4, Some(3)), "Automatic")),
            )
            .lasts(1500),
        version_2("a-hotfix-beside-the-backfill", "Automatic")
            .image("v2", phase(PhaseKind::Backfill, &[(200, succeeds)]))
            .then(RELEASED + 20, release("v4", Some(2)))
            .lasts(1500),
        Scenario::new("a-hotfix-waits-for-an-exclusive-backfill")
            .image("v2", phase(PhaseKind::Backfill, &[(200, succeeds)]))
            .then(1, apply(shop("v1", 4, Some(1))))
            .then(
                SETTLED,
                apply(exclusive(with_contract(
                    shop("v2", 4, Some(2)),
                    "Automatic",
                ))),
            )
            .then(
                RELEASED + 20,
                apply(exclusive(with_contract(
                    shop("v4", 4, Some(2)),
                    "Automatic",
                ))),
            )
            .lasts(1500),
        version_2("undone-after-the-backfill", "Manual")
            .then(RELEASED + 60, command("undo"))
            .then(RELEASED + 200, approve())
            .then(RELEASED + 300, command("retry"))
            .lasts(1700),
        version_2("another-rollout-lags", "Automatic")
            .then(2, worker("w1", Some(1)))
            .then(RELEASED + 300, worker("w2", Some(2)))
            .lasts(1500),
        // Its ControllerRevisions go at once, and its pods serve to their end.
        Scenario::new("a-deleted-rollout-ends-slowly")
            .image(
                "w1",
                Behaviour {
                    stop_seconds: 60,
                    ..Behaviour::default()
                },
            )
            .then(1, apply(shop("v1", 4, Some(1))))
            .then(2, worker("w1", Some(1)))
            .then(SETTLED, apply(at_once(shop("v2", 4, Some(2)))))
            .then(RELEASED + 100, Action::Delete("worker".into()))
            .lasts(700),
        version_2("a-cron-job-lags", "Automatic")
            .then(2, consumer(Some(Some(1))))
            .then(RELEASED + 200, consumer(Some(None)))
            .then(RELEASED + 400, consumer(Some(Some(2))))
            .lasts(1200),
        // It is asked for every few minutes, not at every look.
        version_2("a-cron-job-lags-for-hours", "Automatic")
            .then(2, consumer(Some(Some(1))))
            .then(RELEASED + LAGS, consumer(Some(Some(2))))
            .lasts(RELEASED + LAGS + 700),
        // What it left is put right by nobody's success but its own, or by a person.
        Scenario::new("one-success-clears-no-other")
            .image("v2", phase(PhaseKind::Expand, &[(10, fails)]))
            .then(1, apply(shop("v1", 4, Some(1))))
            .then(SETTLED, apply(shop("v2", 4, Some(2))))
            .then(SETTLED + 40, apply(at_once(shop("v3", 4, Some(3)))))
            .then(SETTLED + 80, command("retry"))
            .then(RELEASED + 200, Action::Clean("shop-db".into()))
            .lasts(900),
        Scenario::new("a-version-that-goes-down")
            .then(1, apply(shop("v1", 4, Some(1))))
            .then(2, worker("w1", Some(3)))
            .then(SETTLED, release("v2", Some(2)))
            .then(SETTLED + 60, release("v4", Some(4)))
            .then(SETTLED + 500, release("v1", Some(1)))
            .lasts(800),
        // It comes and goes after it was looked who is below the version.
        version_2("a-cron-job-goes-back-unseen", "Automatic")
            .then(2, consumer(Some(Some(2))))
            .then(SETTLED + 260, consumer(Some(Some(1))))
            .then(SETTLED + 270, consumer(Some(Some(2))))
            .then(RELEASED + 200, command("retry"))
            .lasts(1000),
        version_2("given-up", "Manual")
            .then(RELEASED + 100, Action::Drop("shop-db".into()))
            .lasts(700),
        version_2("back-below-the-floor", "Automatic")
            .then(RELEASED + 400, release("v1", Some(1)))
            .lasts(1100),
        version_2("undo-below-the-floor", "Automatic")
            .then(RELEASED + 400, command("undo"))
            .lasts(1100),
        version_2("a-bad-release-of-a-version", "Automatic")
            .image("v2", wrong(30.0))
            .lasts(700),
        version_2("its-rollout-is-deleted", "Automatic")
            .image("v2", phase(PhaseKind::Backfill, &[(200, succeeds)]))
            .then(RELEASED + 20, Action::Delete(name()))
            .lasts(900),
        version_2("claimed-by-another", "Automatic")
            .then(2, worker("w1", Some(1)))
            .then(
                RELEASED,
                apply_to(
                    "worker",
                    with_contract(workload("worker", "w2", 2, Some(2)), "Automatic"),
                ),
            )
            .lasts(900),
    ]
}

#[cfg(test)]
mod tests {
    use super::{LAGS, versions};
    use crate::simulate::story::Detail;

    #[test]
    fn a_gate_that_waits_for_hours_reads_seldom_who_uses_the_database() {
        let mut all = versions().into_iter();
        let lags = all.find(|story| story.name == "a-cron-job-lags-for-hours");
        let (simulation, ended) = lags.expect("the story").play(1, Detail::Nothing);
        assert!(ended.is_ok(), "{ended:?}");
        let read = i64::from(simulation.world().ledger.users_read);
        // Every five minutes at the end, a few times more at first, and around the contract itself.
        assert!((LAGS / 400..LAGS / 300 + 16).contains(&read), "{read}");
    }
}
