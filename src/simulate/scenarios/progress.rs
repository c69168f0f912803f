//! How far a backfill is.

use crate::{
    api::PhaseKind,
    simulate::{
        action::Action,
        object::SQL_IMAGE,
        scenario::{SETTLED, Scenario, apply, command, shop},
        setting::Telling,
        setting::{Behaviour, Migration, MigrationEnd},
    },
};

use super::sql::{text, with_sql};

/// Version 2 fills a table in batches, which take so long, attempt by attempt.
fn backfill(name: &'static str, attempts: &[(i64, MigrationEnd)]) -> Scenario {
    let attempts = attempts.iter().map(|(seconds, end)| Migration {
        seconds: *seconds,
        end: *end,
    });
    let behaviour = Behaviour {
        migrations: [(PhaseKind::Backfill, attempts.collect())].into(),
        ..Behaviour::default()
    };
    let files = ["expand.sql", "contract.sql"];
    let files = files.map(|key| text(key, Some("SELECT 1")));
    let v2 = with_sql(shop("v2", 4, Some(2)), "Manual");
    let mut scenario = Scenario::new(name).image(SQL_IMAGE, behaviour);
    scenario.script.extend(files.map(|file| (0, file)));
    scenario
        .then(1, apply(shop("v1", 4, Some(1))))
        .then(SETTLED, apply(v2))
}

pub(super) fn progress() -> Vec<Scenario> {
    let succeeds = MigrationEnd::Succeeds;
    let telling = |telling: Telling, mut scenario: Scenario| {
        scenario.setting.telling = telling;
        scenario
    };
    vec![
        backfill("backfill-is-watched", &[(200, succeeds)]).lasts(700),
        backfill("backfill-is-watched-by-the-next-leader", &[(200, succeeds)])
            .then(SETTLED + 300, Action::Crash(0))
            .lasts(700),
        telling(
            Telling::Nothing,
            backfill("backfill-that-cannot-be-reached", &[(150, succeeds)]),
        )
        .lasts(600),
        telling(
            Telling::Nonsense,
            backfill("backfill-that-says-what-it-likes", &[(150, succeeds)]),
        )
        .lasts(600),
        // The runner gives up, as nothing moves; what is filled in stays.
        backfill(
            "backfill-without-progress",
            &[(60, MigrationEnd::NothingApplied), (20, succeeds)],
        )
        .then(SETTLED + 400, command("retry"))
        .lasts(700),
    ]
}
