//! Schema phases that are SQL: texts in ConfigMaps, which somebody changes.

use serde_json::json;

use crate::{
    api::{PhaseKind, RolloutSpec, sql::KeyRef},
    simulate::{
        action::Action,
        object::SQL_IMAGE,
        scenario::{SETTLED, Scenario, apply, command, shop},
        setting::{Behaviour, Migration, MigrationEnd},
    },
};

/// A release of four pods, from its start to its end, takes so many seconds at most.
pub(super) const RELEASED: i64 = SETTLED + 330;

/// When its backfill has ended, and its contract waits for its time.
const FILLED: i64 = SETTLED + 260;

/// Its phases are SQL: an expand, a backfill in batches and, a minute after nobody is below the
/// version, a contract.
pub(in crate::simulate) fn with_sql(mut spec: RolloutSpec, approval: &str) -> RolloutSpec {
    let file = |key: &str| json!({"files": [{"configMapKeyRef": {"name": "sql", "key": key}}]});
    let phases = json!({
        "postgres": {"connection": {"secretKeyRef": {"name": "ddl", "key": "uri"}}},
        "expand": {"sql": file("expand.sql"), "deadlineSeconds": 120},
        "backfill": {
            "batches": [{
                "name": "names", "table": "public.users", "key": ["id"],
                "set": "full_name = name", "where": "full_name IS NULL",
            }],
            "deadlineSeconds": 300,
        },
        "contract": {
            "sql": file("contract.sql"),
            "deadlineSeconds": 120,
            "afterSeconds": 60,
            "approval": approval,
        },
    });
    if let Some(schema) = &mut spec.schema {
        schema.postgres = serde_json::from_value(phases["postgres"].clone()).ok();
        schema.expand = serde_json::from_value(phases["expand"].clone()).ok();
        schema.backfill = serde_json::from_value(phases["backfill"].clone()).ok();
        schema.contract = serde_json::from_value(phases["contract"].clone()).ok();
    }
    spec
}

pub(in crate::simulate) fn text(key: &str, text: Option<&'static str>) -> Action {
    let key = KeyRef {
        name: "sql".to_owned(),
        key: key.to_owned(),
    };
    Action::Sql { key, text }
}

const ADD: &str = "ALTER TABLE users ADD COLUMN full_name text";
const DROP: &str = "ALTER TABLE users DROP COLUMN name";

/// `v1` runs, and version 2 is released with `v2`, whose phases are SQL.
pub(super) fn version_2(name: &'static str, approval: &str) -> Scenario {
    Scenario::new(name)
        .then(0, text("expand.sql", Some(ADD)))
        .then(0, text("contract.sql", Some(DROP)))
        .then(1, apply(shop("v1", 4, Some(1))))
        .then(SETTLED, apply(with_sql(shop("v2", 4, Some(2)), approval)))
}

fn approve() -> Action {
    Action::Approve {
        database: "shop-db".into(),
        right: true,
    }
}

/// The runner ends a phase so, attempt by attempt.
fn runner(phase: PhaseKind, attempts: &[(i64, MigrationEnd)]) -> Behaviour {
    let attempts = attempts.iter().map(|(seconds, end)| Migration {
        seconds: *seconds,
        end: *end,
    });
    Behaviour {
        migrations: [(phase, attempts.collect())].into(),
        ..Behaviour::default()
    }
}

pub(super) fn sql() -> Vec<Scenario> {
    let changed = Some("DROP TABLE users");
    vec![
        version_2("sql-from-expand-to-contract", "Manual")
            .then(RELEASED + 200, approve())
            .lasts(900),
        version_2("sql-is-not-there", "Manual")
            .then(2, text("contract.sql", None))
            .then(SETTLED + 60, text("contract.sql", Some(DROP)))
            .lasts(800),
        version_2("sql-is-changed-after-its-approval", "Manual")
            .then(FILLED, approve())
            .then(FILLED + 10, text("contract.sql", changed))
            .then(FILLED + 200, approve())
            .lasts(700),
        version_2("sql-is-deleted-after-its-approval", "Manual")
            .then(FILLED, approve())
            .then(FILLED + 10, text("contract.sql", None))
            .then(FILLED + 200, text("contract.sql", Some(DROP)))
            .lasts(700),
        version_2(
            "sql-that-finds-rows-unfilled-is-retried-with-its-backfill",
            "Manual",
        )
        .image(
            SQL_IMAGE,
            runner(
                PhaseKind::Contract,
                &[(2, MigrationEnd::Unproven), (20, MigrationEnd::Succeeds)],
            ),
        )
        .then(FILLED, approve())
        .then(FILLED + 300, command("retry"))
        .lasts(900),
        version_2("sql-that-is-refused-leaves-a-clean-database", "Manual")
            .image(
                SQL_IMAGE,
                runner(
                    PhaseKind::Expand,
                    &[(2, MigrationEnd::Refused), (20, MigrationEnd::Succeeds)],
                ),
            )
            .then(
                SETTLED + 60,
                text("expand.sql", Some("ALTER TABLE users ADD full_name text")),
            )
            .then(SETTLED + 70, command("retry"))
            .lasts(800),
    ]
}
