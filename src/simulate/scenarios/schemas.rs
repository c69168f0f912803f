//! The schema before the code.

use crate::{
    api::RolloutSpec,
    plan::intent::Kind,
    simulate::{
        action::Action,
        object::Watched,
        scenario::{
            SETTLED, Scenario, apply, apply_to, command, good, migrating, name, release, shop, v2,
            workload,
        },
        setting::{Behaviour, Delay, MigrationEnd, Setting, Timing},
    },
};

/// Its checks are polled so often: a change that makes no other revision.
fn every_second(seconds: i64, mut spec: RolloutSpec) -> RolloutSpec {
    if let Some(analysis) = &mut spec.analysis {
        analysis.interval_seconds = seconds;
    }
    spec
}

/// Its expand is run so often again when it has applied nothing.
fn tried_again(times: i64, mut spec: RolloutSpec) -> RolloutSpec {
    let schema = spec.schema.as_mut();
    if let Some(expand) = schema.and_then(|schema| schema.expand.as_mut()) {
        expand.run.retry_limit = times;
    }
    spec
}

/// The database does not answer the first two runs of the expand.
fn comes_late() -> Behaviour {
    let early = (3, MigrationEnd::NothingApplied);
    migrating(&[early, early, (20, MigrationEnd::Succeeds)])
}

/// The administrator names the Rollouts that may use the database.
fn allow(rollouts: Option<&[&str]>) -> Action {
    let rollouts = rollouts.map(|all| all.iter().map(ToString::to_string).collect());
    Action::Allow {
        database: "shop-db".into(),
        rollouts,
    }
}

pub(super) fn schemas() -> Vec<Scenario> {
    let fails = MigrationEnd::Fails;
    vec![
        v2("migration-fails", migrating(&[(10, fails)])).lasts(400),
        v2(
            "migration-fails-then-retry",
            migrating(&[(10, fails), (10, MigrationEnd::Succeeds)]),
        )
        .then(200, command("retry"))
        .lasts(700),
        v2(
            "migration-cannot-start",
            migrating(&[(0, MigrationEnd::NeverStarts)]),
        )
        .lasts(500),
        v2("database-denied", Behaviour::default())
            .then(1, Action::Deny(Some(Kind::Database)))
            .then(SETTLED, Action::Deny(None))
            .lasts(600),
        good("database-not-allowed")
            .then(100, allow(Some(&["worker"])))
            .then(200, allow(Some(&["shop", "worker"])))
            .lasts(600),
        // What runs already runs to its end; what comes next does not begin.
        v2(
            "database-no-longer-allowed",
            migrating(&[(60, fails), (10, MigrationEnd::Succeeds)]),
        )
        .then(SETTLED + 20, allow(Some(&[])))
        .then(250, command("retry"))
        .then(300, allow(None))
        .then(320, command("retry"))
        .lasts(900),
        Scenario::new("database-comes-late")
            .image("v1", comes_late())
            .then(1, apply(tried_again(3, shop("v1", 4, Some(1)))))
            .lasts(500),
        Scenario::new("database-does-not-come")
            .image("v1", comes_late())
            .then(1, apply(tried_again(1, shop("v1", 4, Some(1)))))
            .then(200, command("retry"))
            .lasts(600),
        v2("migration-hangs", migrating(&[(0, MigrationEnd::Hangs)])).lasts(500),
        v2("migration-fails-then-fixed", migrating(&[(10, fails)]))
            .then(200, release("v3", Some(3)))
            .then(260, command("retry"))
            .lasts(900),
        v2(
            "third-revision-while-expanding",
            migrating(&[(60, MigrationEnd::Succeeds)]),
        )
        .then(SETTLED + 20, release("v3", Some(3)))
        .lasts(800),
        v2(
            "deleted-while-expanding",
            migrating(&[(60, MigrationEnd::Succeeds)]),
        )
        .then(SETTLED + 20, Action::Delete(name()))
        .lasts(400),
        v2(
            "deleted-in-the-foreground",
            migrating(&[(60, MigrationEnd::Succeeds)]),
        )
        .then(SETTLED + 20, Action::DeleteInForeground(name()))
        .lasts(400),
        v2(
            "job-deleted-by-hand",
            migrating(&[(60, MigrationEnd::Succeeds)]),
        )
        .then(SETTLED + 20, Action::DeleteJobs(name()))
        .then(300, command("retry"))
        .lasts(800),
        Scenario::new("two-rollouts-on-one-database")
            .then(1, apply(shop("v1", 4, Some(1))))
            .then(1, apply_to("worker", workload("worker", "w1", 2, Some(1))))
            .then(SETTLED + 30, release("v2", Some(2)))
            .then(SETTLED + 31, release_worker()),
        Scenario::new("two-rollouts-one-fails")
            .image("v2", migrating(&[(10, fails)]))
            .then(1, apply(shop("v1", 4, Some(1))))
            .then(1, apply_to("worker", workload("worker", "w1", 2, Some(1))))
            .then(SETTLED + 30, release("v2", Some(2)))
            .then(SETTLED + 50, release_worker())
            .lasts(700),
        Scenario::new("image-without-a-version")
            .then(1, apply(shop("v1", 4, Some(1))))
            .then(SETTLED, release("v2", None)),
        good("jobs-expire")
            .then(180, Action::DeleteJobs(name()))
            .then(190, Action::Crash(0))
            .then(450, Action::DeleteJobs(name()))
            .then(460, Action::LoseStatus(name()))
            .lasts(700),
        v2(
            "applied-again-and-again",
            migrating(&[(60, MigrationEnd::Succeeds)]),
        )
        .then(150, apply(every_second(1, shop("v2", 4, Some(2)))))
        .then(220, apply(every_second(2, shop("v2", 4, Some(2)))))
        .then(270, apply(every_second(3, shop("v2", 5, Some(2)))))
        .then(500, apply(every_second(4, shop("v2", 4, Some(2)))))
        .lasts(700),
        Scenario {
            setting: Setting {
                restart_seconds: 40,
                ..Setting::default()
            },
            ..good("operator-dies-while-expanding")
        }
        .then(SETTLED + 5, Action::Crash(0)),
        v2(
            "retry-while-the-old-pod-ends",
            migrating(&[(0, MigrationEnd::Hangs), (20, MigrationEnd::Succeeds)]),
        )
        .then(SETTLED + 125, command("retry"))
        .then(SETTLED + 160, command("retry"))
        .lasts(700),
        v2(
            "database-deleted-while-expanding",
            migrating(&[(60, MigrationEnd::Succeeds)]),
        )
        .then(SETTLED + 20, Action::DeleteDatabase("shop-db".into()))
        .lasts(700),
        Scenario {
            setting: Setting {
                timing: Timing {
                    requests: Delay {
                        low: 500,
                        high: 500,
                    },
                    ..Timing::default()
                },
                ..Setting::default()
            },
            ..good("database-deleted-before-its-job-runs")
        }
        .then(SETTLED + 7, Action::DeleteDatabase("shop-db".into()))
        .lasts(900),
        // The heir knows of the hold and that the DatabaseSchema is being deleted, but not of the
        // Job that runs.
        Scenario {
            processes: 2,
            ..v2(
                "database-deleted-behind-its-jobs",
                migrating(&[(60, MigrationEnd::Succeeds)]),
            )
        }
        .then(
            SETTLED - 10,
            Action::BreakWatch {
                process: 1,
                kind: Watched::Jobs,
                seconds: 100,
            },
        )
        .then(SETTLED + 10, Action::Crash(0))
        .then(SETTLED + 20, Action::DeleteDatabase("shop-db".into()))
        .lasts(700),
        v2(
            "undo-while-expanding",
            migrating(&[(60, MigrationEnd::Succeeds)]),
        )
        .then(SETTLED + 20, command("undo"))
        .lasts(400),
    ]
}

fn release_worker() -> Action {
    Action::Release {
        rollout: "worker".into(),
        image: "w2".into(),
        version: Some(2),
    }
}
