//! What people tell a Rollout.

use crate::simulate::{
    action::Action,
    object::Watched,
    prometheus::Outage,
    scenario::{SETTLED, Scenario, apply, command, good, pause, shop, unwell, v2, wrong},
    setting::Health,
};

pub(super) fn commands() -> Vec<Scenario> {
    vec![
        good("pause-and-resume")
            .then(170, command("pause"))
            .then(400, command("resume"))
            .lasts(800),
        good("paused-in-the-spec")
            .then(170, pause(true))
            .then(400, pause(false))
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
        Scenario::new("undo-of-nothing")
            .then(1, apply(shop("v1", 4, Some(1))))
            .then(150, command("undo"))
            .lasts(400),
        good("undo-at-full-size").then(320, command("undo")),
        good("undo-while-growing").then(284, command("undo")),
        good("undo-in-a-full-cluster")
            .then(300, Action::Capacity(4))
            .then(320, command("undo"))
            .lasts(700),
        good("undo-while-paused")
            .then(170, command("pause"))
            .then(200, command("undo"))
            .lasts(900),
        v2("promoted-then-undone", unwell(Health::NeverReady))
            .then(150, command("promote"))
            .then(152, command("promote"))
            .then(154, command("promote"))
            .then(170, command("undo"))
            .lasts(400),
        v2("errors-while-paused", wrong(5.0)).then(130, command("pause")),
        good("promoted-without-metrics")
            .then(SETTLED, Action::Metrics(Outage::Down))
            .then(250, command("promote"))
            .then(280, command("promote"))
            .then(310, command("promote")),
        good("resume-unseen")
            .then(170, command("pause"))
            .then(
                395,
                Action::BreakWatch {
                    process: 0,
                    kind: Watched::Rollouts,
                    seconds: 60,
                },
            )
            .then(400, command("resume"))
            .lasts(800),
        good("failed-by-circumstances")
            .then(100, Action::Quota(4))
            .then(300, Action::Quota(100))
            .then(310, command("retry"))
            .lasts(700),
    ]
}
