//! The scenarios whose stories are kept.

use jiff::SignedDuration;

use super::{
    people::Action,
    prometheus::Outage,
    scenario::{
        Scenario, apply, apply_to, command, migrating, name, release, scale, shop, slow, unwell,
        workload, wrong,
    },
    setting::{Behaviour, Health, MigrationEnd},
    world::DAWN,
};

/// When `v1` is stable in each scenario that is about a later release.
const SETTLED: i64 = 120;

/// All of them.
#[must_use]
pub fn all() -> Vec<Scenario> {
    [
        releases(),
        schemas(),
        commands(),
        sizes(),
        hands(),
        limits(),
        metrics(),
        lives(),
    ]
    .concat()
}

/// `v1` runs with 4 pods, and `v2` is released behaving so.
fn v2(name: &'static str, behaviour: Behaviour) -> Scenario {
    Scenario::new(name)
        .image("v2", behaviour)
        .then(1, apply(shop("v1", 4, Some(1))))
        .then(SETTLED, release("v2", Some(2)))
}

fn good(name: &'static str) -> Scenario {
    v2(name, Behaviour::default())
}

fn releases() -> Vec<Scenario> {
    vec![
        Scenario::new("first-deploy")
            .then(1, apply(shop("v1", 4, Some(1))))
            .lasts(300),
        Scenario::new("first-deploy-without-database")
            .then(1, apply(shop("v1", 4, None)))
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
    ]
}

fn schemas() -> Vec<Scenario> {
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
            .then(
                SETTLED + 31,
                Action::Release {
                    rollout: "worker".into(),
                    image: "w2".into(),
                    version: Some(2),
                },
            ),
        Scenario::new("two-rollouts-one-fails")
            .image("v2", migrating(&[(10, fails)]))
            .then(1, apply(shop("v1", 4, Some(1))))
            .then(1, apply_to("worker", workload("worker", "w1", 2, Some(1))))
            .then(SETTLED + 30, release("v2", Some(2)))
            .then(
                SETTLED + 50,
                Action::Release {
                    rollout: "worker".into(),
                    image: "w2".into(),
                    version: Some(2),
                },
            )
            .lasts(700),
    ]
}

fn commands() -> Vec<Scenario> {
    vec![
        good("pause-and-resume")
            .then(170, command("pause"))
            .then(400, command("resume"))
            .lasts(800),
        good("paused-in-the-spec")
            .then(
                170,
                Action::Pause {
                    rollout: name(),
                    paused: true,
                },
            )
            .then(
                400,
                Action::Pause {
                    rollout: name(),
                    paused: false,
                },
            )
            .lasts(800),
        good("promote")
            .then(170, command("promote"))
            .then(190, command("promote")),
        v2("promoted-though-not-ready", unwell(Health::NeverReady))
            .then(150, command("promote"))
            .then(152, command("promote"))
            .then(154, command("promote")),
        good("undo-by-a-person").then(240, command("undo")),
        good("undo-the-stable")
            .then(450, command("undo"))
            .lasts(700),
        v2("retry", wrong(5.0))
            .then(400, command("retry"))
            .lasts(800),
        good("command-for-nothing")
            .then(60, command("promote"))
            .then(62, command("resume")),
    ]
}

fn sizes() -> Vec<Scenario> {
    vec![
        good("scaled-up").then(170, scale(10)).lasts(700),
        good("scaled-down").then(250, scale(2)).lasts(700),
        good("scaled-to-zero")
            .then(250, scale(0))
            .then(400, scale(4))
            .lasts(900),
        good("scaled-to-zero-and-left").then(250, scale(0)),
        good("autoscaler")
            .then(150, scale(6))
            .then(200, scale(9))
            .then(260, scale(5))
            .then(330, scale(7))
            .lasts(800),
        v2("scaled-while-undoing", wrong(5.0))
            .then(163, scale(8))
            .then(166, scale(3)),
        Scenario::new("single-replica")
            .then(1, apply(shop("v1", 1, Some(1))))
            .then(SETTLED, release("v2", Some(2))),
        Scenario::new("many-pods")
            .then(1, apply(shop("v1", 40, None)))
            .then(SETTLED, release("v2", None)),
    ]
}

fn hands() -> Vec<Scenario> {
    let image = |image: &str| image.into();
    vec![
        good("child-scaled-by-hand").then(
            250,
            Action::ScaleChild {
                rollout: name(),
                image: image("v1"),
                replicas: 0,
            },
        ),
        good("child-edited-by-hand").then(
            180,
            Action::EditChild {
                rollout: name(),
                image: image("v2"),
                to: image("v9"),
            },
        ),
        good("canary-deleted-by-hand")
            .then(
                180,
                Action::DeleteChild {
                    rollout: name(),
                    image: image("v2"),
                },
            )
            .lasts(800),
        good("stable-deleted-by-hand")
            .then(
                180,
                Action::DeleteChild {
                    rollout: name(),
                    image: image("v1"),
                },
            )
            .lasts(800),
        v2("memory-of-stable-deleted-by-hand", wrong(5.0)).then(
            150,
            Action::ForgetRevision {
                rollout: name(),
                image: image("v1"),
            },
        ),
        good("memory-of-canary-deleted-by-hand").then(
            180,
            Action::ForgetRevision {
                rollout: name(),
                image: image("v2"),
            },
        ),
        good("live-reads-fail")
            .then(SETTLED - 10, Action::Reads(100))
            .then(200, Action::Reads(0)),
        good("deleted-in-mid-rollout")
            .then(240, Action::Delete(name()))
            .lasts(400),
        good("config-pruned")
            .then(
                130,
                Action::Config {
                    name: "shop-config".into(),
                    exists: false,
                },
            )
            .then(
                300,
                Action::Config {
                    name: "shop-config".into(),
                    exists: true,
                },
            )
            .lasts(800),
        good("agent-re-applies-a-failed-release").then(
            130,
            Action::Reapply {
                apply: Box::new(apply(shop("v2", 4, Some(2)))),
                every: 30,
                until: DAWN + SignedDuration::from_secs(500),
            },
        ),
    ]
}

fn limits() -> Vec<Scenario> {
    vec![
        good("quota")
            .then(100, Action::Quota(4))
            .then(200, Action::Quota(100))
            .lasts(800),
        good("quota-for-good")
            .then(100, Action::Quota(4))
            .lasts(700),
        good("no-room").then(100, Action::Capacity(4)).lasts(700),
        v2("no-room-for-the-undo", wrong(2.0))
            .then(250, Action::Capacity(4))
            .then(
                251,
                Action::LosePods {
                    rollout: name(),
                    count: 2,
                },
            )
            .then(500, Action::Capacity(100))
            .lasts(900),
        good("nodes-lost")
            .then(
                200,
                Action::LosePods {
                    rollout: name(),
                    count: 3,
                },
            )
            .lasts(800),
    ]
}

fn metrics() -> Vec<Scenario> {
    let outage = |name: &'static str, outage: Outage| {
        good(name)
            .then(SETTLED, Action::Metrics(outage))
            .then(350, Action::Metrics(Outage::None))
            .lasts(800)
    };
    vec![
        outage("metrics-down", Outage::Down),
        outage("metrics-empty", Outage::Empty),
        outage("metrics-not-a-number", Outage::Nan),
        outage("metrics-partial", Outage::Partial),
        outage("metrics-slow", Outage::Slow),
        good("metrics-down-for-good")
            .then(SETTLED, Action::Metrics(Outage::Down))
            .lasts(900),
        v2("metrics-down-while-wrong", wrong(5.0))
            .then(SETTLED, Action::Metrics(Outage::Down))
            .then(250, Action::Metrics(Outage::None)),
    ]
}

fn lives() -> Vec<Scenario> {
    let two = |scenario: Scenario| Scenario {
        processes: 2,
        ..scenario
    };
    vec![
        good("operator-dies").then(200, Action::Crash(0)).lasts(700),
        two(good("lease-changes-hands").then(214, Action::HandOver { overlap: 5_000 })).lasts(700),
        good("status-lost")
            .then(240, Action::LoseStatus(name()))
            .lasts(900),
        good("status-lost-when-ready")
            .then(480, Action::LoseStatus(name()))
            .lasts(700),
        good("restored-from-a-backup")
            .then(240, Action::Restore)
            .lasts(900),
        good("clock-jumps-ahead")
            .then(
                180,
                Action::JumpClock {
                    process: 0,
                    seconds: 3600,
                },
            )
            .lasts(700),
        good("clock-jumps-back")
            .then(
                180,
                Action::JumpClock {
                    process: 0,
                    seconds: -3600,
                },
            )
            .lasts(700),
        good("unreadable-neighbour")
            .then(5, Action::ApplyNonsense("broken".into()))
            .lasts(600),
    ]
}
