//! The life of the operator: deaths, deposed leaders, lost memory, clocks.

use crate::simulate::{
    action::{Action, Circumstance},
    object::Watched,
    request::Fate,
    scenario::{Scenario, good, name, v2, wrong},
    setting::Behaviour,
};

pub(super) fn lives() -> Vec<Scenario> {
    let two = |scenario: Scenario| Scenario {
        processes: 2,
        ..scenario
    };
    vec![
        good("operator-dies").then(200, Action::Crash(0)).lasts(700),
        two(good("lease-changes-hands").then(214, Action::HandOver { overlap: 5_000 })).lasts(700),
        // The heir still sees the canary on its way, and the release has failed meanwhile.
        two(v2("successor-behind", wrong(5.0))
            .then(
                141,
                Action::BreakWatch {
                    process: 1,
                    kind: Watched::Rollouts,
                    seconds: 60,
                },
            )
            .then(160, Action::Crash(0))
            .lasts(500)),
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
        good("operator-restarts-when-idle")
            .then(450, Action::Crash(0))
            .then(500, Action::Crash(0))
            .lasts(800),
        // Its pods take their time, and for most of it nobody can see or act.
        v2(
            "api-server-away-while-pods-start",
            Behaviour {
                start_seconds: 400,
                ..Behaviour::default()
            },
        )
        .then(200, Action::Around(Circumstance::ApiServer { away: true }))
        .then(800, Action::Around(Circumstance::ApiServer { away: false }))
        .lasts(2600),
        good("status-lost-while-the-api-server-is-away")
            .then(450, Action::Around(Circumstance::ApiServer { away: true }))
            .then(451, Action::LoseStatus(name()))
            .then(540, Action::Around(Circumstance::ApiServer { away: false }))
            .lasts(800),
        Scenario {
            fates: (3..90).step_by(3).map(|n| (n, Fate::Overtaken)).collect(),
            ..good("conflicts")
        }
        .lasts(800),
    ]
}
