//! What comes before an expand, and what takes it back: preflight and revert.

use serde_json::json;

use super::sql::{text, with_sql};
use crate::{
    api::{PhaseKind, RolloutSpec},
    simulate::{
        action::{Action, Circumstance},
        object::SQL_IMAGE,
        scenario::{SETTLED, Scenario, apply, apply_to, command, release, shop, workload, wrong},
        setting::{Behaviour, Migration, MigrationEnd},
    },
};

/// A release of four pods that is wrong is undone so many seconds after its start at most.
const UNDONE: i64 = SETTLED + 200;

fn with(mut spec: RolloutSpec, phase: &str, is: serde_json::Value) -> RolloutSpec {
    if let Some(schema) = &mut spec.schema {
        match phase {
            "preflight" => schema.preflight = serde_json::from_value(is).ok(),
            _ => schema.revert = serde_json::from_value(is).ok(),
        }
    }
    spec
}

/// `v1` runs, and version 2 is released with `v2`, after this preflight.
fn preflight(name: &'static str, is: serde_json::Value) -> Scenario {
    Scenario::new(name)
        .then(1, apply(shop("v1", 4, Some(1))))
        .then(
            SETTLED,
            apply(with(shop("v2", 4, Some(2)), "preflight", is)),
        )
}

/// `v1` runs, and version 2 is released with `v2`, which is wrong; its expand may be taken back.
fn reverting(name: &'static str, approval: &str) -> Scenario {
    Scenario::new(name)
        .image("v2", wrong(30.0))
        .then(1, apply(shop("v1", 4, Some(1))))
        .then(SETTLED, apply(reverted(shop("v2", 4, Some(2)), approval)))
}

fn reverted(spec: RolloutSpec, approval: &str) -> RolloutSpec {
    let revert = json!({
        "command": ["shop", "migrate", "revert"],
        "deadlineSeconds": 120,
        "when": "AfterFailure",
        "approval": approval,
    });
    with(spec, "revert", revert)
}

fn check() -> serde_json::Value {
    json!({"command": ["shop", "check"], "deadlineSeconds": 60})
}

fn backup() -> serde_json::Value {
    json!({"deadlineSeconds": 300, "maxBackupAgeSeconds": 3600})
}

const fn backed_up(seconds_ago: Option<i64>) -> Action {
    Action::Around(Circumstance::Backup { seconds_ago })
}

fn approve() -> Action {
    Action::Approve {
        database: "shop-db".into(),
        right: true,
    }
}

fn ends(kind: PhaseKind, attempts: &[(i64, MigrationEnd)]) -> Behaviour {
    let attempts = attempts.iter().map(|(seconds, end)| Migration {
        seconds: *seconds,
        end: *end,
    });
    Behaviour {
        migrations: [(kind, attempts.collect())].into(),
        ..Behaviour::default()
    }
}

/// Wrong, and its reverts end so.
fn wrong_and(attempts: &[(i64, MigrationEnd)]) -> Behaviour {
    Behaviour {
        migrations: ends(PhaseKind::Revert, attempts).migrations,
        ..wrong(30.0)
    }
}

pub(super) fn phases() -> Vec<Scenario> {
    let (fails, succeeds) = (MigrationEnd::Fails, MigrationEnd::Succeeds);
    let worker = |image: &str, version| apply_to("worker", workload("worker", image, 2, version));
    vec![
        preflight("preflight-passes", check()).lasts(500),
        preflight("preflight-fails-and-then-passes", check())
            .image(
                "v2",
                ends(
                    PhaseKind::Preflight,
                    &[(5, fails), (5, fails), (5, succeeds)],
                ),
            )
            .lasts(600),
        preflight("preflight-never-passes", check())
            .image("v2", ends(PhaseKind::Preflight, &[(5, fails)]))
            .lasts(400),
        preflight("preflight-is-run-again-by-retry", check())
            .image(
                "v2",
                ends(
                    PhaseKind::Preflight,
                    &[
                        (5, fails),
                        (5, fails),
                        (5, fails),
                        (5, fails),
                        (5, succeeds),
                    ],
                ),
            )
            .then(SETTLED + 150, command("retry"))
            .lasts(700),
        preflight("preflight-hangs", check())
            .image(
                "v2",
                ends(PhaseKind::Preflight, &[(5, MigrationEnd::Hangs)]),
            )
            .lasts(400),
        preflight("preflight-asks-for-a-backup", backup())
            .then(SETTLED + 30, backed_up(None))
            .then(SETTLED + 60, backed_up(Some(-7200)))
            .then(SETTLED + 90, backed_up(Some(7200)))
            .then(SETTLED + 120, backed_up(Some(60)))
            .lasts(700),
        preflight("preflight-finds-no-backup", backup()).lasts(600),
        preflight("preflight-of-a-version-that-goes-down", check())
            .then(2, worker("w1", Some(3)))
            .lasts(500),
        preflight("no-preflight-of-a-version-that-is-expanded", check())
            .then(SETTLED + 400, release("v3", Some(2)))
            .lasts(900),
        preflight("preflight-whose-job-is-deleted", check())
            .then(SETTLED + 8, Action::DeleteJobs("shop".into()))
            .lasts(600),
        // Nobody knows what it left: that is no try of the preflight, and waits for a person.
        Scenario::new("preflight-after-a-deleted-expand")
            .then(1, apply(shop("v1", 4, Some(1))))
            .then(SETTLED, apply(shop("v2", 4, Some(2))))
            .then(SETTLED + 8, Action::DeleteJobs("shop".into()))
            .then(
                SETTLED + 30,
                apply(with(shop("v3", 4, Some(3)), "preflight", check())),
            )
            .then(SETTLED + 150, command("retry"))
            .lasts(700),
        preflight("the-operator-dies-in-a-preflight", check())
            .then(SETTLED + 5, Action::Crash(0))
            .lasts(600),
        Scenario::new("preflight-of-sql")
            .then(
                0,
                text("expand.sql", Some("ALTER TABLE users ADD full_name text")),
            )
            .then(
                0,
                text("contract.sql", Some("ALTER TABLE users DROP COLUMN name")),
            )
            .image(
                SQL_IMAGE,
                ends(
                    PhaseKind::Preflight,
                    &[(2, MigrationEnd::Refused), (2, succeeds)],
                ),
            )
            .then(1, apply(shop("v1", 4, Some(1))))
            .then(
                SETTLED,
                apply(with(
                    with_sql(shop("v2", 4, Some(2)), "Manual"),
                    "preflight",
                    json!({"deadlineSeconds": 60}),
                )),
            )
            .lasts(600),
        reverting("revert-after-a-failure", "Automatic").lasts(700),
        reverting("revert-waits-for-its-approval", "Manual")
            .then(UNDONE + 100, approve())
            .lasts(700),
        reverting("revert-fails", "Automatic")
            .image("v2", wrong_and(&[(20, fails), (20, succeeds)]))
            .then(UNDONE + 100, command("retry"))
            .lasts(800),
        reverting("revert-whose-job-is-deleted-is-given-up", "Automatic")
            .then(SETTLED + 50, Action::DeleteJobs("shop".into()))
            .then(SETTLED + 100, apply(shop("v2", 4, Some(2))))
            .then(SETTLED + 160, command("retry"))
            .then(SETTLED + 220, release("v3", Some(3)))
            .then(SETTLED + 300, command("retry"))
            .lasts(900),
        reverting("revert-gives-way-to-a-new-release", "Manual")
            .then(UNDONE + 60, release("v3", Some(2)))
            .lasts(1000),
        reverting("expands-again-after-a-revert", "Automatic")
            .then(UNDONE + 150, release("v3", Some(2)))
            .lasts(1200),
        reverting("released-again-after-its-revert", "Automatic")
            .then(UNDONE + 60, command("retry"))
            .lasts(1000),
        reverting("a-release-waits-for-the-revert", "Automatic")
            .image("v2", wrong_and(&[(100, succeeds)]))
            .then(SETTLED + 60, release("v3", Some(2)))
            .lasts(1200),
        reverting("revert-waits-for-a-cron-job", "Automatic")
            .then(
                2,
                Action::Around(Circumstance::Consumer {
                    version: Some(Some(2)),
                }),
            )
            .then(
                UNDONE + 120,
                Action::Around(Circumstance::Consumer {
                    version: Some(Some(1)),
                }),
            )
            .lasts(900),
        reverting("revert-waits-for-another-rollout", "Automatic")
            .then(2, worker("w1", Some(1)))
            .then(SETTLED + 30, worker("w2", Some(2)))
            .lasts(1000),
    ]
}
