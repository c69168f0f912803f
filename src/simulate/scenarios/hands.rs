//! Hands of others: on children, on configuration, on the whole Rollout.

use jiff::SignedDuration;

use super::{SETTLED, good, v2};
use crate::{
    api::RolloutSpec,
    simulate::{
        people::Action,
        scenario::{Scenario, apply, name, pause, scale, shop, wrong},
        surroundings::Circumstance,
        world::DAWN,
    },
};

/// It waits for a person before anything happens.
fn paused(mut spec: RolloutSpec) -> RolloutSpec {
    spec.paused = true;
    spec
}

pub(super) fn hands() -> Vec<Scenario> {
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
        good("webhook-down")
            .then(SETTLED - 10, webhook(true))
            .then(400, webhook(false))
            .lasts(900),
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
        v2("git-keeps-asking-for-a-failed-release", wrong(5.0))
            .then(
                150,
                Action::Reapply {
                    apply: Box::new(apply(shop("v2", 4, Some(2)))),
                    every: 30,
                    until: DAWN + SignedDuration::from_secs(500),
                },
            )
            .then(310, scale(6)),
        v2("stable-deleted-after-an-undo", wrong(5.0)).then(
            300,
            Action::DeleteChild {
                rollout: name(),
                image: image("v1"),
            },
        ),
        Scenario::new("released-while-paused")
            .then(1, apply(shop("v1", 4, Some(1))))
            .then(100, pause(true))
            .then(SETTLED, apply(paused(shop("v2", 8, Some(2)))))
            .then(150, apply(paused(shop("v2", 6, Some(2)))))
            .then(300, pause(false))
            .lasts(900),
        Scenario::new("deployment-of-the-same-pods")
            .then(0, Action::Around(Circumstance::Deployment { exists: true }))
            .then(1, apply(shop("v1", 4, Some(1))))
            .then(
                200,
                Action::Around(Circumstance::Deployment { exists: false }),
            )
            .lasts(500),
    ]
}

fn webhook(down: bool) -> Action {
    Action::Around(Circumstance::Webhook { down })
}
